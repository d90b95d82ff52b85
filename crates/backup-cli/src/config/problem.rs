//! Problems of a configuration: position, allowed values and what to do.

use std::fmt;
use std::path::PathBuf;

use backup_core::failure::{Classification, Classify, FailureClass};

/// Place where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file; lines and columns count from 1.
    File {
        /// Path of the file.
        path: PathBuf,
        /// Line.
        line: u64,
        /// Column.
        column: u64,
        /// Keys down to the value, as in `components.etcd.cron`; empty at the top.
        field: String,
    },
    /// In a flag, as in `--store`.
    Flag(&'static str),
    /// Nowhere, though the value is needed.
    Missing,
    /// In a file that the configuration names; the message names that file.
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

/// Value with the place where it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigValue<T> {
    /// Value.
    pub value: T,
    /// Place where the value was given.
    pub origin: Origin,
}

impl<T> ConfigValue<T> {
    pub(super) fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// One problem of a configuration. Never repeats a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Place of the problem.
    pub origin: Origin,
    /// Description of the problem and of the allowed values.
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

/// All problems of a configuration, so that they can be fixed in one go.
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

    /// Makes a problem of another file that the configuration names.
    #[must_use]
    pub fn elsewhere(message: impl Into<String>) -> Self {
        Problem::new(Origin::Elsewhere, message).into()
    }

    /// Joins the problems of several errors into one error.
    #[must_use]
    pub fn join(errors: impl IntoIterator<Item = Self>) -> Self {
        Self::new(errors.into_iter().flat_map(|e| e.problems).collect())
    }

    /// Returns the problems in the order in which they were found.
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

impl Classify for ConfigError {
    fn classify(&self) -> Classification<'_> {
        FailureClass::Usage.into()
    }
}

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
