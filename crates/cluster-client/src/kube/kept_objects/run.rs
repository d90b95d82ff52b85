//! Use of the kept objects by one run, with the findings about them.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Drift, KeptObjects, KeptPages, ListRecorder, RecordFailure};
use crate::kube::kind::Kind;
use crate::kube::request::Api;
use backup_core::archive::ResourceName;
use backup_core::format::manifest::Finding;

/// Time for which all lists of a run together may wait for outstanding reports of the watches, which
/// usually take milliseconds.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// Use of the kept objects by one run.
#[derive(Debug)]
pub struct KeptObjectsUse {
    kept: KeptObjects,
    /// Whether everything is listed again regardless.
    relist: bool,
    run: Mutex<RunState>,
}

/// State of the use in this run.
#[derive(Debug, Default)]
struct RunState {
    /// Kinds whose lists were recorded: once per run is enough.
    recorded: BTreeSet<ResourceName>,
    /// Time until which lists wait; set by the first that has to.
    deadline: Option<Instant>,
    /// Whether it was already reported that nothing can be kept.
    told: bool,
    findings: Vec<Finding>,
}

impl KeptObjectsUse {
    /// Creates the use of `kept` by one run. The run takes the kept objects as far as they are valid;
    /// with `relist` it lists everything and corrects them.
    #[must_use]
    pub fn new(kept: KeptObjects, relist: bool) -> Self {
        Self {
            kept,
            relist,
            run: Mutex::default(),
        }
    }

    fn run(&self) -> MutexGuard<'_, RunState> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a run on this cluster and this version of its API server.
    pub(in crate::kube) async fn begin(&self, uid: &str, version: &str) {
        Arc::clone(&self.kept.0).run_started(uid, version).await;
    }

    /// Returns the kept objects of `kind`, or why it is listed: `None` if that was asked for.
    pub(in crate::kube) async fn pages(
        &self,
        api: &Api,
        kind: &Kind,
    ) -> Result<Box<dyn KeptPages>, Option<String>> {
        if self.relist {
            return Err(None);
        }
        let keeper = Arc::clone(&self.kept.0);
        keeper.pages(api, kind).await.map_err(Some)
    }

    /// Records that the kept objects of `kind` could not be read back.
    pub(in crate::kube) fn unreadable(&self, kind: &ResourceName, error: &io::Error) {
        self.kept.0.unreadable(kind, error);
    }

    /// Returns the recorder of a list of `kind`; `None` if it need not or cannot be kept.
    pub(in crate::kube) fn recorder(&self, kind: &Kind) -> Option<Box<dyn ListRecorder>> {
        if self.run().recorded.contains(&kind.resource) {
            return None;
        }
        Arc::clone(&self.kept.0).recorder(kind)
    }

    /// Records a list that was read to its end.
    pub(in crate::kube) async fn recorded(&self, kind: &Kind, recorder: Box<dyn ListRecorder>) {
        let deadline = {
            let mut run = self.run();
            run.recorded.insert(kind.resource.clone());
            let until = Instant::now() + REPORT_WAIT;
            *run.deadline.get_or_insert(until)
        };
        match recorder.finish(deadline).await {
            Ok(Drift { objects: 0, .. }) => {}
            Ok(Drift { objects, first }) => self.run().findings.push(Finding::warning(
                kind.resource.to_string(),
                format!(
                    "its list differs from its watch in {objects} objects, {first} among them: restore \
                     points for changes have an older state of them"
                ),
                "nothing to do for this restore point, which was listed; if this happens again, \
                 schedule the component more often by cron, and please report it",
            )),
            Err(RecordFailure::Odd(why)) => {
                tracing::debug!(kind = %kind.resource, why, "its list cannot be kept");
            }
            Err(RecordFailure::Scratch(why)) => {
                let mut run = self.run();
                if !std::mem::replace(&mut run.told, true) {
                    run.findings.push(Finding::warning(
                        "scratch file",
                        format!(
                            "what was read cannot be kept for the next run, which lists it again: \
                             {why}"
                        ),
                        "give the daemon a folder with free space: set TMPDIR",
                    ));
                }
            }
        }
    }

    /// Takes the findings of this run.
    pub(in crate::kube) fn findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.run().findings)
    }
}
