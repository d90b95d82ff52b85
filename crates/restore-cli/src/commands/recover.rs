//! Terminal parts that planning, running and resuming a restore share: flags, consent, output, exit codes.

mod consent;
mod copy;
mod failure;
mod flags;
mod report;
mod setup;
mod source;
mod talos;

pub(crate) use consent::ConsentFlags;
pub(crate) use copy::fetch_copy;
use failure::ProgramFailure;
pub(crate) use failure::restore_failed;
pub(crate) use flags::{JournalFlags, ObjectFlags, RunFlags, WaitFlags};
pub(crate) use report::{PlanReport, next_step, report, word};
pub(crate) use setup::setup;
pub(crate) use source::SourceFlags;
pub(crate) use talos::TargetFlags;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use cluster_restore::RecoverError;

use super::is_full;
use cluster_restore::git::GitError;
use cluster_restore::velero::VeleroError;

/// Makes a failure of a restore, with its exit code.
pub(crate) fn failed(error: RecoverError) -> Failure {
    let exit = match &error {
        RecoverError::PlanChanged { .. }
        | RecoverError::PlanOfOtherTool { .. }
        | RecoverError::WrongCluster { .. }
        | RecoverError::TargetInUse { .. }
        | RecoverError::JournalInUse { .. } => Some(Exit::Refused),
        RecoverError::NoPlan { .. }
        | RecoverError::NoTenant { .. }
        | RecoverError::JournalDamaged { .. } => Some(Exit::Usage),
        RecoverError::Velero(VeleroError::Version { .. } | VeleroError::Hostile { .. }) => {
            Some(Exit::Refused)
        }
        RecoverError::Velero(VeleroError::Damaged { .. }) => Some(Exit::Damaged),
        RecoverError::Velero(_) | RecoverError::Git(GitError::Refused { .. }) => Some(Exit::Usage),
        RecoverError::Git(GitError::NoFolder { .. }) => Some(Exit::NotFound),
        RecoverError::NoObjects { .. } => Some(Exit::NotFound),
        RecoverError::Cancelled => Some(Exit::Interrupted),
        _ => None,
    };
    let hint = match &error {
        RecoverError::WrongCluster { remedy, .. } => Some(remedy.clone()),
        RecoverError::Journal { source, .. } if is_full(source) => {
            Some("make room where the journal is kept (--journals)".to_owned())
        }
        RecoverError::Scratch { source, .. } if is_full(source) => {
            Some("make room, or name a folder with more room with --scratch".to_owned())
        }
        _ => None,
    };
    let mut failure = Failure::from(anyhow::Error::new(error));
    if let Some(hint) = hint {
        failure = failure.hint(hint);
    }
    match exit {
        Some(exit) => failure.because_of(exit),
        None => failure,
    }
}
