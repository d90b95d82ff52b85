//! Stand-in for the Talos API of a cluster, stricter than the real one.
//!
//! Talos itself cannot run in a test. The answers here follow the real server where its behaviour is known:
//! mTLS with Ed25519, roles by version, routing by headers, frames of 1 KiB, read errors swallowed into a
//! stream that ends well, calls that hang while etcd is down. Behind a node stands a real etcd, or fixed
//! bytes for tests that need no tools.

mod answer;
pub mod backend;
pub mod connect;
pub mod fault;
pub mod machine_config;
pub mod node;
pub mod pki;
pub mod proto;
pub mod real_etcd;
pub mod recover;
mod resources;
pub mod roles;
mod route;
pub mod seats;
mod service;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use backup_core::clock::{Clock as _, SystemClock};
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use self::answer::Api;
pub use self::backend::{Etcd, FixedEtcd};
pub use self::fault::{CallFault, Faults, StreamFault};
pub use self::node::{Node, NodeSpec, ServiceState};
pub use self::pki::{ClientSpec, Pki};
use self::proto::cosi::resource::state_server::StateServer;
use self::proto::machine::machine_service_server::MachineServiceServer;
pub use self::roles::TalosVersion;
use self::route::Cluster;
pub use self::route::Seen;

/// Windows and largest message of the real server.
const STREAM_WINDOW: u32 = 65_535 * 32;
const CONNECTION_WINDOW: u32 = 65_535 * 16;
const MAX_MESSAGE: usize = 32 << 20;

/// Roles for which talosconfigs are written.
pub const ROLES: [&str; 4] = ["os:admin", "os:operator", "os:reader", "os:etcd:backup"];

/// Running cluster of nodes that ends when it is dropped.
pub struct Standin {
    cluster: Arc<Cluster>,
    pki: Pki,
    endpoints: BTreeMap<String, String>,
    tasks: JoinSet<()>,
}

impl Standin {
    /// Starts all nodes, each on a free port of 127.0.0.1; the header `nodes` is a violation.
    ///
    /// # Errors
    /// When certificates cannot be made or no port is free.
    pub async fn start(specs: Vec<NodeSpec>) -> anyhow::Result<Self> {
        Self::start_with(specs, false).await
    }

    /// Starts all nodes as `start` does; `allow_nodes` serves the header `nodes` as the real server does.
    ///
    /// # Errors
    /// When certificates cannot be made or no port is free.
    pub async fn start_with(specs: Vec<NodeSpec>, allow_nodes: bool) -> anyhow::Result<Self> {
        let pki = Pki::new(SystemClock.now())?;
        let nodes = specs
            .into_iter()
            .map(|spec| Arc::new(Node::new(spec)))
            .collect();
        let cluster = Arc::new(Cluster::new(nodes, allow_nodes));
        let mut endpoints = BTreeMap::new();
        let mut tasks = JoinSet::new();
        for node in &cluster.nodes {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            let address = listener.local_addr()?.to_string();
            endpoints.insert(node.spec.address.clone(), address);
            let mut names = vec![
                "127.0.0.1".to_owned(),
                node.spec.address.clone(),
                node.spec.hostname.clone(),
            ];
            names.extend(node.spec.extra_names.iter().cloned());
            let two_days = SignedDuration::from_hours(48);
            let pair = pki.server(&names, -two_days, node.spec.server_valid_for)?;
            let config = tls::server_config(&pki, pair)?;
            // A connection waits here only until the server takes it.
            let (accepted, incoming) = mpsc::channel(16);
            let door = tls::Door {
                shut: Arc::clone(&node.shut),
                frozen: Arc::clone(&node.frozen),
            };
            let pings = Arc::clone(&node.pings);
            tasks.spawn(tls::accept(listener, config, door, pings, accepted));
            let api = Api {
                endpoint: Arc::clone(node),
                cluster: Arc::clone(&cluster),
            };
            let resources = StateServer::new(api.clone());
            let service = MachineServiceServer::new(api)
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE);
            let server = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .add_service(service)
                .add_service(resources)
                .serve_with_incoming(ReceiverStream::new(incoming));
            tasks.spawn(async move {
                if let Err(error) = server.await {
                    tracing::error!(%error, "a node of the stand-in ended");
                }
            });
        }
        Ok(Self {
            cluster,
            pki,
            endpoints,
            tasks,
        })
    }

    /// Returns the cluster's authority, for certificates of any kind.
    #[must_use]
    pub fn pki(&self) -> &Pki {
        &self.pki
    }

    /// Returns the nodes, in the order in which they were given.
    #[must_use]
    pub fn nodes(&self) -> &[Arc<Node>] {
        &self.cluster.nodes
    }

    /// Returns the node that `address` names.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node(&self, address: &str) -> anyhow::Result<&Arc<Node>> {
        let mut nodes = self.cluster.nodes.iter();
        nodes
            .find(|node| node.spec.address == address)
            .with_context(|| format!("the stand-in has no node {address}"))
    }

    /// Returns the address at which the node `address` can be dialled, as `127.0.0.1:port`.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn endpoint(&self, address: &str) -> anyhow::Result<String> {
        let endpoint = self.endpoints.get(address).cloned();
        endpoint.with_context(|| format!("the stand-in has no node {address}"))
    }

    /// Returns the addresses at which the control plane nodes can be dialled.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let nodes = self
            .cluster
            .nodes
            .iter()
            .filter(|node| node.spec.control_plane);
        nodes
            .filter_map(|node| self.endpoints.get(&node.spec.address).cloned())
            .collect()
    }

    /// Returns the addresses of the control plane nodes, as `node` names them.
    #[must_use]
    pub fn control_plane(&self) -> Vec<String> {
        let nodes = self
            .cluster
            .nodes
            .iter()
            .filter(|node| node.spec.control_plane);
        nodes.map(|node| node.spec.address.clone()).collect()
    }

    /// Returns a talosconfig for all control plane nodes with a certificate as `spec` says.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn talosconfig(&self, spec: &ClientSpec) -> anyhow::Result<String> {
        let pair = self.pki.client(spec)?;
        Ok(self
            .pki
            .talosconfig("lab", &self.endpoints(), &self.control_plane(), &pair))
    }

    /// Writes a talosconfig for each role into `folder`; returns their paths by role.
    ///
    /// # Errors
    /// When one cannot be made or written.
    pub fn write_talosconfigs(&self, folder: &Path) -> anyhow::Result<BTreeMap<String, PathBuf>> {
        let mut paths = BTreeMap::new();
        for role in ROLES {
            let file = folder.join(format!("talosconfig-{}", role.replace(':', "-")));
            let text = self.talosconfig(&ClientSpec::of(&[role]))?;
            write_private(&file, &text)
                .with_context(|| format!("write the talosconfig {}", file.display()))?;
            paths.insert(role.to_owned(), file);
        }
        Ok(paths)
    }

    /// Loses etcd: ends it on all control plane nodes and empties their disks, as `talosctl reset`
    /// of the partition `EPHEMERAL` does. They then wait until one of them is bootstrapped.
    ///
    /// # Errors
    /// etcd cannot be ended, or a disk not be emptied.
    pub async fn reset(&self) -> anyhow::Result<()> {
        for node in self.nodes().iter().filter(|node| node.spec.control_plane) {
            node.reset().await?;
        }
        Ok(())
    }

    /// Reports whether etcd runs on all control plane nodes.
    #[must_use]
    pub fn etcd_runs(&self) -> bool {
        let mut nodes = self.nodes().iter().filter(|node| node.spec.control_plane);
        nodes.all(|node| matches!(node.etcd_state(), (ServiceState::Running, true, _)))
    }

    /// Returns the calls that arrived, in order.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        self.cluster.seen()
    }

    /// Returns the actions of clients that no client should do; a test ends with this empty.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        let mut violations = self.cluster.violations();
        for node in &self.cluster.nodes {
            let pings = node.pings.load(Ordering::SeqCst);
            if pings > 0 {
                violations.push(format!("{pings} HTTP/2 pings at {}", node.spec.address));
            }
        }
        violations
    }
}

impl Drop for Standin {
    fn drop(&mut self) {
        self.tasks.abort_all();
        for node in &self.cluster.nodes {
            node.lock_tasks().abort_all();
        }
    }
}

/// Writes a file that holds a key, for its owner alone.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)?.write_all(text.as_bytes())
}
