//! Cache as a keeper of objects: what it learns from the watches, and what it gives to the runs.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use super::pages::CachedPages;
use super::{
    CHANGED_ALWAYS, CHANGED_MEANWHILE, CHANGED_SHARE, CacheState, CachedObjects, MOST_OBJECTS,
    ObjectCache, ReportedChange, WatchCoverage, WatchedKind,
};
use crate::kube::kept_objects::{KeptPages, KeptStats, ListRecorder, ObjectKeeper};
use crate::kube::kind::Kind;
use crate::kube::request::Api;
use backup_core::archive::ResourceName;
use backup_core::num::to_u64;

#[async_trait]
impl ObjectKeeper for ObjectCache {
    fn clear(&self) {
        let mut state = self.lock();
        *state = CacheState {
            epochs: state.epochs,
            drifted: state.drifted,
            ..CacheState::default()
        };
    }

    fn stats(&self) -> KeptStats {
        let state = self.lock();
        KeptStats {
            objects: to_u64(state.objects()),
            bytes: state.file.as_ref().map_or(0, |file| file.end),
            drifted: state.drifted,
        }
    }

    fn watch_started(&self, kind: &Kind, place: &str) {
        let mut state = self.lock();
        // Extension APIs may not keep revisions in order, and may not report all changes.
        let Some(place) = place.parse().ok().filter(|_| !kind.aggregated) else {
            state.kinds.remove(&kind.resource);
            return;
        };
        let epoch = state.epoch();
        let watched = WatchedKind {
            epoch,
            version: kind.version.clone(),
            coverage: WatchCoverage::Interrupted,
            place,
            changes: BTreeMap::new(),
            objects: CachedObjects::Nothing("it was not read since its watch began".to_owned()),
        };
        state.kinds.insert(kind.resource.clone(), watched);
    }

    fn connected(&self, kind: &Kind, now: Option<&str>) {
        let mut state = self.lock();
        let Some(watched) = state.kinds.get_mut(&kind.resource) else {
            return;
        };
        match now.map(str::parse) {
            Some(Ok(now)) if now > watched.place => {
                watched.coverage = WatchCoverage::CompleteFrom(now);
            }
            Some(Ok(_)) => watched.coverage = WatchCoverage::Complete,
            // A watch that the server ended regularly continues as before.
            None if watched.coverage == WatchCoverage::Interrupted => {
                watched.coverage = WatchCoverage::Complete;
            }
            None | Some(Err(_)) => {}
        }
    }

    fn disconnected(&self, kind: &Kind) {
        if let Some(watched) = self.lock().kinds.get_mut(&kind.resource) {
            watched.coverage = WatchCoverage::Interrupted;
        }
    }

    fn watch_ended(&self, kind: &ResourceName) {
        self.lock().kinds.remove(kind);
    }

    fn report(&self, kind: &Kind, revision: &str, object: Option<(String, bool)>) {
        let mut state = self.lock();
        let objects = state.objects();
        let Some(watched) = state.kinds.get_mut(&kind.resource) else {
            return;
        };
        let Ok(revision) = revision.parse::<u64>() else {
            state.forget(&kind.resource, "its revisions are not numbers");
            return;
        };
        watched.place = watched.place.max(revision);
        if matches!(watched.coverage, WatchCoverage::CompleteFrom(place) if place <= revision) {
            watched.coverage = WatchCoverage::Complete;
        }
        let Some((name, gone)) = object else {
            return;
        };
        let most = match &watched.objects {
            CachedObjects::Nothing(_) => return,
            CachedObjects::Listing => CHANGED_MEANWHILE,
            CachedObjects::All(table) => {
                let known = table.find(&name);
                if known
                    .is_some_and(|slot| !(ReportedChange { revision, gone }).is_newer_than(slot))
                {
                    return;
                }
                // A full table accepts no new objects.
                (table.len() / CHANGED_SHARE + CHANGED_ALWAYS)
                    .min(MOST_OBJECTS.saturating_sub(objects))
            }
        };
        watched
            .changes
            .insert(name.into(), ReportedChange { revision, gone });
        if watched.changes.len() > most {
            state.forget(
                &kind.resource,
                "so much of it changed that a list costs less",
            );
        }
    }

    fn definition_changed(&self, definition: &str) {
        let kind = ResourceName::from(definition);
        self.lock().forget(&kind, "its definition changed");
    }

    async fn run_started(self: Arc<Self>, uid: &str, version: &str) {
        self.set_origin(uid, version);
        self.compact().await;
    }

    async fn pages(self: Arc<Self>, api: &Api, kind: &Kind) -> Result<Box<dyn KeptPages>, String> {
        let snapshot = self.current(api, kind).await?;
        Ok(Box::new(CachedPages::new(snapshot)))
    }

    fn recorder(self: Arc<Self>, kind: &Kind) -> Option<Box<dyn ListRecorder>> {
        Some(Box::new(self.record(kind)?))
    }

    fn unreadable(&self, kind: &ResourceName, error: &io::Error) {
        tracing::warn!(%kind, %error, "what is kept cannot be read back");
        self.forget(kind, "the scratch file could not be read");
    }
}
