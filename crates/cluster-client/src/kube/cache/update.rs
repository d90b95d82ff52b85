//! Update of a kind's kept objects from its watch's reports: changed objects are read one by one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{CachedObjects, ObjectCache, ReportedChange, Slot, Table};
use crate::kube::failure::KubeError;
use crate::kube::kind::Kind;
use crate::kube::object::Object;
use crate::kube::request::Api;
use crate::kube::target::place::place;
use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::num::to_u64;
use backup_core::scratch::Scratch;

/// Objects that are read at the same time. Each is held in memory, and is below 3 MiB.
const AT_ONCE: usize = 8;
/// Time limit for all of them. A list of all objects takes seconds: if single objects take this long, a
/// list is not slower.
const WITHIN: Duration = Duration::from_secs(60);
/// Largest object; the server accepts requests of up to 3 MiB.
const MAX_OBJECT: usize = 16 << 20;

/// All objects of a kind, as its watch has reported them.
pub(super) struct CacheSnapshot {
    pub(super) table: Arc<Table>,
    /// Scratch file; `None` if there are no objects.
    pub(super) scratch: Option<Arc<Scratch>>,
    /// Revision up to which the watch had reported.
    pub(super) place: u64,
    /// Number of objects that were read again.
    pub(super) fetched: u64,
    /// Number of objects that were deleted.
    pub(super) gone: u64,
}

/// Update in progress. If it is dropped before its end, the reported changes are outstanding again.
struct CacheUpdate<'k> {
    cache: &'k ObjectCache,
    kind: ResourceName,
    epoch: u64,
    table: Arc<Table>,
    place: u64,
    changes: BTreeMap<Box<str>, ReportedChange>,
}

impl ObjectCache {
    /// Returns all objects of `kind` without a list, or the reason why a list is needed.
    pub(super) async fn current(
        self: &Arc<Self>,
        api: &Api,
        kind: &Kind,
    ) -> Result<CacheSnapshot, String> {
        let update = self.begin(kind)?;
        let changed = tokio::time::timeout(WITHIN, self.read(api, kind, &update)).await;
        let changed = changed.unwrap_or_else(|_| {
            let seconds = WITHIN.as_secs();
            Err(format!(
                "its changed objects could not be read within {seconds} s"
            ))
        })?;
        update.finish(&changed)
    }

    fn begin(&self, kind: &Kind) -> Result<CacheUpdate<'_>, String> {
        let mut state = self.lock();
        if let Some(mistrust_reason) = Self::mistrust_reason(&state, kind) {
            return Err(mistrust_reason.to_owned());
        }
        let watched = state.kinds.get_mut(&kind.resource);
        let watched = watched.ok_or("there is no watch on it now")?;
        let table = match &watched.objects {
            CachedObjects::All(table) => Arc::clone(table),
            CachedObjects::Listing => return Err("it is being listed".to_owned()),
            CachedObjects::Nothing(why) => return Err(why.clone()),
        };
        Ok(CacheUpdate {
            cache: self,
            kind: kind.resource.clone(),
            epoch: watched.epoch,
            table,
            place: watched.place,
            changes: std::mem::take(&mut watched.changes),
        })
    }

    /// Reads the objects that were reported as changed; `None` for those that no longer exist.
    async fn read(
        self: &Arc<Self>,
        api: &Api,
        kind: &Kind,
        update: &CacheUpdate<'_>,
    ) -> Result<BTreeMap<Box<str>, Option<Slot>>, String> {
        let news = update.changes.iter().filter(|(name, change)| {
            let known = update.table.find(name);
            known.is_none_or(|slot| change.is_newer_than(slot))
        });
        let reads = news.map(|(name, change)| async move {
            let read = if change.gone {
                None
            } else {
                self.one(api, kind, name, change.revision).await?
            };
            Ok::<_, String>((name.clone(), read))
        });
        // Boxed one by one: the compiler cannot prove that a stream of borrows is `Send`.
        let reads: Vec<_> = reads.map(futures::FutureExt::boxed).collect();
        stream::iter(reads)
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn one(
        self: &Arc<Self>,
        api: &Api,
        kind: &Kind,
        name: &str,
        reported: u64,
    ) -> Result<Option<Slot>, String> {
        let (namespace, own) = match name.split_once('/') {
            Some((namespace, own)) => (Some(namespace.to_owned()), own),
            None => (None, name),
        };
        let path = ObjectPath {
            resource: kind.resource.clone(),
            namespace,
            name: own.to_owned(),
        };
        let bytes = match api.bytes(&place(kind, &path, ""), MAX_OBJECT).await {
            Ok(bytes) => bytes,
            Err(e) if is_gone(&e, own) => return Ok(None),
            Err(e) => return Err(e.line()),
        };
        let object = Object::read_alone(kind, &bytes).map_err(|e| e.line())?;
        let revision = object.meta.resource_version.parse().unwrap_or(0);
        if object.path != path || revision < reported {
            return Err("an object was read in an older state than its watch reported".to_owned());
        }
        let slot = Slot {
            revision,
            at: 0,
            length: u32::try_from(object.json.len()).unwrap_or(u32::MAX),
            sum: crc32fast::hash(&object.json),
        };
        let written = self.put(vec![object.json]).await;
        let written = written.map_err(|e| format!("its objects cannot be kept: {e}"))?;
        let at = written.first().copied().unwrap_or_default();
        Ok(Some(Slot { at, ..slot }))
    }
}

/// Reports whether the object does not exist, rather than the kind.
fn is_gone(error: &KubeError, name: &str) -> bool {
    match error {
        KubeError::Status { message, .. } => {
            error.is_not_found() && message.ends_with(&format!("\"{name}\" not found"))
        }
        _ => false,
    }
}

impl CacheUpdate<'_> {
    fn finish(
        mut self,
        changed: &BTreeMap<Box<str>, Option<Slot>>,
    ) -> Result<CacheSnapshot, String> {
        let gone = changed.values().filter(|slot| slot.is_none()).count();
        let fetched = changed.len().saturating_sub(gone);
        let table = if changed.is_empty() {
            Arc::clone(&self.table)
        } else {
            let table = self.table.changed(changed);
            Arc::new(table.ok_or("there is no more room for its objects")?)
        };
        self.changes.clear();
        let mut state = self.cache.lock();
        let Some(watched) = state.in_epoch(&self.kind, self.epoch) else {
            return Err("it changed as a whole while it was read".to_owned());
        };
        watched.objects = CachedObjects::All(Arc::clone(&table));
        let scratch = state.file.as_ref().map(|file| Arc::clone(&file.scratch));
        drop(state);
        Ok(CacheSnapshot {
            table,
            scratch,
            place: self.place,
            fetched: to_u64(fetched),
            gone: to_u64(gone),
        })
    }
}

impl Drop for CacheUpdate<'_> {
    fn drop(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        if changes.is_empty() {
            return;
        }
        let mut state = self.cache.lock();
        if let Some(watched) = state.in_epoch(&self.kind, self.epoch) {
            for (name, change) in changes {
                watched.changes.entry(name).or_insert(change);
            }
        }
    }
}

impl std::fmt::Debug for CacheUpdate<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheUpdate({})", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_that_is_named_is_gone() {
        let error = |message: &str, status| KubeError::Status {
            path: String::new(),
            status,
            message: message.to_owned(),
            retry_after: None,
        };
        let not_found = http::StatusCode::NOT_FOUND;
        let gone = "teams.butler.butlerlabs.dev \"payments\" not found";
        assert!(is_gone(&error(gone, not_found), "payments"));
        assert!(!is_gone(&error(gone, not_found), "others"));
        assert!(!is_gone(
            &error("404 page not found", not_found),
            "payments"
        ));
        assert!(!is_gone(
            &error(gone, http::StatusCode::BAD_GATEWAY),
            "payments"
        ));
    }
}
