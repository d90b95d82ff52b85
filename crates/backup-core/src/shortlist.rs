//! List of which only the first items are named, and the others counted.

use std::fmt::Display;

/// Returns ` and 3 more` for 3 items that are left out; nothing for none.
pub fn and_more(left_out: impl Display + Default + PartialEq + Copy) -> String {
    if left_out == Default::default() {
        String::new()
    } else {
        format!(" and {left_out} more")
    }
}

/// Returns `, and 3 more` for 3 items that are left out; nothing for none.
pub fn comma_and_more(left_out: impl Display + Default + PartialEq + Copy) -> String {
    if left_out == Default::default() {
        String::new()
    } else {
        format!(", and {left_out} more")
    }
}

/// Joins the first `most` items and counts the others, as in `a, b and 3 more`.
pub fn shorten(items: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let left_out = items.len().saturating_sub(most);
    let first: Vec<String> = items.take(most).collect();
    format!("{}{}", first.join(", "), and_more(left_out))
}

/// Joins the first `most` items, and the number of the others as one more item, as in `a, b, 3 more`.
pub fn shorten_evenly(items: impl ExactSizeIterator<Item = String>, most: usize) -> String {
    let left_out = items.len().saturating_sub(most);
    let mut first: Vec<String> = items.take(most).collect();
    if left_out > 0 {
        first.push(format!("{left_out} more"));
    }
    first.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_counted_only_where_there_are_some() {
        let letters = || ["a", "b", "c"].map(str::to_owned).into_iter();
        assert_eq!(shorten(letters(), 3), "a, b, c");
        assert_eq!(shorten(letters(), 1), "a and 2 more");
        assert_eq!(shorten(std::iter::empty::<String>(), 1), "");
        assert_eq!(shorten_evenly(letters(), 3), "a, b, c");
        assert_eq!(shorten_evenly(letters(), 1), "a, 2 more");
        assert_eq!(
            (and_more(0_u64), and_more(1_u64).as_str()),
            (String::new(), " and 1 more")
        );
        assert_eq!(comma_and_more(0_usize), "");
        assert_eq!(comma_and_more(2_usize), ", and 2 more");
    }
}
