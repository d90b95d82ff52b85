//! Routing of calls to nodes, and checks of the headers of a call.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use super::node::Node;

/// Call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Name of the method.
    pub method: &'static str,
    /// Address of the node that was dialled.
    pub endpoint: String,
    /// Value of `node`, if it was sent.
    pub node: Option<String>,
    /// Value of `runtime`.
    pub runtime: Option<String>,
    /// Value of `context`.
    pub context: Option<String>,
    /// Roles in the client's certificate.
    pub roles: BTreeSet<String>,
}

/// All nodes, and the calls of clients.
pub(super) struct Cluster {
    pub(super) nodes: Vec<Arc<Node>>,
    /// Whether `nodes` is served, as the real server does, instead of refused.
    pub(super) allow_nodes: bool,
    seen: Mutex<Vec<Seen>>,
    violations: Mutex<Vec<String>>,
}

/// Route of a call.
pub(super) enum Route {
    /// To one node, untouched.
    One(Arc<Node>),
    /// To several nodes; errors come in-band.
    Many(Vec<Target>),
}

/// One of several nodes.
pub(super) struct Target {
    /// Name as the client wrote it; `None` where a worker answers for itself.
    pub(super) hostname: Option<String>,
    /// Node, or the reason why it cannot be queried.
    pub(super) node: Result<Arc<Node>, Status>,
}

impl Cluster {
    pub(super) fn new(nodes: Vec<Arc<Node>>, allow_nodes: bool) -> Self {
        Self {
            nodes,
            allow_nodes,
            seen: Mutex::default(),
            violations: Mutex::default(),
        }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn violation(&self, text: String) -> Status {
        let status = Status::invalid_argument(text.clone());
        let mut violations = self
            .violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        violations.push(text);
        status
    }

    /// Finds the route of a call that arrived at `endpoint`.
    pub(super) fn route(
        &self,
        endpoint: &Arc<Node>,
        method: &'static str,
        headers: &MetadataMap,
        roles: &BTreeSet<String>,
    ) -> Result<Route, Status> {
        let texts = |name: &str| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values
                .map(|value| value.to_str().unwrap_or("?").to_owned())
                .collect()
        };
        let node = texts("node");
        {
            /// Number of recorded calls: enough for any test, and a limit for a runaway client.
            const KEPT: usize = 100_000;
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.len() < KEPT {
                seen.push(Seen {
                    method,
                    endpoint: endpoint.address().to_owned(),
                    node: node.first().cloned(),
                    runtime: texts("runtime").pop(),
                    context: texts("context").pop(),
                    roles: roles.clone(),
                });
            }
        }
        for forbidden in ["proxyfrom", "talos-role"] {
            if headers.contains_key(forbidden) {
                return Err(self.violation(format!("{method} came with the header {forbidden}")));
            }
        }
        let many = texts("nodes");
        if !many.is_empty() {
            if !self.allow_nodes {
                return Err(self.violation(format!("{method} came with the header nodes")));
            }
            let targets = many.into_iter().map(|name| {
                let own = is_own(endpoint, &name) && !endpoint.spec.control_plane;
                Target {
                    node: self.find(endpoint, &name),
                    hostname: (!own).then_some(name),
                }
            });
            return Ok(Route::Many(targets.collect()));
        }
        match node.as_slice() {
            [] => Ok(Route::One(Arc::clone(endpoint))),
            [name] => Ok(Route::One(self.find(endpoint, name)?)),
            _ => Err(Status::invalid_argument(
                "node metadata must be single-valued",
            )),
        }
    }

    fn find(&self, endpoint: &Arc<Node>, name: &str) -> Result<Arc<Node>, Status> {
        let with_port = name.parse::<SocketAddr>().is_ok()
            || (name.contains(':') && name.parse::<Ipv6Addr>().is_err());
        if name.is_empty() || with_port {
            return Err(Status::internal(format!("invalid target {name:?}")));
        }
        if is_own(endpoint, name) {
            return Ok(Arc::clone(endpoint));
        }
        if !endpoint.spec.control_plane {
            return Err(Status::permission_denied("no request forwarding"));
        }
        let mut nodes = self.nodes.iter();
        match nodes.find(|node| node.spec.address == name || node.spec.hostname == name) {
            Some(node) if !node.faults().unreachable => Ok(Arc::clone(node)),
            _ => Err(Status::new(
                Code::Unavailable,
                format!(
                    "connection error: desc = \"transport: Error while dialing: dial tcp \
                     {name}:50000: connect: connection refused\""
                ),
            )),
        }
    }
}

fn is_own(endpoint: &Node, name: &str) -> bool {
    let spec = &endpoint.spec;
    name == "127.0.0.1"
        || name == spec.address
        || name == spec.hostname
        || spec.extra_names.iter().any(|extra| extra == name)
}
