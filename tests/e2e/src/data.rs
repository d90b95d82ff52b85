//! Realistic data of a Kubernetes control plane in a real etcd, and the changes of a day.
//!
//! Time is simulated: a day of churn takes as long as etcd needs for its writes.

mod churn;
mod kinds;
mod object;
pub mod objects;
mod proto;
pub mod secretbox;
mod text;

use std::collections::VecDeque;

use anyhow::{Context, Result};
use rand::SeedableRng;
use rand::rngs::StdRng;

pub use self::churn::Churn;
use self::kinds::Kind;
use self::object::Object;
use crate::etcd::{EtcdClient, MAX_TXN_OPS, put, rpc};

/// Start of simulated time, 2026-09-01T00:00:00Z, so that the same seed gives the same bytes.
const EPOCH: i64 = 1_788_220_800;

/// Largest transaction; etcd refuses requests above 1.5 MiB.
const MAX_TXN_BYTES: usize = 1024 * 1024;

/// Returns `length` random bytes, which cannot be compressed. The first byte is one that no Kubernetes object
/// begins with, so that no snapshot mistakes them for a torn object.
#[must_use]
pub fn random(length: usize) -> Vec<u8> {
    let rest = std::iter::repeat_with(rand::random::<u8>);
    std::iter::once(b'x').chain(rest).take(length).collect()
}

/// Size of a cluster, and the seed of everything random in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of objects besides nodes, leases and events. 60 000 make a database of about 290 MB.
    pub objects: usize,
    /// Number of nodes, each with a lease renewed every ten seconds.
    pub nodes: usize,
    /// Seed; the same seed gives the same data.
    pub seed: u64,
}

impl Shape {
    /// Returns a shape for a test: a thousand objects, about 4 MB, written within a second.
    #[must_use]
    pub fn small() -> Self {
        Self {
            objects: 1_000,
            nodes: 3,
            seed: 1,
        }
    }

    /// Returns a shape for a benchmark or a show: a control plane of 20 nodes, about 290 MB.
    #[must_use]
    pub fn large() -> Self {
        Self {
            objects: 60_000,
            nodes: 20,
            seed: 1,
        }
    }
}

/// Content of the etcd, so that churn knows what to change.
#[derive(Debug)]
pub struct Cluster {
    shape: Shape,
    random: StdRng,
    /// Simulated seconds since 1970.
    now: i64,
    objects: Vec<Object>,
    /// Leases of nodes and controllers; renewed all the time.
    leases: Vec<Object>,
    /// One etcd lease for each simulated minute with events, oldest first.
    events: VecDeque<churn::EventMinute>,
    /// Revisions at the last five-minute marks, oldest first.
    marks: VecDeque<i64>,
    /// Number for new objects, so that names never repeat.
    made: u64,
}

impl Cluster {
    /// Fills the etcd behind `client` with a cluster of this shape.
    ///
    /// # Errors
    /// etcd refused a write.
    pub async fn fill(client: &EtcdClient, shape: Shape) -> Result<Self> {
        let mut cluster = Self {
            shape,
            random: StdRng::seed_from_u64(shape.seed),
            now: EPOCH,
            objects: Vec::with_capacity(shape.objects),
            leases: Vec::new(),
            events: VecDeque::new(),
            marks: VecDeque::new(),
            made: 0,
        };
        let fixed = kinds::fixed(shape, &mut cluster.random);
        cluster.objects = kinds::mix(shape, &mut cluster.random);
        cluster.leases = kinds::leases(shape, &mut cluster.random);
        let all = fixed.iter().chain(&cluster.leases).chain(&cluster.objects);
        let now = cluster.now;
        write(client, all.map(|object| (object.key(), object.value(now)))).await?;
        cluster.made = u64::try_from(shape.objects).context("the number of objects")?;
        Ok(cluster)
    }

    /// Returns the UID of the namespace `kube-system`, which identifies the cluster.
    #[must_use]
    pub fn kube_system_uid(&self) -> String {
        kinds::kube_system_uid(self.shape)
    }

    /// Returns simulated time in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now
    }
}

/// Writes keys that are all different, many to a transaction; returns the last revision.
async fn write(
    client: &EtcdClient,
    entries: impl Iterator<Item = (String, Vec<u8>)>,
) -> Result<i64> {
    let mut revision = 0;
    let mut bytes = 0;
    let mut operations: Vec<rpc::RequestOp> = Vec::with_capacity(MAX_TXN_OPS);
    for (key, value) in entries {
        if operations.len() == MAX_TXN_OPS || bytes + value.len() > MAX_TXN_BYTES {
            revision = client.txn(std::mem::take(&mut operations)).await?;
            bytes = 0;
        }
        bytes += value.len();
        operations.push(put(&key, value, 0));
    }
    if !operations.is_empty() {
        revision = client.txn(operations).await?;
    }
    Ok(revision)
}
