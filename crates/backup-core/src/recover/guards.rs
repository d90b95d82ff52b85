//! What a restore does so that no controller can hurt a tenant. All of it is always on; tests take
//! one away to show that the harm is real.

/// One precaution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guard {
    /// Owner references get the owner's new UID, or are left out.
    Owners,
    /// Control planes, clusters and GitOps are created paused.
    Pause,
    /// Status is written right after the object.
    Status,
    /// Objects come in an order that no controller misreads.
    Order,
    /// What was being deleted stays away.
    Deleting,
    /// An empty annotation that asks for a new authority is left out.
    Rotation,
    /// Controllers stand still, and webhooks that need them are parked.
    Quiesce,
}

/// The precautions that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guards {
    without: Option<Guard>,
}

impl Guards {
    /// All but one: for tests that show what it is there for.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        Self {
            without: Some(guard),
        }
    }

    /// Whether a precaution is taken.
    #[must_use]
    pub fn has(self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}
