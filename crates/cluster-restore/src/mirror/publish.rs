//! Publication of a restore point: files over the remote branch, a commit, a push.

use std::path::Path;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::destination::normal;
use super::repository::{PushResult, Repository};
use super::{Access, Mirror, MirrorError, StagedObjects, flux, place, removal};
use crate::git::{BUTLERS, GitError};
use backup_core::format::manifest::Manifest;
use backup_core::id::{ComponentName, RestorePointId};
use cluster_client::kube::Selection;

/// Largest length of a reason, which is a sentence.
const MAX_REASON: usize = 500;

/// Result of publishing a restore point.
#[derive(Debug, Default)]
pub struct PublishReport {
    /// Commit, if the restore point changed something.
    pub commit: Option<String>,
    /// Number of files that were written.
    pub written: u64,
    /// Number of files that were removed.
    pub removed: u64,
    /// Number of fields that were left out of the files because they may be secret.
    pub left_out: u64,
    /// Number of commits that the remote does not have yet.
    pub unpushed: u64,
    /// Number of commits that were discarded because others changed the same lines: a later commit contains
    /// their content.
    pub given_up: u64,
    /// Reason why the remote does not have the commit.
    pub problem: Option<GitError>,
}

impl Mirror {
    /// Mirrors the staged objects of the restore point `id`. A remote that is unreachable or refuses the push
    /// is reported in the result: the next call pushes the commit.
    ///
    /// # Errors
    /// When nothing could be committed.
    pub async fn publish(
        &self,
        access: &Access,
        mut staged: StagedObjects,
        id: &RestorePointId,
        manifest: &Arc<Manifest>,
        selection: &Selection,
    ) -> Result<PublishReport, MirrorError> {
        self.check()?;
        let repository = Repository::open(self, access).await?;
        let at = manifest.ended;
        let mut published = PublishReport {
            left_out: staged.left_out(),
            ..PublishReport::default()
        };
        // Others may push between our fetch and our push: try once more, then leave it to the next run.
        for _ in 0..2 {
            match self.settle(&repository, manifest).await {
                Ok(given_up) => {
                    published.given_up = published.given_up.saturating_add(given_up);
                }
                // Without a base, the commit would start another history.
                Err(error) if repository.head().await.is_none() => return Err(error),
                Err(MirrorError::Git(error)) => {
                    repository.clean().await?;
                    published.problem = Some(error);
                }
                Err(error) => return Err(error),
            }
            let applied = flux::is_known(manifest).then(|| staged.applied());
            flux::refuse(self, applied, repository.folder())?;
            if normal(&self.path) != normal(BUTLERS)
                && repository
                    .is_mirrored_to(BUTLERS, &manifest.cluster)
                    .await?
            {
                let (from, to) = (BUTLERS, self.path.clone());
                return Err(MirrorError::Twice { from, to });
            }
            let (root, own) = (repository.root(), Arc::clone(manifest));
            let selection = selection.clone();
            // There are many small files.
            let work = spawn_blocking(move || {
                let written = write_files(&root, &own, &mut staged)?;
                let removed = removal::remove(&root, &own, &selection, &staged)?;
                Ok::<_, MirrorError>((staged, written, removed))
            });
            let worked = work.await.map_err(|e| MirrorError::note(e.into()))??;
            staged = worked.0;
            let (written, removed) = (worked.1, worked.2);
            let message = message(id, manifest, written, removed);
            if let Some(commit) = repository.commit(&message, at).await? {
                published.commit = Some(commit);
                published.written = written;
                published.removed = removed;
            }
            if published.problem.is_some() || repository.unpushed().await? == 0 {
                break;
            }
            match repository.push().await? {
                PushResult::Yes => {
                    published.problem = None;
                    break;
                }
                PushResult::No(error) => published.problem = Some(error),
            }
        }
        if published.commit.is_some() {
            // A rebase gives the commit another hash.
            published.commit = repository.head().await;
        }
        published.unpushed = repository.unpushed().await?;
        Ok(published)
    }

    /// Synchronizes with the remote; creates the work folder again if it is broken.
    async fn settle(
        &self,
        repository: &Repository<'_>,
        manifest: &Manifest,
    ) -> Result<u64, MirrorError> {
        let settled = repository.settle(manifest.ended).await;
        if settled.is_err() && repository.clean().await.is_err() {
            repository.recreate().await?;
            return repository.settle(manifest.ended).await;
        }
        settled
    }
}

/// Whether the run captured the component. A component that failed halfway is in no restore point.
fn is_taken(manifest: &Manifest, name: &ComponentName) -> bool {
    let component = manifest.component(name);
    component.is_some_and(|component| component.carried_from.is_none())
}

/// Writes the files that are missing or differ; returns their number.
fn write_files(
    root: &Path,
    manifest: &Manifest,
    staged: &mut StagedObjects,
) -> Result<u64, MirrorError> {
    let mut written: u64 = 0;
    let (crds, resources) = (
        is_taken(manifest, &ComponentName::crds()),
        is_taken(manifest, &ComponentName::resources()),
    );
    staged.each(|place, text| {
        if !(if place::is_definition(place) {
            crds
        } else {
            resources
        }) {
            return Ok(());
        }
        let path = root.join(place);
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            return Ok(());
        }
        let failed = |source| MirrorError::file("write", &path, source);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        std::fs::write(&path, text).map_err(failed)?;
        written = written.saturating_add(1);
        Ok(())
    })?;
    Ok(written)
}

fn message(id: &RestorePointId, manifest: &Manifest, written: u64, removed: u64) -> String {
    let reason = manifest.reason.as_deref().unwrap_or("none was given");
    let reason: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_REASON)
        .collect();
    format!(
        "Restore point {id}\n\nObjects written: {written}, removed: {removed}.\n\n\
         Restore-Point: {id}\nCluster: {}\nReason: {}\n",
        manifest.cluster,
        reason.trim()
    )
}
