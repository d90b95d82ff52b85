//! Precautions of a restore, so that no controller can hurt a tenant. All are always on; tests turn
//! one off to show that the harm is real.

/// Precaution.
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
    /// Objects that were being deleted are not restored.
    Deleting,
    /// An empty annotation that asks for a new authority is left out.
    Rotation,
    /// Controllers are stopped, and webhooks that need them are parked.
    Quiesce,
}

/// Precautions that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Guards {
    without: Option<Guard>,
}

impl Guards {
    /// Returns all precautions but one, for tests that show its purpose.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn without(guard: Guard) -> Self {
        Self {
            without: Some(guard),
        }
    }

    /// Reports whether a precaution is taken.
    #[must_use]
    pub fn has(self, guard: Guard) -> bool {
        self.without != Some(guard)
    }
}
