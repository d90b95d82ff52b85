//! Head before the sealed part of each object of a copy, for readers without a key: the restore and its
//! progress. It contains no name of an object, and nothing that a restore relies on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::journal::{Phase, Record};
use crate::plan::{Mode, Plan, Step};
use backup_core::format::manifest::Parent;
use backup_core::id::ClusterName;

/// Head of an object of a copy; see the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaHead {
    /// Version of the form, 1.
    pub version: u64,
    /// Name of the restore.
    pub restore: String,
    /// Name of the stored object below the folder of the restore.
    pub part: String,
    /// Name of the cluster.
    pub cluster: ClusterName,
    /// Mode of the restore.
    pub mode: Mode,
    /// Steps of the restore.
    pub steps: Vec<Step>,
    /// Restore point that is restored; its key opens the copy.
    pub restore_point: Parent,
    /// Progress of the restore up to the lines of this object.
    #[serde(rename = "told")]
    pub progress: RestoreProgress,
}

/// Progress of a restore.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RestoreProgress {
    /// Time when it began.
    pub began: Option<Timestamp>,
    /// Phases with the times when they began and ended.
    pub phases: BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    /// Result of the last attempt and when it ended, if it did.
    pub ended: Option<(String, Timestamp)>,
    /// Number of times that it continued after an interruption.
    pub resumed: u64,
}

impl ReplicaHead {
    pub(super) fn of(plan: &Plan, restore: &str) -> Self {
        Self {
            version: 1,
            restore: restore.to_owned(),
            part: String::new(),
            cluster: plan.cluster.clone(),
            mode: plan.mode,
            steps: plan.steps.clone(),
            restore_point: plan.restore_point.clone(),
            progress: RestoreProgress::default(),
        }
    }
}

impl RestoreProgress {
    /// Updates the progress with one more line of the journal.
    pub(super) fn take(&mut self, line: &[u8]) {
        // Most lines are about objects and do not change the progress.
        if line.starts_with(b"{\"record\":\"writ") {
            return;
        }
        match serde_json::from_slice(line) {
            Ok(Record::Begun { at, .. }) => self.began = Some(at),
            Ok(Record::Resumed { .. }) => {
                self.resumed = self.resumed.saturating_add(1);
                self.ended = None;
            }
            Ok(Record::PhaseBegun { phase, at }) => {
                self.phases.entry(phase).or_insert((at, None)).1 = None;
            }
            Ok(Record::PhaseDone { phase, at }) => {
                self.phases.entry(phase).or_insert((at, None)).1 = Some(at);
            }
            Ok(Record::Ended { how, at }) => self.ended = Some((how, at)),
            _ => {}
        }
    }
}
