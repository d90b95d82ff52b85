//! Assessment of damaged packs: the objects lost with them, and the older restore point that has them whole.
//!
//! A missing or changed pack makes the whole component unreadable, because a component comes back bit for bit
//! or not at all. The assessment still reads the rest of it, to report which objects were in the damaged
//! packs and where else they are. It returns none of the data.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::archive::ObjectReader;
use super::assemble::opener::open_packs;
use super::assemble::reader::Opening;
use super::assemble::{Assembly, scratch_in};
use super::keys::{PointKeys, unlock};
use super::objects::PointObjects;
use super::recipes::read_recipes;
use crate::audit::{self, NeededObject};
use crate::catalog::{Catalog, ReadPolicy, RestorePoint, is_future};
use crate::crypt::Identities;
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::{Component, Severity};
use crate::format::recipe::Segment;
use crate::id::{ComponentName, RestorePointId};
use crate::progress::Progress;
use crate::store::{Key, Store, StoreError};

mod holes;
mod loss;
mod walk;

use holes::{holes, read_around, split};
pub use loss::DataLoss;
use loss::{objects_lost, parts_lost};

/// Attempts to read the rest of a component; each pack that turns out to be damaged starts a new attempt.
const ATTEMPTS: usize = 8;
/// Older restore points that are read: a quarter of a year of daily ones.
const OLDER: usize = 100;

/// Inputs of a damage assessment.
#[derive(Debug)]
pub struct Assessor {
    /// Store of the restore points.
    pub store: Arc<dyn Store>,
    /// Restore point that could not be read.
    pub point: Arc<RestorePoint>,
    /// Restore points that count as a replacement.
    pub view: ReadPolicy,
    /// Folder with room for the largest component; the files in it are encrypted.
    pub scratch: std::path::PathBuf,
    /// Receiver of progress reports.
    pub progress: Arc<dyn Progress>,
    /// Token that ends the assessment early.
    pub cancel: CancellationToken,
}

/// Damage of a component, and the restore point that has it whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The component.
    pub component: ComponentName,
    /// Objects that cannot be used, each with the cause.
    pub objects: BTreeMap<Key, String>,
    /// Data that is lost with these objects.
    pub lost: DataLoss,
    /// Newest older restore point that has the component without this damage.
    pub whole_in: Option<RestorePointId>,
}

/// Returns the object that a failure is about, with the cause, if the object is damaged or missing.
fn about(error: &RestoreError) -> Option<(&Key, String)> {
    match error {
        RestoreError::Changed { key } => Some((key, "it was changed or damaged".to_owned())),
        RestoreError::Pack { key, source } => Some((key, source.to_string())),
        RestoreError::Format { key, source } => Some((key, source.to_string())),
        RestoreError::Store {
            key,
            source: StoreError::NotFound { .. },
            ..
        } => Some((key, "it is not in the store".to_owned())),
        RestoreError::Store {
            key,
            source: StoreError::Archived { archived, .. },
            ..
        } => Some((
            key,
            format!(
                "it is archived ({}) and cannot be read: {}",
                archived.class, archived.remedy
            ),
        )),
        _ => None,
    }
}

/// Does the same as `about`, but returns the failure itself if it is about something else.
fn key_and_cause(error: RestoreError) -> Result<(Key, String), RestoreError> {
    match about(&error) {
        Some((key, why)) => Ok((key.clone(), why)),
        None => Err(error),
    }
}

impl Assessor {
    /// Assesses the failure `error` of reading the restore point, for each component that needs the object in
    /// it; the result is empty if the failure is not about an object. Without a failure, only missing objects
    /// and objects of another size are found.
    ///
    /// # Errors
    /// If the store fails for another reason, or no identity opens the restore point.
    pub async fn assess(
        &self,
        error: Option<&RestoreError>,
        identities: &Identities,
    ) -> Result<Vec<Damage>, RestoreError> {
        let known = error.map(about);
        if known.as_ref().is_some_and(Option::is_none) {
            return Ok(Vec::new());
        }
        let known = known.flatten();
        let unlocked = unlock(&self.store, &self.point, identities).await?;
        let assembly = self.assembly(&self.point, unlocked);
        let mut damages = Vec::new();
        for component in &self.point.manifest.components {
            let mut broken = self.look(component).await?;
            if let Some((key, why)) = &known
                && needs(component).any(|needed| needed.key == **key)
            {
                broken.insert((*key).clone(), why.clone());
            }
            if !broken.is_empty() {
                damages.extend(self.of(component, broken, &assembly, identities).await?);
            }
        }
        Ok(damages)
    }

    fn assembly(&self, point: &RestorePoint, unlocked: PointKeys) -> Assembly {
        Assembly {
            objects: PointObjects {
                store: Arc::clone(&self.store),
                id: point.entry.id.clone(),
                folder: None,
            },
            unlocked: Arc::new(unlocked),
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
            file: None,
        }
    }

    /// Returns the objects of a component that are missing or have another size.
    async fn look(&self, component: &Component) -> Result<BTreeMap<Key, String>, RestoreError> {
        let needed: Vec<NeededObject> = needs(component).collect();
        let mut looks = Vec::with_capacity(needed.len());
        for expected in &needed {
            looks.push(audit::look_at(self.store.as_ref(), expected));
        }
        let looked: Vec<_> = futures::stream::iter(looks)
            .buffered(audit::MAX_PARALLEL)
            .try_collect()
            .await
            .map_err(|(key, source)| RestoreError::Store {
                id: self.point.entry.id.clone(),
                key,
                source,
            })?;
        let broken = needed
            .into_iter()
            .zip(looked)
            .filter_map(|(object, found)| {
                let finding = found.filter(|finding| finding.severity == Severity::Error)?;
                Some((object.key, finding.cause))
            });
        Ok(broken.collect())
    }

    /// Returns the damage that `broken` does to a component; `None` if its recipe needs none of these
    /// objects.
    async fn of(
        &self,
        component: &Component,
        mut broken: BTreeMap<Key, String>,
        assembly: &Assembly,
        identities: &Identities,
    ) -> Result<Option<Damage>, RestoreError> {
        let recipes = component.recipes.iter();
        let mut recipes = recipes.map(|recipe| layout::recipe(recipe.sha256));
        let segments = if recipes.any(|key| broken.contains_key(&key)) {
            None
        } else {
            match read_recipes(assembly, component).await {
                Ok(segments) => Some(segments),
                Err(error) => {
                    broken.extend([key_and_cause(error)?]);
                    None
                }
            }
        };
        let Some(segments) = segments else {
            let whole = self.whole(component, &broken, identities).await?;
            return Ok(Some(Damage {
                component: component.name.clone(),
                objects: broken,
                lost: DataLoss::Everything,
                whole_in: whole.map(|(point, _)| point.entry.id),
            }));
        };
        let read = if component.archive.is_some() {
            Some(
                self.names(component, &segments, &mut broken, assembly)
                    .await?,
            )
        } else {
            None
        };
        let holes = holes(component, &segments, &broken, &self.cancel);
        if self.cancel.is_cancelled() {
            return Err(RestoreError::Cancelled);
        }
        if holes.is_empty() {
            return Ok(None);
        }
        let found = self.whole(component, &broken, identities).await?;
        let lost = match read {
            Some(read) => {
                let known = found.as_ref().map(|(_, names)| names);
                objects_lost(component, read, known)
            }
            None => parts_lost(component, &segments, &holes),
        };
        Ok(Some(Damage {
            component: component.name.clone(),
            objects: broken,
            lost,
            whole_in: found.map(|(point, _)| point.entry.id),
        }))
    }

    /// Returns the names of an archive's objects that can be read around the broken packs.
    async fn names(
        &self,
        component: &Component,
        segments: &[Segment],
        broken: &mut BTreeMap<Key, String>,
        assembly: &Assembly,
    ) -> Result<walk::ArchiveEntries, RestoreError> {
        for _ in 0..ATTEMPTS {
            // Each position of a scratch file is written only once.
            let scratch = Arc::new(scratch_in(&self.scratch, component)?);
            let (_, sound) = split(component, segments, broken, &self.cancel);
            let first = |number| Opening {
                number,
                first: true,
                stays: false,
            };
            let all = (0..sound.len()).map(first).collect();
            match open_packs(assembly, &Arc::new(sound), all, &scratch, None).await {
                Ok(()) => {
                    let holes = holes(component, segments, broken, &self.cancel);
                    return read_around(component, holes, scratch, &self.cancel).await;
                }
                Err(error) => {
                    broken.extend([key_and_cause(error)?]);
                }
            }
        }
        Ok(walk::ArchiveEntries::default())
    }

    /// Returns the newest older restore point whose component of that name can be read without `broken`, and
    /// the names of its objects.
    async fn whole(
        &self,
        component: &Component,
        broken: &BTreeMap<Key, String>,
        identities: &Identities,
    ) -> Result<Option<(RestorePoint, BTreeSet<String>)>, RestoreError> {
        let catalog = Catalog::new(Arc::clone(&self.store));
        let Ok(mut entries) = catalog.list().await else {
            return Ok(None);
        };
        let now = catalog.time(&entries, self.view.now).await;
        entries.retain(|entry| entry.id < self.point.entry.id && !is_future(&entry.id, now));
        let mut looked = 0_usize;
        for entry in entries.iter().rev() {
            if looked >= OLDER {
                break;
            }
            if self.cancel.is_cancelled() {
                return Err(RestoreError::Cancelled);
            }
            // A restore point that cannot be read is not a replacement.
            let Ok(point) = catalog.trusted(entry, &self.view.trust).await else {
                continue;
            };
            looked = looked.saturating_add(1);
            if let Some(names) = self.reads(&point, component, broken, identities).await {
                return Ok(Some((point, names)));
            }
        }
        Ok(None)
    }

    /// Returns the names in the component of an older restore point, if none of its objects is broken.
    async fn reads(
        &self,
        point: &RestorePoint,
        component: &Component,
        broken: &BTreeMap<Key, String>,
        identities: &Identities,
    ) -> Option<BTreeSet<String>> {
        let older = point.manifest.component(&component.name)?;
        if !self.look(older).await.ok()?.is_empty() {
            return None;
        }
        let unlocked = unlock(&self.store, point, identities).await.ok()?;
        if unlocked.closed(older).is_some() {
            return None;
        }
        let assembly = self.assembly(point, unlocked);
        let segments = read_recipes(&assembly, older).await.ok()?;
        if !holes(older, &segments, broken, &self.cancel).is_empty() {
            return None;
        }
        if older.archive.is_none() {
            return Some(BTreeSet::new());
        }
        let reader = ObjectReader {
            store: Arc::clone(&self.store),
            point: Arc::new(point.clone()),
            unlocked: assembly.unlocked,
            scratch: self.scratch.clone(),
            progress: Arc::clone(&self.progress),
            cancel: self.cancel.clone(),
        };
        let names = reader.fold(&older.name, BTreeSet::new(), |names, object| {
            names.insert(object.path.to_string());
            ControlFlow::Continue(())
        });
        names.await.ok()
    }
}

/// Returns the objects that a component consists of.
fn needs(component: &Component) -> impl Iterator<Item = NeededObject> {
    let packs = component.packs.iter();
    let packs = packs.map(|p| (layout::pack(p.sha256), p.sha256, p.bytes));
    let recipes = component.recipes.iter();
    let recipes = recipes.map(|r| (layout::recipe(r.sha256), r.sha256, r.bytes));
    let all = packs.chain(recipes);
    all.map(|(key, digest, bytes): (Key, Digest, u64)| NeededObject { key, digest, bytes })
}
