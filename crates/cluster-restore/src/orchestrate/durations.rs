//! Duration of an earlier restore of the same kind, from journals.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use backup_core::id::ClusterName;
use backup_core::store::Store;
use jiff::{SignedDuration, Timestamp};

use super::journals::{SEARCHED, journals_in, plan_file, replica_heads};
use super::{COMPLETE, COMPLETE_OF_PARTIAL};
use crate::journal::{Journal, Phase};
use crate::plan::{Mode, Plan, Step};

/// Last complete restore of a cluster in one mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastDurations {
    /// Time when it began.
    pub began: Timestamp,
    /// Duration of the whole restore.
    pub whole: SignedDuration,
    /// Duration of each phase that ended.
    pub phases: Vec<(Phase, SignedDuration)>,
}

/// Criteria for restores of the same kind.
pub struct RestoreFilter<'a> {
    /// Cluster that was restored.
    pub cluster: &'a ClusterName,
    /// Mode of the restore.
    pub mode: Mode,
    /// Steps of the restore; `None` for any.
    pub steps: Option<&'a [Step]>,
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
    pub async fn last(
        folder: &Path,
        store: &Arc<dyn Store>,
        filter: &RestoreFilter<'_>,
    ) -> Option<Self> {
        let heads = replica_heads(store).await.unwrap_or_default();
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
        let journals = journals_in(folder).ok()?;
        let newest = journals.iter().rev().take(SEARCHED);
        newest.into_iter().find_map(|path| {
            let plan = Plan::read(&plan_file(path)).ok()?;
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

    /// Returns the names of the phases with their durations.
    pub fn named_phases(&self) -> impl Iterator<Item = (&'static str, SignedDuration)> {
        self.phases
            .iter()
            .map(|(phase, took)| (word(*phase), *took))
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
