//! Failure of a command: the error, its exit code, and hints on what to do next.

use std::fmt::Write as _;

use backup_core::causes;

use crate::exit::Exit;

mod meaning;
pub use meaning::exit_of;

/// Error for the user, with an exit code and hints.
///
/// Errors that come by `?` get their exit code from [`exit_of`]; use [`Failure::new`] to give another one.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hints: Vec<String>,
}

impl Failure {
    /// Makes a failure that ends the program with `exit`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self {
            exit,
            error: error.into(),
            hints: Vec::new(),
        }
    }

    /// Makes a failure from a sentence.
    pub fn message(exit: Exit, text: impl Into<String>) -> Self {
        Self::new(exit, anyhow::Error::msg(text.into()))
    }

    /// Adds a hint on what to do next, a sentence without its full stop.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Replaces the exit code.
    #[must_use]
    pub fn because_of(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Returns the exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Returns the error and its causes in one line, for a cell of a table.
    #[must_use]
    pub fn one_line(&self) -> String {
        causes::line_once(self.error.as_ref())
    }

    /// Returns the text for stderr: the error, its causes in order, the hints.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("error: {}\n", self.error);
        let mut last = self.error.to_string();
        for cause in self.error.chain().skip(1) {
            let cause = cause.to_string();
            // Some libraries repeat their source; print it once.
            if !last.ends_with(&cause) {
                // Writing to a String cannot fail.
                let _ = writeln!(text, "  caused by: {cause}");
            }
            last = cause;
        }
        for hint in &self.hints {
            let _ = writeln!(text, "  hint: {hint}");
        }
        text
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        Self::new(exit_of(&error), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn the_chain_is_told_once_and_hints_follow() {
        let io = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = Err::<(), _>(io)
            .context("s3://b failed to list")
            .unwrap_err();
        let error = error.context("list restore points");
        let failure = Failure::new(Exit::Failed, error).hint("check the endpoint in the store URL");
        insta::assert_snapshot!(failure.text(), @r"
        error: list restore points
          caused by: s3://b failed to list
          caused by: connection refused
          hint: check the endpoint in the store URL
        ");
    }
}
