//! What is wrong with a configuration: where it stands, what is allowed, what to do.

use std::fmt;
use std::path::PathBuf;

/// Where a value was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file; lines and columns count from 1.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// The column.
        column: u64,
        /// The keys down to the value, as in `components.etcd.cron`; empty at the top.
        field: String,
    },
    /// By a flag, as in `--store`.
    Flag(&'static str),
    /// Nowhere, though it is needed.
    Missing,
    /// In a file that the configuration names; the message says which.
    Elsewhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line,
                column,
                field,
            } => {
                write!(f, "{}:{line}:{column}", path.display())?;
                if field.is_empty() {
                    Ok(())
                } else {
                    write!(f, ": {field}")
                }
            }
            Self::Flag(name) => f.write_str(name),
            Self::Missing => f.write_str("missing"),
            Self::Elsewhere => f.write_str("talosconfig"),
        }
    }
}

/// A value with the place where it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it was said.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    pub(super) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// One thing that is wrong. Never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what is allowed.
    pub message: String,
}

impl Problem {
    pub(super) fn new(origin: Origin, message: impl Into<String>) -> Self {
        Self {
            origin,
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Everything that is wrong with a configuration, so that it can be mended in one go.
#[derive(Debug)]
pub struct ConfigError {
    problems: Vec<Problem>,
}

impl ConfigError {
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        Self { problems }
    }

    pub(super) fn missing(message: impl Into<String>) -> Self {
        Problem::new(Origin::Missing, message).into()
    }

    /// What is wrong in a part that is not this file.
    #[must_use]
    pub fn elsewhere(message: impl Into<String>) -> Self {
        Problem::new(Origin::Elsewhere, message).into()
    }

    /// All that several errors say, in one.
    #[must_use]
    pub fn join(errors: impl IntoIterator<Item = Self>) -> Self {
        Self::new(errors.into_iter().flat_map(|e| e.problems).collect())
    }

    /// The problems, in the order in which they were found.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return write!(f, "the configuration cannot be used: {only}");
        }
        let number = self.problems.len();
        write!(f, "the configuration cannot be used, {number} problems:")?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}
