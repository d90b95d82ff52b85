//! Exit codes of both programs, a contract that scripts depend on.

use std::process::ExitCode;

/// Outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Everything that was asked for is done.
    Complete,
    /// The command failed.
    Failed,
    /// The command line or the configuration is wrong; nothing was begun.
    Usage,
    /// Done, with findings of which the worst is a warning.
    Warnings,
    /// Done, with findings of which the worst is an error: stored data is damaged or missing.
    Damaged,
    /// There is no such restore point or component.
    NotFound,
    /// A safety rule stopped the command before anything was changed.
    Refused,
    /// Some of the work is done and some is not; the messages say which.
    Partial,
    /// Ctrl-C or SIGTERM stopped the command.
    Interrupted,
}

impl Exit {
    /// All outcomes, in the order of their codes.
    pub const ALL: [Self; 9] = [
        Self::Complete,
        Self::Failed,
        Self::Usage,
        Self::Warnings,
        Self::Damaged,
        Self::NotFound,
        Self::Refused,
        Self::Partial,
        Self::Interrupted,
    ];

    /// Returns the exit code of the process.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Warnings => 3,
            Self::Damaged => 4,
            Self::NotFound => 5,
            Self::Refused => 6,
            Self::Partial => 7,
            // 128 + SIGINT, as shells do it.
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Table of exit codes below the text of `--help`.
pub const HELP: &str = "\
Exit codes:
    0  complete
    1  failed
    2  the command line or the configuration is wrong; nothing was begun
    3  done, with findings: the worst is a warning
    4  done, with findings: the worst is an error, stored data is damaged or missing
    5  no such restore point or component
    6  refused by a safety rule; nothing was changed
    7  partial: some is done and some is not
  130  interrupted by Ctrl-C or SIGTERM; nothing is left half-written";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_all_in_the_help() {
        let mut codes = Exit::ALL.map(Exit::code).to_vec();
        codes.dedup();
        assert_eq!(codes.len(), Exit::ALL.len());
        for code in codes {
            let listed = |l: &str| l.trim_start().starts_with(&format!("{code}  "));
            assert!(HELP.lines().any(listed), "{code}");
        }
        assert_eq!(HELP.lines().count(), 1 + Exit::ALL.len());
    }
}
