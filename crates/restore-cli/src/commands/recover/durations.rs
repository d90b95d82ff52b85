//! Duration of an earlier restore of the same kind, from journals.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use backup_core::id::ClusterName;
use backup_core::store::Store;
use cluster_restore::journal::{Journal, Phase};
use cluster_restore::plan::{Mode, Plan, Step};
use jiff::{SignedDuration, Timestamp};

use super::{COMPLETE, COMPLETE_OF_PARTIAL};
use crate::commands::status;

/// Last complete restore of a cluster in one mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PastDurations {
    pub(crate) began: Timestamp,
    pub(crate) whole: SignedDuration,
    phases: Vec<(Phase, SignedDuration)>,
}

/// Criteria for restores of the same kind.
pub(crate) struct RestoreFilter<'a> {
    pub(crate) cluster: &'a ClusterName,
    pub(crate) mode: Mode,
    /// Steps of the restore; `None` for any.
    pub(crate) steps: Option<&'a [Step]>,
}

impl RestoreFilter<'_> {
    fn matches(&self, cluster: &ClusterName, mode: Mode, steps: &[Step]) -> bool {
        let same = self.steps.is_none_or(|wanted| wanted == steps);
        same && self.mode == mode && self.cluster == cluster
    }
}

impl PastDurations {
    /// Returns the newest complete restore without interruption, from the journals in `folder` and those with
    /// a copy in `store`; `None` also without a folder, or if the store cannot be read.
    pub(crate) async fn last(
        folder: &Path,
        store: &Arc<dyn Store>,
        filter: &RestoreFilter<'_>,
    ) -> Option<Self> {
        let heads = status::heads(store).await.unwrap_or_default();
        let mut heads = heads.into_iter();
        let copied = heads.find_map(|head| {
            let is = filter.matches(&head.cluster, head.mode, &head.steps);
            let told = head.progress;
            is.then(|| Self::of(told.began, told.ended, told.resumed, &told.phases))?
        });
        let own = Self::in_folder(folder, filter);
        own.into_iter().chain(copied).max_by_key(|took| took.began)
    }

    fn in_folder(folder: &Path, filter: &RestoreFilter<'_>) -> Option<Self> {
        let journals = status::all(folder).ok()?;
        let newest = journals.iter().rev().take(status::LOOKED);
        newest.into_iter().find_map(|path| {
            let plan = Plan::read(&status::plan_of(path)).ok()?;
            if !filter.matches(&plan.cluster, plan.mode, &plan.steps) {
                return None;
            }
            let state = Journal::read_state(path).ok()?;
            Self::of(state.began, state.ended, state.resumed, &state.phases)
        })
    }

    fn of(
        began: Option<Timestamp>,
        ended: Option<(String, Timestamp)>,
        resumed: u64,
        phases: &BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    ) -> Option<Self> {
        let (how, ended) = ended.filter(|_| resumed == 0)?;
        let began = began.filter(|_| how == COMPLETE || how == COMPLETE_OF_PARTIAL)?;
        let phases = phases.iter().filter_map(|(phase, (began, done))| {
            Some((*phase, done.as_ref()?.duration_since(*began)))
        });
        Some(Self {
            began,
            whole: ended.duration_since(began),
            phases: phases.collect(),
        })
    }

    /// Returns the phases with their durations.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&'static str, SignedDuration)> {
        self.phases
            .iter()
            .map(|(phase, took)| (word(*phase), *took))
    }

    /// Makes a value for tests of the output.
    #[cfg(test)]
    pub(crate) fn of_seconds(began: Timestamp, seconds: &[(Phase, i64)]) -> Self {
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
        Phase::Resume => "start controllers again",
        Phase::Verify => "ask tenants",
    }
}
