//! Filter that makes text safe to show: it replaces characters that steer a terminal or reverse the order of
//! text.
//!
//! Names, error causes and answers come from stored or served data, which the operator did not write.
//! Everything that a program prints passes through here.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Replacement for a removed character.
const GONE: char = '\u{fffd}';

/// Reports whether a terminal does more with the character than show it: C0, DEL, C1, and marks that set the
/// direction of text.
#[must_use]
pub fn is_harmful(c: char) -> bool {
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    c.is_control() || turns
}

/// Cleans one line; line feeds and tabs are replaced too.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    without(text, is_harmful)
}

/// Cleans text of several lines; line feeds and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    without(text, is_harmful_in_lines)
}

/// Cleans a line of the log and keeps its colours.
#[must_use]
pub(crate) fn coloured(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful_in_lines) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for (at, piece) in text.split('\u{1b}').enumerate() {
        match (at, colour(piece)) {
            (0, _) => {}
            (_, true) => clean.push('\u{1b}'),
            (_, false) => clean.push(GONE),
        }
        clean.push_str(&lines(piece));
    }
    Cow::Owned(clean)
}

/// Escapes harmful characters in JSON text. They occur only in strings, because the rest of JSON is ASCII.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful_in_lines) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful_in_lines(c) {
            // Writing to a String cannot fail.
            let _ = write!(clean, "\\u{:04x}", u32::from(c));
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// Returns the YAML unchanged, or the same value as JSON (which is valid YAML) if the YAML contains harmful
/// characters.
///
/// # Errors
/// Fails when `value` cannot be written as JSON.
pub fn yaml<T: serde::Serialize + ?Sized>(yaml: String, value: &T) -> serde_json::Result<String> {
    if !yaml.contains(is_harmful_in_lines) {
        return Ok(yaml);
    }
    let mut text = json(&serde_json::to_string_pretty(value)?).into_owned();
    text.push('\n');
    Ok(text)
}

fn is_harmful_in_lines(c: char) -> bool {
    c != '\n' && c != '\t' && is_harmful(c)
}

fn without(text: &str, harmful: fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let clean = text.chars().map(|c| if harmful(c) { GONE } else { c });
    Cow::Owned(clean.collect())
}

/// Reports whether the text after an escape begins with a colour sequence.
fn colour(after: &str) -> bool {
    let end = after.strip_prefix('[').map(|rest| {
        rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';')
            .starts_with('m')
    });
    end == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every harmful character, each after a letter.
    fn hostile() -> String {
        let all = ('\0'..='\u{ffff}').filter(|c| is_harmful(*c));
        all.flat_map(|c| ['a', c]).collect()
    }

    #[test]
    fn what_steers_or_turns_is_known() {
        let harmful = hostile().chars().filter(|c| is_harmful(*c)).count();
        // C0 with DEL, C1, and twelve marks of direction.
        assert_eq!(harmful, 33 + 32 + 12);
        for harmless in ['a', 'ß', 'ע', '日', '\u{fffd}', '\u{301}', '😀'] {
            assert!(!is_harmful(harmless), "{harmless:?}");
        }
    }

    #[test]
    fn lines_hold_nothing_harmful_and_keep_what_is_not() {
        assert!(!line(&hostile()).contains(is_harmful));
        assert!(!lines(&hostile()).contains(is_harmful_in_lines));
        assert_eq!(line("a\nb\tc"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(lines("a\nb\tc\u{9b}2J"), "a\nb\tc\u{fffd}2J");
        assert_eq!(line("gr\u{202e}nepo"), "gr\u{fffd}nepo");
    }

    #[test]
    fn a_log_keeps_its_colours_and_no_other_escape() {
        let line = "\u{1b}[31mERROR\u{1b}[0m a\u{1b}[2Jb\u{1b}]0;title\u{7}\u{9b}1A";
        let clean = coloured(line);
        assert_eq!(
            clean,
            "\u{1b}[31mERROR\u{1b}[0m a\u{fffd}[2Jb\u{fffd}]0;title\u{fffd}\u{fffd}1A"
        );
    }

    #[test]
    fn json_says_the_same_with_escapes() {
        let value = serde_json::json!({ hostile(): [hostile()] });
        for text in [
            serde_json::to_string(&value).unwrap(),
            serde_json::to_string_pretty(&value).unwrap(),
        ] {
            let clean = json(&text);
            assert!(!clean.contains(is_harmful_in_lines));
            let read: serde_json::Value = serde_json::from_str(&clean).unwrap();
            assert_eq!(read, value);
        }
    }

    #[test]
    fn yaml_says_the_same_and_is_not_harmful() {
        for value in [
            serde_json::json!({"name": "gr\u{202e}nepo", "more": ["x\u{9b}y", "a\nb"]}),
            serde_json::json!({ hostile(): [hostile()] }),
            serde_json::json!({"name": "plain"}),
        ] {
            let text = yaml(serde_saphyr::to_string(&value).unwrap(), &value).unwrap();
            assert!(!text.contains(is_harmful_in_lines), "{text}");
            let read: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(read, value);
        }
    }
}
