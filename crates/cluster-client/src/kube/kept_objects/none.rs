//! Keeper that keeps nothing.

use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use super::{KeptPages, KeptStats, ListRecorder, ObjectKeeper};
use crate::kube::kind::Kind;
use crate::kube::request::Api;
use backup_core::archive::ResourceName;

/// Keeper that keeps nothing, so that every run lists everything.
#[derive(Debug)]
pub(super) struct NoObjects;

#[async_trait]
impl ObjectKeeper for NoObjects {
    fn clear(&self) {}

    fn stats(&self) -> KeptStats {
        KeptStats::default()
    }

    fn watch_started(&self, _: &Kind, _: &str) {}

    fn connected(&self, _: &Kind, _: Option<&str>) {}

    fn disconnected(&self, _: &Kind) {}

    fn watch_ended(&self, _: &ResourceName) {}

    fn report(&self, _: &Kind, _: &str, _: Option<(String, bool)>) {}

    fn definition_changed(&self, _: &str) {}

    async fn run_started(self: Arc<Self>, _: &str, _: &str) {}

    async fn pages(self: Arc<Self>, _: &Api, _: &Kind) -> Result<Box<dyn KeptPages>, String> {
        Err("no objects are kept".to_owned())
    }

    fn recorder(self: Arc<Self>, _: &Kind) -> Option<Box<dyn ListRecorder>> {
        None
    }

    fn unreadable(&self, _: &ResourceName, _: &io::Error) {}
}
