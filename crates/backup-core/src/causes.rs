//! Text of an error with its causes.

use std::error::Error;

/// Any error, to be sent between threads.
pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// Returns an error and its causes in one line, separated by colons.
#[must_use]
pub fn line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
