//! Log that keeps its phases, and can react to them.

use std::sync::Mutex;

use cluster_restore::etcd::{EtcdLog, EtcdPhase, LogError};

type Reaction = Box<dyn Fn(&EtcdPhase) -> Result<(), LogError> + Send + Sync>;

/// Log; see the module.
#[derive(Default)]
pub(crate) struct Kept {
    phases: Mutex<Vec<EtcdPhase>>,
    reaction: Option<Reaction>,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").finish_non_exhaustive()
    }
}

impl Kept {
    pub(crate) fn and(
        reaction: impl Fn(&EtcdPhase) -> Result<(), LogError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            phases: Mutex::default(),
            reaction: Some(Box::new(reaction)),
        }
    }

    pub(crate) fn phases(&self) -> Vec<EtcdPhase> {
        self.phases.lock().unwrap().clone()
    }

    /// Returns how often a phase with `is` was reached.
    pub(crate) fn count(&self, is: impl Fn(&EtcdPhase) -> bool) -> usize {
        self.phases().iter().filter(|phase| is(phase)).count()
    }

    pub(crate) fn uploads(&self) -> usize {
        self.count(|phase| matches!(phase, EtcdPhase::Uploaded))
    }
}

impl EtcdLog for Kept {
    fn reached(&self, phase: &EtcdPhase) -> Result<(), LogError> {
        self.phases.lock().unwrap().push(phase.clone());
        self.reaction.as_ref().map_or(Ok(()), |react| react(phase))
    }
}
