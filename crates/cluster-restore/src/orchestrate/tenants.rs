//! Check of the tenants after a restore, and on any other day.

use std::sync::Arc;

use backup_core::catalog::RestorePoint;
use backup_core::clock::Clock;
use backup_core::source::SourceError;
use cluster_client::kube::{KubeExport, KubeOptions, Selection};

use super::{OrchestrateError, Reporter};
use crate::tenants::{TenantCheck, check};

/// Queries every tenant of the cluster at `kube`, and compares with `point`.
///
/// # Errors
/// When the restore point holds no facts about tenants, or the Kubernetes API cannot be read.
pub async fn check_tenants(
    point: &RestorePoint,
    kube: Option<&KubeOptions>,
    clock: &Arc<dyn Clock>,
    reporter: &dyn Reporter,
) -> Result<Vec<TenantCheck>, OrchestrateError> {
    if point.manifest.kubernetes.is_none() {
        let id = point.entry.id.clone();
        return Err(OrchestrateError::NoTenants { id });
    }
    let options = kube.ok_or(OrchestrateError::NoApi)?;
    reporter.status("asking every tenant");
    let checks = async {
        let begun = Arc::clone(clock);
        let export = KubeExport::begin(options, Selection::default(), Vec::new(), begun).await?;
        Ok::<_, SourceError>(check(&export, &point.manifest, clock).await)
    };
    checks.await.map_err(OrchestrateError::Tenants)
}
