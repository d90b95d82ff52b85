//! Component of a run whose bytes are stored.

use super::recorder::ComponentStats;
use crate::digest::Digest;
use crate::format::export::ArchiveFacts;
use crate::format::manifest::{EtcdFacts, StoredObject};
use crate::id::ComponentName;

/// Component whose bytes are stored.
pub(super) struct StoredComponent {
    pub(super) name: ComponentName,
    pub(super) media_type: String,
    pub(super) plain_bytes: u64,
    pub(super) plain_sha256: Digest,
    pub(super) seen: ComponentStats,
    pub(super) recipes: Vec<StoredObject>,
    pub(super) etcd: Option<EtcdFacts>,
    pub(super) archive: Option<ArchiveFacts>,
    pub(super) kube_system_uid: Option<String>,
}
