//! Material of a restore: objects out of an archive, a Git repository or a Velero backup.

use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::Finding;
use backup_core::read::unlock;
use cluster_client::kube::target::KubeTarget;
use cluster_restore::orchestrate::ObjectSource;
use cluster_restore::plan::{Mode, Options, Origin};
use cluster_restore::spool::Spool;
use cluster_restore::velero::read_velero;
use cluster_restore::{ContentKey, RecoverError, Selection, of_steps, read_archive};

use super::{PlanRequest, RestoreContext, named};
use crate::commands::recover::{ObjectSpools, failed};

/// Objects to write, with their origin.
pub(crate) struct Material {
    pub(crate) objects: ObjectSpools,
    pub(crate) origin: Origin,
    /// Key for digests of the objects.
    pub(super) key: ContentKey,
    /// Findings about the source.
    pub(super) findings: Vec<Finding>,
}

impl RestoreContext {
    /// Reads the objects of `point` that `options` choose.
    pub(crate) async fn spool(
        &self,
        point: &RestorePoint,
        options: &Options,
        frame: &Frame,
    ) -> Result<Spool, Failure> {
        let select = select(point, options)?;
        let identities = self
            .opened
            .config
            .identities(|text| frame.terminal.warn(text))?;
        let reader = self
            .opened
            .reader(point, &identities, &self.reading, frame)
            .await?;
        match read_archive(&reader, &select).await {
            Ok(spool) => Ok(spool),
            Err(RecoverError::Archive(source)) => Err(self
                .opened
                .read_failure(
                    *source,
                    (point, &identities),
                    &self.reading.scratch,
                    "restore-cli plan",
                    frame,
                )
                .await),
            Err(e) => Err(failed(e)),
        }
    }

    /// Returns the key for digests of the objects. Without an identity for the restore point, as with a
    /// source that does not need it, there is no key.
    async fn content_key(&self, frame: &Frame) -> Result<ContentKey, Failure> {
        let identities = self
            .opened
            .config
            .identities(|text| frame.terminal.warn(text))?;
        let unlocked = async { Ok(unlock(&self.opened.store, &self.point, &identities).await) };
        let unlocked = frame.or_cancelled(unlocked).await?;
        Ok(ContentKey::new(
            unlocked.ok().and_then(|unlocked| unlocked.of_plans()),
        ))
    }

    /// Reads the objects from the requested source. `target` supplies the kinds that nothing else defines.
    pub(crate) async fn material(
        &self,
        plan_request: &PlanRequest,
        target: Option<&KubeTarget>,
        frame: &Frame,
    ) -> Result<Material, Failure> {
        let options = &plan_request.options;
        let objects = self.objects();
        let scratch = self.reading.scratch.as_path();
        if !self.writes_objects() {
            return Ok(Material {
                objects: ObjectSpools {
                    spool: Spool::create(scratch, 0).map_err(failed)?,
                    base: None,
                },
                origin: Origin::Archive {
                    restore_point: named(objects),
                },
                key: ContentKey::default(),
                findings: Vec::new(),
            });
        }
        let key = self.content_key(frame).await?;
        let (spool, origin, findings) = match &plan_request.source {
            ObjectSource::Archive => {
                let spool = self.spool(objects, options, frame).await?;
                let restore_point = named(objects);
                (spool, Origin::Archive { restore_point }, Vec::new())
            }
            ObjectSource::Git(git) => {
                // The checkout comes first, because it may fail at once.
                let proxies = &frame.environment.proxies;
                let cluster = &objects.manifest.cluster;
                let fetched = git.checkout(cluster, scratch, proxies);
                let fetched = async { fetched.await.map_err(git_failed) };
                let checkout = frame.or_cancelled(fetched).await?;
                let archive = self.spool(objects, options, frame).await?;
                let select = select(objects, options)?;
                let laid = checkout.over(&archive, target, &select, scratch);
                let laid = async { laid.await.map_err(failed) };
                let taken = frame.or_cancelled(laid).await?;
                let origin = Origin::Git {
                    repository: checkout.repository.clone(),
                    commit: checkout.commit.clone(),
                    reference: git.reference.clone(),
                    path: git.path.clone(),
                    restore_point: named(objects),
                };
                (taken.spool, origin, taken.findings)
            }
            ObjectSource::Velero(path) => {
                let select = select(objects, options)?;
                let read = read_velero(path, scratch, &select);
                let read = async { read.await.map_err(failed) };
                let taken = frame.or_cancelled(read).await?;
                let origin = Origin::Velero {
                    path: path.display().to_string(),
                    sha256: taken.sha256,
                };
                (taken.spool, origin, taken.findings)
            }
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
            Some(base) => Some((self.spool(base, options, frame).await?, named(base))),
            None => None,
        };
        Ok(Material {
            objects: ObjectSpools { spool, base },
            origin,
            key,
            findings,
        })
    }
}

/// Returns the choice of `options` among the tenants of `point`.
fn select(point: &RestorePoint, options: &Options) -> Result<Selection, Failure> {
    let kubernetes = point.manifest.kubernetes.as_ref();
    let tenants = kubernetes.map(|k| k.tenants.as_slice());
    Selection::new(options, tenants.unwrap_or_default()).map_err(failed)
}

fn git_failed(error: cluster_restore::git::GitError) -> Failure {
    failed(RecoverError::Git(error))
}
