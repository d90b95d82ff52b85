//! Orchestration of a restore: what a program needs to plan, run and resume one without a terminal.
//!
//! A program passes a [`RestoreSetup`]: the store, the identities, the access to the cluster, and the receiver of
//! reports. Then it uses three types:
//!
//! - [`RestoreContext`] finds restore points and makes a plan.
//! - [`PreparedRestore`] checks a plan again and runs it.
//! - [`InterruptedRestore`] continues a run that was interrupted.
//!
//! Nothing is written before the program gives its [`Consent`].
//!
//! The futures of a restore are not `Send`: run them on a thread of their own, or in a `LocalSet`.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use async_trait::async_trait;
//! use backup_core::digest::Digest;
//! use cluster_restore::Timeouts;
//! use cluster_restore::orchestrate::{
//!     Consent, OrchestrateError, PreparedRestore, ProgramError, RestoreOutcome, RestoreSetup,
//!     RestoreTargets,
//! };
//! use cluster_restore::plan::Plan;
//!
//! /// Consent to the one plan that somebody approved.
//! struct ApprovedPlan(Digest);
//!
//! #[async_trait]
//! impl Consent for ApprovedPlan {
//!     async fn ask(&self, plan: &Plan, _: &RestoreTargets) -> Result<(), ProgramError> {
//!         if plan.digest == self.0 {
//!             return Ok(());
//!         }
//!         Err("this plan is not the approved one".into())
//!     }
//! }
//!
//! async fn restore(
//!     file: &Path,
//!     approved: Digest,
//!     setup: RestoreSetup,
//! ) -> Result<RestoreOutcome, OrchestrateError> {
//!     let prepared = PreparedRestore::of_plan(Plan::read(file)?, setup).await?;
//!     let journals = Path::new("/var/lib/restores");
//!     let consent = ApprovedPlan(approved);
//!     prepared.run(&consent, journals, Timeouts::default()).await
//! }
//! ```

mod consent;
mod context;
mod copier;
mod durations;
mod end;
mod error;
mod etcd;
mod etcd_alone;
mod execute;
mod gaps;
mod journals;
mod outcome;
mod points;
mod prepared;
mod reporter;
mod resume;
mod setup;
mod source;
mod targets;
mod tenants;

pub use consent::Consent;
pub use context::{PlanRequest, PointSelection, RestoreContext};
pub use copier::fetch_copy;
pub use durations::{PastDurations, RestoreFilter};
pub use end::{COMPLETE, COMPLETE_OF_PARTIAL, PARTIAL};
pub use error::{OrchestrateError, ProgramError};
pub use etcd_alone::EtcdRestore;
pub use gaps::LocatedGap;
pub use journals::{journals_in, plan_file, replica_heads};
pub use outcome::{RestoreOutcome, TenantsOutcome};
pub use points::{
    KindRequirement, LATEST, PointError, PointFinder, Requirement, has_objects, lost_parent_warning,
};
pub use prepared::PreparedRestore;
pub use reporter::Reporter;
pub use resume::InterruptedRestore;
pub use setup::{IdentitySource, RestoreSetup, TalosTarget};
pub use source::{ObjectSource, SourceDifference};
pub use targets::RestoreTargets;
pub use tenants::check_tenants;

use source::same_source;
