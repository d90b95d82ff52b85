//! The lines of a journal. None holds a value of an object.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::etcd::Trace;
use super::super::quiesce::Parked;
use crate::digest::Digest;
use crate::format::manifest::Finding;

/// A part of a restore, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// etcd is restored from its snapshot.
    Etcd,
    /// Controllers are stopped and webhooks parked.
    Quiesce,
    /// Definitions are made and served.
    Crds,
    /// Objects are written.
    Objects,
    /// Owners that came later are named.
    Link,
    /// Nothing was lost since.
    Settle,
    /// Everything that was stopped goes on.
    Resume,
    /// Tenants are asked.
    Verify,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was there and was changed.
    Changed,
    /// It was there as it should be.
    Same,
    /// It was left out, with the reason.
    Skipped,
    /// It was there otherwise and was left so, or fields of it were.
    Conflict,
    /// It was taken away, because pruning was asked for.
    Pruned,
    /// It could not be written, with the reason.
    Failed,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "record")]
pub enum Record {
    /// The first line: what is restored where.
    #[serde(rename_all = "camelCase")]
    Begun {
        /// Names this restore.
        restore: String,
        /// The tool and its version.
        tool: String,
        /// The plan.
        plan: Digest,
        /// When.
        at: Timestamp,
    },
    /// It goes on after an interruption.
    #[serde(rename_all = "camelCase")]
    Resumed {
        /// When.
        at: Timestamp,
        /// Whether from a copy, whose last lines may be missing.
        #[serde(default)]
        copied: bool,
    },
    /// A phase begins.
    #[serde(rename_all = "camelCase")]
    PhaseBegun {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A phase is done.
    #[serde(rename_all = "camelCase")]
    PhaseDone {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A step of the etcd phase.
    #[serde(rename_all = "camelCase")]
    Etcd {
        /// What was reached, in a few words.
        reached: String,
        /// What that shows of whose work the etcd is, if it shows anything.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<Trace>,
        /// When.
        at: Timestamp,
    },
    /// Something is going to be stopped; this is how it was.
    #[serde(rename_all = "camelCase")]
    Parking {
        /// What, and how it was.
        parked: Parked,
    },
    /// It goes on as it was.
    #[serde(rename_all = "camelCase")]
    Unparked {
        /// What.
        place: String,
    },
    /// An object is going to be written.
    #[serde(rename_all = "camelCase")]
    Writing {
        /// Its path in the archive.
        object: String,
    },
    /// An object is done.
    #[serde(rename_all = "camelCase")]
    Written {
        /// Its path in the archive.
        object: String,
        /// What became of it.
        outcome: Outcome,
        /// The UID that it has now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        /// Why, in a sentence; never a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// An owner that came later is named.
    #[serde(rename_all = "camelCase")]
    Linked {
        /// The object's path in the archive.
        object: String,
    },
    /// A phase found something that a person should know.
    #[serde(rename_all = "camelCase")]
    Found {
        /// Which phase.
        phase: Phase,
        /// What; never a value.
        finding: Finding,
    },
    /// The last line of an attempt.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// `complete`, `partial` or `failed`.
        how: String,
        /// When.
        at: Timestamp,
    },
}

/// Longer sentences of a server are cut: a line is read back whole.
const MAX_SENTENCE: usize = 4096;

impl Record {
    /// The same with its sentences cut to a length that is read back.
    pub(super) fn bounded(mut self) -> Self {
        match &mut self {
            Self::Written { why: Some(why), .. } => cut(why),
            Self::Etcd { reached, .. } => cut(reached),
            Self::Found { finding, .. } => {
                cut(&mut finding.cause);
                cut(&mut finding.remedy);
            }
            _ => {}
        }
        self
    }
}

fn cut(sentence: &mut String) {
    if sentence.len() > MAX_SENTENCE {
        sentence.truncate(sentence.floor_char_boundary(MAX_SENTENCE));
        sentence.push('…');
    }
}
