//! Material of a restore: objects out of an archive, a Git repository or a Velero backup.

use std::path::Path;
use std::sync::Arc;

use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::{Finding, Parent};
use backup_core::read::unlock;
use cluster_client::kube::target::KubeTarget;

use super::{PlanRequest, RestoreContext, named};
use crate::git::GitSource;
use crate::orchestrate::{ObjectSource, OrchestrateError};
use crate::plan::{Mode, Options, Origin};
use crate::spool::ObjectSpool;
use crate::velero::read_velero;
use crate::{ContentKey, RecoverError, Selection, of_steps, read_archive};

/// Objects to write.
pub(in super::super) struct ObjectSpools {
    pub(in super::super) spool: ObjectSpool,
    /// Objects as the restored etcd has them, with their restore point.
    pub(in super::super) base: Option<(ObjectSpool, Parent)>,
}

/// Objects to write, with their origin.
pub(in super::super) struct Material {
    pub(in super::super) objects: ObjectSpools,
    pub(in super::super) origin: Origin,
    /// Key for digests of the objects.
    pub(super) key: ContentKey,
    /// Findings about the source.
    pub(super) findings: Vec<Finding>,
}

impl RestoreContext {
    /// Reads the objects of `point` that `options` choose.
    async fn spool(
        &self,
        point: &RestorePoint,
        options: &Options,
    ) -> Result<ObjectSpool, OrchestrateError> {
        let select = select(point, options)?;
        let identities = self.setup.identities()?;
        let progress = Arc::clone(&self.progress);
        let reader = self.setup.reader(point, &identities, progress).await?;
        match read_archive(&reader, &select).await {
            Ok(spool) => Ok(spool),
            Err(RecoverError::Archive(source)) => {
                Err(self.setup.unreadable(*source, (point, &identities)).await)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the key for digests of the objects. It is absent without an identity for the restore point:
    /// some sources need none.
    async fn content_key(&self) -> Result<ContentKey, OrchestrateError> {
        let identities = self.setup.identities()?;
        let store = &self.setup.points.store;
        let unlocked = async { Ok(unlock(store, &self.point, &identities).await) };
        let unlocked = self.setup.or_cancelled(unlocked).await?;
        Ok(ContentKey::new(
            unlocked.ok().and_then(|unlocked| unlocked.of_plans()),
        ))
    }

    /// Reads the objects from the requested source. `target` supplies the kinds that nothing else defines.
    pub(in super::super) async fn material(
        &self,
        plan_request: &PlanRequest,
        target: Option<&KubeTarget>,
    ) -> Result<Material, OrchestrateError> {
        let options = &plan_request.options;
        let objects = self.objects();
        if !self.writes_objects() {
            return Ok(Material {
                objects: ObjectSpools {
                    spool: ObjectSpool::create(&self.setup.scratch, 0)?,
                    base: None,
                },
                origin: Origin::Archive {
                    restore_point: named(objects),
                },
                key: ContentKey::default(),
                findings: Vec::new(),
            });
        }
        let key = self.content_key().await?;
        let (spool, origin, findings) = match &plan_request.source {
            ObjectSource::Archive => {
                let spool = self.spool(objects, options).await?;
                let restore_point = named(objects);
                (spool, Origin::Archive { restore_point }, Vec::new())
            }
            // The futures are too large for a caller's stack.
            ObjectSource::Git(git) => Box::pin(self.git_objects(git, options, target)).await?,
            ObjectSource::Velero(path) => Box::pin(self.velero_objects(path, options)).await?,
        };
        let mut spool = spool;
        of_steps(&mut spool, &plan_request.steps);
        // Objects as the restored etcd has them, if other objects are brought forward from there.
        let from_elsewhere =
            plan_request.source != ObjectSource::Archive && plan_request.mode == Mode::InPlace;
        let base = self.base.as_ref().filter(|base| {
            // A base that is only close adds nothing to what a living cluster shows.
            let exact = base.entry.digest == self.point.entry.digest;
            (self.forward.is_some() || from_elsewhere) && (exact || target.is_none())
        });
        let base = match base {
            Some(base) => Some((self.spool(base, options).await?, named(base))),
            None => None,
        };
        Ok(Material {
            objects: ObjectSpools { spool, base },
            origin,
            key,
            findings,
        })
    }

    /// Reads the objects of a Git repository, and supplements them from the restore point.
    async fn git_objects(
        &self,
        git: &GitSource,
        options: &Options,
        target: Option<&KubeTarget>,
    ) -> Result<(ObjectSpool, Origin, Vec<Finding>), OrchestrateError> {
        let (objects, scratch) = (self.objects(), self.setup.scratch.as_path());
        // The checkout comes first, because it may fail at once.
        let fetched = git.checkout(&objects.manifest.cluster, scratch, &self.setup.proxies);
        let fetched = async { Ok(fetched.await.map_err(RecoverError::Git)?) };
        let checkout = self.setup.or_cancelled(fetched).await?;
        let archive = self.spool(objects, options).await?;
        let select = select(objects, options)?;
        let laid = checkout.over(&archive, target, &select, scratch);
        let laid = async { Ok(laid.await?) };
        let taken = self.setup.or_cancelled(laid).await?;
        let origin = Origin::Git {
            repository: checkout.repository.clone(),
            commit: checkout.commit.clone(),
            reference: git.reference.clone(),
            path: git.path.clone(),
            restore_point: named(objects),
        };
        Ok((taken.spool, origin, taken.findings))
    }

    /// Reads the objects of a Velero backup.
    async fn velero_objects(
        &self,
        path: &Path,
        options: &Options,
    ) -> Result<(ObjectSpool, Origin, Vec<Finding>), OrchestrateError> {
        let select = select(self.objects(), options)?;
        let read = read_velero(path, &self.setup.scratch, &select);
        let read = async { Ok(read.await?) };
        let taken = self.setup.or_cancelled(read).await?;
        let origin = Origin::Velero {
            path: path.display().to_string(),
            sha256: taken.sha256,
        };
        Ok((taken.spool, origin, taken.findings))
    }
}

/// Returns the choice of `options` among the tenants of `point`.
fn select(point: &RestorePoint, options: &Options) -> Result<Selection, OrchestrateError> {
    let kubernetes = point.manifest.kubernetes.as_ref();
    let tenants = kubernetes.map(|k| k.tenants.as_slice());
    Ok(Selection::new(options, tenants.unwrap_or_default())?)
}
