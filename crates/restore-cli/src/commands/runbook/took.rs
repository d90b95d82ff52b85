//! How long such a restore took before, as journals tell.

use std::path::Path;

use backup_core::id::ClusterName;
use backup_core::recover::journal::{Journal, Phase};
use backup_core::recover::plan::{Mode, Plan};
use jiff::{SignedDuration, Timestamp};

use crate::commands::status;

/// The last complete restore of a cluster in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Took {
    pub(super) began: Timestamp,
    pub(super) whole: SignedDuration,
    phases: Vec<(Phase, SignedDuration)>,
}

impl Took {
    /// The newest in `folder` that was complete and not interrupted; `None` also without a folder.
    pub(super) fn last(folder: &Path, cluster: &ClusterName, mode: Mode) -> Option<Self> {
        let journals = status::all(folder).ok()?;
        let newest = journals.iter().rev().take(status::LOOKED);
        newest.into_iter().find_map(|path| {
            let plan = Plan::read(&status::plan_of(path)).ok()?;
            let state = Journal::look(path).ok()?;
            let alike = plan.mode == mode && plan.cluster == *cluster && state.resumed == 0;
            let (how, ended) = state.ended.filter(|_| alike)?;
            let began = state.began.filter(|_| how == "complete")?;
            let phases = state.phases.iter();
            let phases = phases.filter_map(|(phase, (began, done))| {
                Some((*phase, done.as_ref()?.duration_since(*began)))
            });
            Some(Self {
                began,
                whole: ended.duration_since(began),
                phases: phases.collect(),
            })
        })
    }

    /// Those phases, each with how long it took.
    pub(super) fn phases(&self) -> impl Iterator<Item = (&'static str, SignedDuration)> {
        self.phases
            .iter()
            .map(|(phase, took)| (word(*phase), *took))
    }

    /// For tests of what is written of it.
    #[cfg(test)]
    pub(super) fn told(began: Timestamp, seconds: &[(Phase, i64)]) -> Self {
        let phases = seconds
            .iter()
            .map(|(phase, seconds)| (*phase, SignedDuration::from_secs(*seconds)));
        Self {
            began,
            whole: SignedDuration::from_secs(seconds.iter().map(|(_, s)| s).sum()),
            phases: phases.collect(),
        }
    }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Etcd => "restore etcd",
        Phase::Quiesce => "stop controllers and webhooks",
        Phase::Crds => "make definitions",
        Phase::Objects => "write objects",
        Phase::Link => "name owners that came later",
        Phase::Settle => "look for losses",
        Phase::Resume => "let controllers go on",
        Phase::Verify => "ask tenants",
    }
}
