//! Consent to a restore, asked for before the first write.

use async_trait::async_trait;

use super::{ProgramError, RestoreTargets};
use crate::plan::Plan;

/// Giver of consent to a restore: a person at a terminal, or the rules of a program.
#[async_trait]
pub trait Consent: Send + Sync {
    /// Decides whether `plan` is run into `targets`, the cluster and the nodes that answer now. Nothing was
    /// written before.
    ///
    /// # Errors
    /// Returns the reason for a refusal. Then nothing is written.
    async fn ask(&self, plan: &Plan, targets: &RestoreTargets) -> Result<(), ProgramError>;
}
