//! Setup of a restore: the store, the cluster, the identities and the receiver of reports.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use backup_core::catalog::RestorePoint;
use backup_core::clock::Clock;
use backup_core::crypt::Identities;
use backup_core::progress::Progress;
use backup_core::proxy::Proxies;
use backup_core::read::{ObjectReader, RestoreError, unlock};
use cluster_client::kube::KubeOptions;
use cluster_client::talos::TalosOptions;
use cluster_client::talos::nodes::TalosNodes;
use tokio_util::sync::CancellationToken;

use super::{OrchestrateError, PointFinder, ProgramError, Reporter};

/// Supplier of the identities that open restore points.
pub trait IdentitySource: Debug + Send + Sync {
    /// Reads the identities, each time that a restore point is opened.
    ///
    /// # Errors
    /// When they cannot be read.
    fn identities(&self) -> Result<Identities, ProgramError>;
}

/// Talos API of the nodes that get etcd.
#[derive(Debug, Clone)]
pub struct TalosTarget {
    /// Settings that locate the nodes.
    pub options: TalosOptions,
    /// Node to restore onto; `None` for the first that is ready.
    pub node: Option<String>,
}

/// Setup of a restore; see the module.
#[derive(Debug)]
pub struct RestoreSetup {
    /// Finder of restore points, with their store.
    pub points: PointFinder,
    /// Supplier of the identities that open them.
    pub identities: Arc<dyn IdentitySource>,
    /// Kubernetes API of the cluster that is written to; `None` if no access is configured.
    pub kube: Option<KubeOptions>,
    /// Talos API of its nodes; `None` for a restore without a step on etcd.
    pub talos: Option<TalosTarget>,
    /// Proxies for Git repositories.
    pub proxies: Proxies,
    /// Folder of scratch files, with room for the largest component; the files in it are encrypted.
    pub scratch: PathBuf,
    /// Clock.
    pub clock: Arc<dyn Clock>,
    /// Receiver of status lines and warnings.
    pub reporter: Arc<dyn Reporter>,
    /// Token that stops the restore.
    pub cancel: CancellationToken,
}

impl RestoreSetup {
    /// Runs `work`, which only waits and reads, and ends it as soon as the restore is cancelled.
    pub(super) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, OrchestrateError>>,
    ) -> Result<T, OrchestrateError> {
        or_cancelled(&self.cancel, work).await
    }

    /// Returns the identities that open restore points.
    pub(super) fn identities(&self) -> Result<Identities, OrchestrateError> {
        let identities = self.identities.identities();
        identities.map_err(OrchestrateError::Identities)
    }

    /// Returns the nodes that get etcd, with credentials that were checked.
    pub(super) async fn nodes(&self) -> Result<TalosNodes, OrchestrateError> {
        let talos = self.talos.as_ref().ok_or(OrchestrateError::NoTalos)?;
        let nodes = TalosNodes::begin(talos.options.clone(), Arc::clone(&self.clock)).await;
        nodes.map_err(OrchestrateError::Nodes)
    }

    /// Returns a reader of the objects of `point`, unlocked with one of `identities`.
    pub(super) async fn reader(
        &self,
        point: &RestorePoint,
        identities: &Identities,
        progress: Arc<dyn Progress>,
    ) -> Result<ObjectReader, OrchestrateError> {
        let store = &self.points.store;
        let unlocking = async {
            let unlocked = unlock(store, point, identities).await;
            unlocked.map_err(OrchestrateError::Unlock)
        };
        let unlocked = self.or_cancelled(unlocking).await?;
        Ok(ObjectReader {
            store: Arc::clone(store),
            point: Arc::new(point.clone()),
            unlocked: Arc::new(unlocked),
            scratch: self.scratch.clone(),
            progress,
            cancel: self.cancel.clone(),
        })
    }

    /// Converts a failure to read `point`: determines the loss, and the older restore points without it.
    pub(super) async fn unreadable(
        &self,
        error: RestoreError,
        (point, identities): (&RestorePoint, &Identities),
    ) -> OrchestrateError {
        let of = (point, identities);
        let damages = self.points.damages(Some(&error), of, &self.scratch).await;
        OrchestrateError::Unreadable {
            id: point.entry.id.clone(),
            damages,
            source: Box::new(error),
        }
    }
}

/// Runs `work`, which only waits and reads, until `cancel` ends it.
pub(super) async fn or_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, OrchestrateError>>,
) -> Result<T, OrchestrateError> {
    tokio::select! {
        ended = work => ended,
        () = cancel.cancelled() => Err(OrchestrateError::Interrupted),
    }
}
