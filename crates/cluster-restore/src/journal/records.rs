//! Lines of a journal. None contains a value of an object.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::etcd::BootstrapEvidence;
use super::super::quiesce::ParkedItem;
use backup_core::digest::Digest;
use backup_core::format::manifest::Finding;

/// Part of a restore, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Etcd is restored from its snapshot.
    Etcd,
    /// Controllers are stopped and webhooks are parked.
    Quiesce,
    /// Definitions are created and served.
    Crds,
    /// Objects are written.
    Objects,
    /// References to owners that were written later are added.
    Link,
    /// Written objects are checked for losses.
    Settle,
    /// Everything that was stopped resumes.
    Resume,
    /// Tenants are verified.
    Verify,
}

/// Result for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was created.
    Created,
    /// It existed and was changed.
    Changed,
    /// It existed and was already as wanted.
    Same,
    /// It was left out, with the reason.
    Skipped,
    /// It existed, differed, and was left unchanged, or some of its fields were.
    Conflict,
    /// It was deleted, because pruning was requested.
    Pruned,
    /// It could not be written, with the reason.
    Failed,
}

/// Line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "record")]
pub enum Record {
    /// The restore begins; this is the first line.
    #[serde(rename_all = "camelCase")]
    Begun {
        /// Name of this restore.
        restore: String,
        /// Name and version of the tool.
        tool: String,
        /// Digest of the plan.
        plan: Digest,
        /// Time.
        at: Timestamp,
    },
    /// The restore continues after an interruption.
    #[serde(rename_all = "camelCase")]
    Resumed {
        /// Time.
        at: Timestamp,
        /// Whether it continues from a copy, whose last lines may be missing.
        #[serde(default)]
        copied: bool,
    },
    /// A phase begins.
    #[serde(rename_all = "camelCase")]
    PhaseBegun {
        /// Phase.
        phase: Phase,
        /// Time.
        at: Timestamp,
    },
    /// A phase is done.
    #[serde(rename_all = "camelCase")]
    PhaseDone {
        /// Phase.
        phase: Phase,
        /// Time.
        at: Timestamp,
    },
    /// The etcd phase made a step.
    #[serde(rename_all = "camelCase")]
    Etcd {
        /// Step that was reached, in a few words.
        reached: String,
        /// Evidence in this step of whose work the etcd is, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace: Option<BootstrapEvidence>,
        /// Time.
        at: Timestamp,
    },
    /// Something is about to be stopped.
    #[serde(rename_all = "camelCase")]
    Parking {
        /// Object that is stopped, with its previous state.
        parked: ParkedItem,
    },
    /// It was put back.
    #[serde(rename_all = "camelCase")]
    Unparked {
        /// Path of the object.
        place: String,
    },
    /// An object is about to be written.
    #[serde(rename_all = "camelCase")]
    Writing {
        /// Path in the archive.
        object: String,
    },
    /// An object is done.
    #[serde(rename_all = "camelCase")]
    Written {
        /// Path in the archive.
        object: String,
        /// Result.
        outcome: Outcome,
        /// UID in the cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        /// Reason, in a sentence; never a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// A reference to an owner that was written later was added.
    #[serde(rename_all = "camelCase")]
    Linked {
        /// Path of the object in the archive.
        object: String,
    },
    /// A phase found something that a person should know.
    #[serde(rename_all = "camelCase")]
    Found {
        /// Phase.
        phase: Phase,
        /// Finding; never contains a value.
        finding: Finding,
    },
    /// The last line of an attempt.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// Result: `complete`, `partial` or `failed`.
        how: String,
        /// Time.
        at: Timestamp,
    },
}

/// Longest sentence. Longer sentences of a server are cut, so that a line stays short enough to
/// read back.
const MAX_SENTENCE: usize = 4096;

impl Record {
    /// Returns the record with its sentences cut to a length that can be read back.
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
