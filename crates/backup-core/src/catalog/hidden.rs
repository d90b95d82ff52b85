//! Restore points that no listing of manifests shows, but that a signature or the copy of a restore's journal
//! names. A store that cuts its listings short hides the newest.

use std::collections::{BTreeMap, HashSet};

use futures::TryStreamExt as _;
use serde::Deserialize;

use super::{Catalog, CatalogEntry, CatalogError, MAX_SIGNATURE, about_object, all_objects};
use crate::digest::Digest;
use crate::format::layout::{self, ObjectKind};
use crate::format::manifest::Parent;
use crate::id::RestorePointId;
use crate::store::{Key, StoreError};

/// Objects of a kind that are read, since each costs a round trip. Runs that died leave few.
const READ: usize = 32;
/// Largest head of a journal.
const HEAD: u64 = 16 << 10;
/// Start of a signature's signed comment, before the id of the restore point.
const COMMENT: &str = "trusted comment: butler-backup restore point ";

/// Restore point that is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenPoint {
    /// Id of the restore point.
    pub id: RestorePointId,
    /// Key of its manifest.
    pub manifest: Key,
    /// Key of the object that names it.
    pub named_by: Key,
    /// Whether its manifest exists; then the listing is wrong.
    pub there: bool,
}

impl HiddenPoint {
    /// Returns one sentence that describes the restore point.
    #[must_use]
    pub fn describe(&self) -> String {
        let Self { id, named_by, .. } = self;
        if self.there {
            format!(
                "restore point {id} exists but is not listed: {named_by} names it; the store cuts its \
                 listings short"
            )
        } else {
            format!(
                "restore point {id}, which {named_by} names, is not there: its run died before its end, or \
                 somebody deleted it"
            )
        }
    }
}

/// Part of a journal's head that is read here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JournalHead {
    restore_point: Parent,
}

impl Catalog {
    /// Returns restore points that are named in the store and are not among `listed`, oldest first. Those
    /// without a manifest are returned only if they are later than `newest`, the newest that counts.
    ///
    /// # Errors
    /// If the store cannot be listed or read.
    pub async fn hidden(
        &self,
        listed: &[CatalogEntry],
        newest: Option<&RestorePointId>,
    ) -> Result<Vec<HiddenPoint>, CatalogError> {
        let known: HashSet<Digest> = listed.iter().map(|entry| entry.digest).collect();
        let mut named: BTreeMap<RestorePointId, (Digest, Key)> = BTreeMap::new();
        for (id, digest, by) in self.by_signatures(&known).await? {
            named.insert(id, (digest, by));
        }
        for (id, digest, by) in self.by_journals(&known).await? {
            named.entry(id).or_insert((digest, by));
        }
        if named.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (id, (digest, named_by)) in named {
            let Some(began) = id.began().filter(|_| id.names(digest)) else {
                continue;
            };
            let manifest = layout::manifest(began, digest);
            let there = match self.store.head(&manifest).await {
                Ok(_) => true,
                Err(StoreError::NotFound { .. }) => false,
                Err(e) => return Err(self.failed(e)),
            };
            if there || newest.is_none_or(|newest| id > *newest) {
                found.push(HiddenPoint {
                    id,
                    manifest,
                    named_by,
                    there,
                });
            }
        }
        if !found.is_empty() {
            // A run may have committed meanwhile.
            let now: HashSet<Key> = self.list().await?.into_iter().map(|e| e.key).collect();
            found.retain(|hidden| !now.contains(&hidden.manifest));
        }
        Ok(found)
    }

    /// Returns the restore points named by signatures whose manifest is not listed.
    async fn by_signatures(
        &self,
        known: &HashSet<Digest>,
    ) -> Result<Vec<(RestorePointId, Digest, Key)>, CatalogError> {
        let pages = super::list_pages(self.store.as_ref(), layout::SIGNATURES);
        let mut pages = std::pin::pin!(pages);
        let mut alone = Vec::new();
        while let Some(page) = pages.try_next().await.map_err(|e| self.failed(e))? {
            for object in page.objects {
                if let Some(ObjectKind::Signature { manifest, .. }) = ObjectKind::of(&object.key)
                    && !known.contains(&manifest)
                    && object.size <= MAX_SIGNATURE
                {
                    alone.push((object.modified, manifest, object.key));
                }
            }
        }
        // Takes those that were put last, if the store records it.
        alone.sort();
        let mut found = Vec::new();
        for (_, digest, key) in alone.into_iter().rev().take(READ) {
            let text = match self.store.get(&key).await {
                Ok(text) => text,
                Err(e) if about_object(&e) => continue,
                Err(e) => return Err(self.failed(e)),
            };
            let text = String::from_utf8_lossy(&text).into_owned();
            let id = text.lines().find_map(|line| line.strip_prefix(COMMENT));
            let id = id.and_then(|rest| rest.split(' ').next()?.parse().ok());
            found.extend(id.map(|id| (id, digest, key)));
        }
        Ok(found)
    }

    /// Returns the restore points named by the copies of restores' journals.
    async fn by_journals(
        &self,
        known: &HashSet<Digest>,
    ) -> Result<Vec<(RestorePointId, Digest, Key)>, CatalogError> {
        let objects = all_objects(self.store.as_ref(), layout::JOURNALS).await;
        let mut smallest: BTreeMap<String, (u64, Key)> = BTreeMap::new();
        for object in objects.map_err(|e| self.failed(e))? {
            let Some(ObjectKind::Journal { restore, .. }) = ObjectKind::of(&object.key) else {
                continue;
            };
            let held = smallest.get(&restore);
            if held.is_none_or(|(least, _)| object.size < *least) {
                smallest.insert(restore, (object.size, object.key));
            }
        }
        let mut found = Vec::new();
        // Names of journals begin with their time.
        for (_, key) in smallest.into_values().rev().take(READ) {
            let bytes = match self.store.get_range(&key, 0..HEAD).await {
                Ok(bytes) => bytes,
                Err(e) if about_object(&e) => continue,
                Err(e) => return Err(self.failed(e)),
            };
            let head = bytes.split(|byte| *byte == b'\n').next();
            let head = head.and_then(|head| serde_json::from_slice::<JournalHead>(head).ok());
            let point = head.map(|head| head.restore_point);
            let point = point.filter(|point| !known.contains(&point.manifest));
            found.extend(point.map(|point| (point.id, point.manifest, key)));
        }
        Ok(found)
    }
}
