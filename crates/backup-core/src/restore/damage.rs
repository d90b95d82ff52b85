//! What damaged packs take with them, and which older restore point has it whole.
//!
//! A pack that is missing or changed makes a component unreadable as a whole: it comes back bit for
//! bit or not at all. Here the rest of it is read all the same, so that a person learns which objects
//! were in the hole, and where else they are. Nothing of it is handed back.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, scratch_in};
use super::keys::{Unlocked, unlock};
use super::objects::Objects;
use super::open::open_packs;
use super::read::ObjectReader;
use super::recipes::read_recipes;
use super::window::Opening;
use crate::audit::{self, Expected};
use crate::catalog::{Catalog, RestorePoint, View, is_future};
use crate::crypt::Identities;
use crate::digest::Digest;
use crate::format::layout;
use crate::format::manifest::{Component, Severity};
use crate::format::recipe::Segment;
use crate::id::{ComponentName, RestorePointId};
use crate::progress::Progress;
use crate::store::{Key, Store, StoreError};

mod holes;
mod lost;
mod walk;

use holes::{holes, read_around, split};
pub use lost::Lost;
use lost::{objects_lost, parts_lost};

/// Packs that turn out to be damaged one after the other while the rest is read; each begins anew.
const ATTEMPTS: usize = 8;
/// Older restore points that are looked into: a quarter of a year of daily ones.
const OLDER: usize = 100;

/// What looks into damage needs.
#[derive(Debug)]
pub struct Assessor {
    /// Where everything is.
    pub store: Arc<dyn Store>,
    /// The restore point that could not be read.
    pub point: Arc<RestorePoint>,
    /// Which restore points may be taken instead.
    pub view: View,
    /// A folder with room for the largest component, used encrypted.
    pub scratch: std::path::PathBuf,
    /// Told how it goes.
    pub progress: Arc<dyn Progress>,
    /// Ends it early.
    pub cancel: CancellationToken,
}

/// What is wrong with a component, and where it is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The component.
    pub component: ComponentName,
    /// What cannot be used, and why.
    pub objects: BTreeMap<Key, String>,
    /// What is lost with it.
    pub lost: Lost,
    /// The newest older restore point that has the component without it.
    pub whole_in: Option<RestorePointId>,
}

/// The object that a failure is about, if it is about a damaged or missing one.
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

/// The same, or the failure itself if it is about something else.
fn told(error: RestoreError) -> Result<(Key, String), RestoreError> {
    match about(&error) {
        Some((key, why)) => Ok((key.clone(), why)),
        None => Err(error),
    }
}

impl Assessor {
    /// What the failure `error` of reading the restore point means for each component that needs the
    /// object that it is about; empty if it is about none. Without one, what is not there or not of
    /// its size is looked for alone.
    ///
    /// # Errors
    /// When the store fails otherwise, or no identity opens the restore point.
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

    fn assembly(&self, point: &RestorePoint, unlocked: Unlocked) -> Assembly {
        Assembly {
            objects: Objects {
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

    /// The objects of a component that are not there or not of their size.
    async fn look(&self, component: &Component) -> Result<BTreeMap<Key, String>, RestoreError> {
        let needed: Vec<Expected> = needs(component).collect();
        let mut looks = Vec::with_capacity(needed.len());
        for expected in &needed {
            looks.push(audit::look_at(self.store.as_ref(), expected));
        }
        let looked: Vec<_> = futures::stream::iter(looks)
            .buffered(audit::LOOKS)
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

    /// What `broken` takes from a component; `None` if its recipe does not want it.
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
                    broken.extend([told(error)?]);
                    None
                }
            }
        };
        let Some(segments) = segments else {
            let whole = self.whole(component, &broken, identities).await?;
            return Ok(Some(Damage {
                component: component.name.clone(),
                objects: broken,
                lost: Lost::Everything,
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

    /// The names of the objects of an archive that can be read around what is broken.
    async fn names(
        &self,
        component: &Component,
        segments: &[Segment],
        broken: &mut BTreeMap<Key, String>,
        assembly: &Assembly,
    ) -> Result<walk::Walked, RestoreError> {
        for _ in 0..ATTEMPTS {
            // Each position of a scratch file is written once.
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
                    broken.extend([told(error)?]);
                }
            }
        }
        Ok(walk::Walked::default())
    }

    /// The newest older restore point whose component of that name can be read without `broken`, and
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
            // One that cannot be read is no way out.
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

    /// The names in the component of an older restore point, if nothing of it is broken.
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

/// What a component is made of.
fn needs(component: &Component) -> impl Iterator<Item = Expected> {
    let packs = component.packs.iter();
    let packs = packs.map(|p| (layout::pack(p.sha256), p.sha256, p.bytes));
    let recipes = component.recipes.iter();
    let recipes = recipes.map(|r| (layout::recipe(r.sha256), r.sha256, r.bytes));
    let all = packs.chain(recipes);
    all.map(|(key, digest, bytes): (Key, Digest, u64)| Expected { key, digest, bytes })
}
