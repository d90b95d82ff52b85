//! Interface to the etcd behind a node of the stand-in.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::proto::machine::{EtcdMember, EtcdMemberAlarm, EtcdMemberStatus};

/// Bytes of a snapshot, in blobs of any size.
pub type BlobStream = Pin<Box<dyn Stream<Item = anyhow::Result<Bytes>> + Send>>;

/// One member of an etcd cluster, as its own node sees it.
#[tonic::async_trait]
pub trait Etcd: Send + Sync + 'static {
    /// Begins a snapshot, its trailer included.
    async fn snapshot(&self) -> anyhow::Result<BlobStream>;
    /// Returns the member's state.
    async fn status(&self) -> anyhow::Result<EtcdMemberStatus>;
    /// Returns the cluster's members.
    async fn members(&self) -> anyhow::Result<Vec<EtcdMember>>;
    /// Returns the cluster's alarms.
    async fn alarms(&self) -> anyhow::Result<Vec<EtcdMemberAlarm>>;
}

/// Etcd that always gives the same snapshot.
#[derive(Debug, Clone)]
pub struct FixedEtcd {
    /// Content of its snapshots.
    pub snapshot: Bytes,
    /// Status of its member.
    pub status: EtcdMemberStatus,
    /// Members of its cluster.
    pub members: Vec<EtcdMember>,
}

/// Size of the blobs in which etcd sends its snapshots.
const BLOB: usize = 32 << 10;

impl FixedEtcd {
    /// Reads the snapshot from a file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_file(
        path: &Path,
        status: EtcdMemberStatus,
        members: Vec<EtcdMember>,
    ) -> anyhow::Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("read the snapshot {}", path.display()))?;
        Ok(Self {
            snapshot: bytes.into(),
            status,
            members,
        })
    }

    /// Makes a cluster of `size` members, of which the first one leads; one etcd for each.
    ///
    /// Member `i` has the id `i + 1` and the address `10.5.0.(i + 2)`.
    #[must_use]
    pub fn cluster(size: u8, snapshot: &Bytes) -> Vec<Arc<dyn Etcd>> {
        let members: Vec<EtcdMember> = (0..size)
            .map(|i| EtcdMember {
                id: u64::from(i) + 1,
                hostname: format!("cp-{}", i + 1),
                peer_urls: vec![format!("https://10.5.0.{}:2380", i + 2)],
                client_urls: vec![format!("https://10.5.0.{}:2379", i + 2)],
                is_learner: false,
            })
            .collect();
        members
            .iter()
            .map(|member| {
                let size = i64::try_from(snapshot.len()).unwrap_or(i64::MAX);
                let etcd = Self {
                    snapshot: snapshot.clone(),
                    status: EtcdMemberStatus {
                        protocol_version: "3.6.16".to_owned(),
                        db_size: size,
                        db_size_in_use: size,
                        leader: 1,
                        raft_index: 5_000,
                        raft_term: 2,
                        raft_applied_index: 5_000,
                        member_id: member.id,
                        storage_version: "3.6.0".to_owned(),
                        ..EtcdMemberStatus::default()
                    },
                    members: members.clone(),
                };
                let etcd: Arc<dyn Etcd> = Arc::new(etcd);
                etcd
            })
            .collect()
    }
}

#[tonic::async_trait]
impl Etcd for FixedEtcd {
    async fn snapshot(&self) -> anyhow::Result<BlobStream> {
        let mut rest = self.snapshot.clone();
        let blobs = std::iter::from_fn(move || {
            let blob = rest.split_to(BLOB.min(rest.len()));
            (!blob.is_empty()).then_some(Ok(blob))
        });
        Ok(futures::stream::iter(blobs).boxed())
    }

    async fn status(&self) -> anyhow::Result<EtcdMemberStatus> {
        Ok(self.status.clone())
    }

    async fn members(&self) -> anyhow::Result<Vec<EtcdMember>> {
        Ok(self.members.clone())
    }

    async fn alarms(&self) -> anyhow::Result<Vec<EtcdMemberAlarm>> {
        Ok(Vec::new())
    }
}
