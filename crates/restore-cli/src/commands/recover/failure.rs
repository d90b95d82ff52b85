//! Failure of a restore, with its exit code and hints.

use std::fmt;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use cluster_restore::orchestrate::{OrchestrateError, ProgramError};

use super::failed;
use crate::commands::damage::damaged;
use crate::commands::latest::not_found;

/// Failure of this program that passes through the library of the restore.
pub(crate) struct ProgramFailure(Failure);

impl ProgramFailure {
    /// Converts a failure into the form that the library carries.
    pub(crate) fn boxed(failure: Failure) -> ProgramError {
        Box::new(Self(failure))
    }
}

impl fmt::Debug for ProgramFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ProgramFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.one_line())
    }
}

impl std::error::Error for ProgramFailure {}

/// Makes a failure of a restore that is planned, run or resumed, with a hint where one helps.
pub(crate) fn restore_failed(error: OrchestrateError) -> Failure {
    match error {
        OrchestrateError::Unfinished { journal, source } => restore_failed(*source).hint(format!(
            "continue with: restore-cli resume {}",
            journal.display()
        )),
        OrchestrateError::Identities(error) | OrchestrateError::NoConsent(error) => {
            match error.downcast::<ProgramFailure>() {
                Ok(failure) => failure.0,
                Err(error) => Failure::message(Exit::Failed, error.to_string()),
            }
        }
        OrchestrateError::Unreadable {
            damages, source, ..
        } => damaged(*source, &damages, "restore-cli plan"),
        OrchestrateError::Point(error) => not_found(error),
        OrchestrateError::Recover(error) => failed(error),
        error => {
            let hint = hint(&error);
            let failure = Failure::from(error);
            match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            }
        }
    }
}

/// Returns what to do about an error.
fn hint(error: &OrchestrateError) -> Option<String> {
    let hint = match error {
        OrchestrateError::EtcdBlocked { remedy, .. }
        | OrchestrateError::PlannedBlocker { remedy, .. }
        | OrchestrateError::Blocked { remedy, .. } => remedy,
        OrchestrateError::OtherPoint { .. } | OrchestrateError::OtherNodes { .. } => "plan again",
        OrchestrateError::OtherSource(_) | OrchestrateError::Changed { .. } => {
            "plan again, and look at it again"
        }
        OrchestrateError::Backward { .. } => {
            "objects are brought forward in time; plan the older one alone"
        }
        OrchestrateError::NoApi => {
            "give --kubeconfig FILE, the key `kubernetes.kubeconfig`, or KUBECONFIG"
        }
        OrchestrateError::ApiNotReady => "see `kubectl get --raw '/readyz?verbose'`",
        OrchestrateError::ApiAway(_) => {
            "see whether kube-apiserver runs on the node that etcd was restored on"
        }
        OrchestrateError::NoSnapshot { .. } => {
            "choose one from `restore-cli list`, or plan with --only crds,resources,verify"
        }
        OrchestrateError::NoTenants { .. } => {
            "choose one that has `resources` from `restore-cli list`"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_restore::journal_replica::ReplicaError;
    use cluster_restore::orchestrate::PointError;

    #[test]
    fn a_failure_of_this_program_passes_the_library_unchanged() {
        let refused = Failure::message(Exit::Refused, "stopped").hint("say yes");
        let passed = OrchestrateError::NoConsent(ProgramFailure::boxed(refused));
        let failure = restore_failed(passed);
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(failure.text(), "error: stopped\n  hint: say yes\n");
    }

    #[test]
    fn an_unfinished_restore_says_last_how_it_goes_on() {
        let blocked = OrchestrateError::EtcdBlocked {
            object: "node 10.5.0.2".to_owned(),
            cause: "its etcd runs".to_owned(),
            remedy: "wipe it".to_owned(),
        };
        let unfinished = OrchestrateError::Unfinished {
            journal: "a.journal".into(),
            source: Box::new(blocked),
        };
        let failure = restore_failed(unfinished);
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.text(),
            "error: etcd must not be restored now: node 10.5.0.2: its etcd runs\n  hint: wipe \
             it\n  hint: continue with: restore-cli resume a.journal\n"
        );
    }

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        let none = PointError::NoData {
            store: "file:///b".to_owned(),
            needed: "`etcd`".to_owned(),
        };
        let elsewhere = ReplicaError::Elsewhere {
            restore: "r".to_owned(),
        };
        let codes = [
            (OrchestrateError::Interrupted, Exit::Interrupted),
            (OrchestrateError::NoApi, Exit::Usage),
            (OrchestrateError::ApiNotReady, Exit::Failed),
            (none.into(), Exit::NotFound),
            (elsewhere.into(), Exit::Refused),
        ];
        for (error, exit) in codes {
            let told = error.to_string();
            assert_eq!(restore_failed(error).exit(), exit, "{told}");
        }
    }
}
