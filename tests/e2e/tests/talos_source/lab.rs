//! Parts that the tests share: a cluster of three, its talosconfig, and a function that takes a snapshot.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use backup_core::clock::SystemClock;
use backup_core::source::{ByteStream, Candidate, SnapshotSource as _, SourceError};
use bytes::Bytes;
use cluster_client::talos::{ConfigSearch, TalosOptions, TalosSource};
use e2e::talos::{ClientSpec, FixedEtcd, NodeSpec, Standin};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

/// Returns a file as etcd streams it: pages, of which the first has bbolt's magic number, and a trailer.
pub(crate) fn snapshot(pages: usize) -> Bytes {
    let mut state = 1_u32;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(pages * 4096)
    .collect();
    bytes[16..20].copy_from_slice(&[0xed, 0xda, 0x0c, 0xed]);
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    bytes.into()
}

/// Running cluster of the stand-in and the bytes that it serves.
pub(crate) struct Lab {
    pub(crate) cluster: Standin,
    pub(crate) snapshot: Bytes,
    folder: tempfile::TempDir,
}

/// Addresses of the three nodes; the first one leads.
pub(crate) const NODES: [&str; 3] = ["10.5.0.2", "10.5.0.3", "10.5.0.4"];

/// Returns three control plane nodes, changed by `change` before they start.
pub(crate) fn specs(snapshot: &Bytes, change: impl Fn(&mut NodeSpec)) -> Vec<NodeSpec> {
    FixedEtcd::cluster(3, snapshot)
        .into_iter()
        .zip(NODES)
        .enumerate()
        .map(|(i, (etcd, address))| {
            let mut spec = NodeSpec::control_plane(address, &format!("cp-{}", i + 1), etcd);
            change(&mut spec);
            spec
        })
        .collect()
}

impl Lab {
    /// Starts three nodes with a snapshot of a bit more than a megabyte.
    pub(crate) async fn start() -> Self {
        Self::start_changed(|_| {}).await
    }

    pub(crate) async fn start_changed(change: impl Fn(&mut NodeSpec)) -> Self {
        let snapshot = snapshot(300);
        Self::of(specs(&snapshot, change), snapshot).await
    }

    pub(crate) async fn of(specs: Vec<NodeSpec>, snapshot: Bytes) -> Self {
        Self {
            cluster: Standin::start(specs).await.unwrap(),
            snapshot,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes `text` to the path that the source of `options` reads.
    pub(crate) fn write(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("talosconfig");
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Returns options with short times, signing in with `role`.
    pub(crate) fn options(&self, role: &str) -> TalosOptions {
        let text = self.cluster.talosconfig(&ClientSpec::of(&[role])).unwrap();
        self.options_of(&text)
    }

    pub(crate) fn options_of(&self, talosconfig: &str) -> TalosOptions {
        TalosOptions {
            call_timeout: Duration::from_secs(2),
            idle_timeout: Duration::from_secs(2),
            ..TalosOptions::new(ConfigSearch::at(self.write(talosconfig)))
        }
    }

    pub(crate) fn source(&self) -> TalosSource {
        source(self.options("os:operator"))
    }

    /// Returns a candidate as a run would name it.
    pub(crate) async fn candidate(&self, source: &TalosSource, node: &str) -> Candidate {
        let candidates = source.members().await.unwrap().candidates;
        let named = candidates
            .into_iter()
            .find(|candidate| candidate.node == node);
        named.unwrap()
    }
}

pub(crate) fn source(options: TalosOptions) -> TalosSource {
    TalosSource::new(options, Arc::new(SystemClock))
}

/// Returns all blocks of a stream, and the error with which it ended.
pub(crate) async fn drain(mut stream: ByteStream) -> (Vec<Bytes>, Option<SourceError>) {
    let mut blocks = Vec::new();
    while let Some(block) = stream.next().await {
        match block {
            Ok(block) => blocks.push(block),
            Err(error) => return (blocks, Some(error)),
        }
    }
    (blocks, None)
}

/// Takes a snapshot from the best member.
pub(crate) async fn take(source: &TalosSource) -> (Vec<u8>, Option<SourceError>) {
    let candidates = source.members().await.unwrap().candidates;
    let stream = source.open(&candidates[0]).await.unwrap();
    let (blocks, error) = drain(stream).await;
    (blocks.concat(), error)
}

/// Returns a member's refusal to begin.
pub(crate) async fn refusal(source: &TalosSource, candidate: &Candidate) -> SourceError {
    match source.open(candidate).await {
        Ok(_) => panic!("{} did not refuse", candidate.node),
        Err(error) => error,
    }
}
