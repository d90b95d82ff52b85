//! Text of an error with its causes.

use std::error::Error;

/// Any error, to be sent between threads.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Returns the causes of an error, outermost first.
pub fn below(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Returns an error and its causes in one line, separated by colons.
#[must_use]
pub fn line(error: &dyn Error) -> String {
    below(error).fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Returns an error and its causes in one line. Some libraries repeat their source; it is given once.
#[must_use]
pub fn line_once(error: &dyn Error) -> String {
    let mut texts = vec![error.to_string()];
    for cause in below(error) {
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.ends_with(&text)) {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// Returns the causes of an error in one line, or the error if it has none.
#[must_use]
pub fn line_below(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => line(cause),
        None => error.to_string(),
    }
}
