//! Class of a failure, by what its caller can do about it.

use std::error::Error;

/// Class of a failure. A program has one exit code for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// A flag, a setting, a file or a key is not the right one.
    Usage,
    /// A named restore point, component, object or file does not exist.
    NotFound,
    /// Stored data is damaged or missing.
    Damaged,
    /// A safety rule forbids it.
    Refused,
    /// The work was asked to stop.
    Interrupted,
    /// Any other failure.
    Other,
}

/// Classification of one error of a chain.
#[derive(Debug)]
pub enum Classification<'a> {
    /// The error has a class of its own.
    Class(FailureClass),
    /// The class is that of the error's cause.
    OfCause,
    /// The class is the one that all of these errors have in common, or else that of the cause.
    OfAll(Vec<&'a (dyn Error + 'static)>),
}

impl From<FailureClass> for Classification<'_> {
    fn from(class: FailureClass) -> Self {
        Self::Class(class)
    }
}

/// Error that knows its class.
///
/// An implementation names each variant of its error, so that a new variant does not compile without a class.
pub trait Classify: Error + 'static {
    /// Classifies the error.
    fn classify(&self) -> Classification<'_>;
}
