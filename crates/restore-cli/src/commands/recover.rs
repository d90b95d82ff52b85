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

use backup_cli::failure::Failure;
use cluster_restore::RecoverError;

use super::is_full;

/// Makes a failure of a restore, with a hint where one helps.
pub(crate) fn failed(error: RecoverError) -> Failure {
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
    let failure = Failure::from(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
