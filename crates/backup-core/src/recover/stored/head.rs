//! What stands before the sealed part of each object of a copy, for those without a key: which
//! restore, and how far it is. No name of an object, and nothing that a restore relies on.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::journal::{Phase, Record};
use super::super::plan::{Mode, Plan, Step};
use crate::format::manifest::Parent;
use crate::id::ClusterName;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The version of the form, 1.
    pub version: u64,
    /// The restore.
    pub restore: String,
    /// The object's own name below the folder of the restore.
    pub part: String,
    /// The cluster.
    pub cluster: ClusterName,
    /// How it is restored.
    pub mode: Mode,
    /// What is done.
    pub steps: Vec<Step>,
    /// What is restored; its key opens the copy.
    pub restore_point: Parent,
    /// How far it is with the lines of this object.
    pub told: Told,
}

/// How far a restore is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Told {
    /// When it began.
    pub began: Option<Timestamp>,
    /// Phases with their times.
    pub phases: BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    /// How the last attempt ended, if it did.
    pub ended: Option<(String, Timestamp)>,
    /// How often it went on after an interruption.
    pub resumed: u64,
}

impl Head {
    pub(super) fn of(plan: &Plan, restore: &str) -> Self {
        Self {
            version: 1,
            restore: restore.to_owned(),
            part: String::new(),
            cluster: plan.cluster.clone(),
            mode: plan.mode,
            steps: plan.steps.clone(),
            restore_point: plan.restore_point.clone(),
            told: Told::default(),
        }
    }
}

impl Told {
    /// Takes one more line of the journal.
    pub(super) fn take(&mut self, line: &[u8]) {
        // Most lines are of objects, and tell nothing here.
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
