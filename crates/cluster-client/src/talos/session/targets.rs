//! Nodes that a session uses: those that the user named, or those that the cluster lists.

use std::net::IpAddr;

use super::{TalosSession, host_of, only};
use crate::grpc::endpoint::Endpoint;
use crate::talos::TalosOptions;
use crate::talos::config::TalosContext;
use crate::talos::explain::TalosFailure;
use crate::talos::proto::machine::EtcdMemberListRequest;

/// Maximum number of members, more than any etcd cluster has; further ones in a list are not queried.
const MAX_MEMBERS: usize = 32;

/// Origin of the names of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum NodeSource {
    /// The configuration, or a flag that overrides it.
    Configuration,
    /// The context of the talosconfig.
    Talosconfig,
    /// The endpoints of the talosconfig, used as nodes.
    Endpoints,
    /// etcd itself, or nobody.
    Nobody,
}

impl NodeSource {
    /// Determines the origin for a configuration and the context that it uses.
    pub(super) fn of(options: &TalosOptions, context: &TalosContext) -> Self {
        match (options.nodes.is_empty(), context.nodes.is_empty()) {
            (false, _) => Self::Configuration,
            (true, false) => Self::Talosconfig,
            (true, true) if context.endpoints.iter().all(|e| e.ip().is_some()) => Self::Endpoints,
            (true, true) => Self::Nobody,
        }
    }

    /// Returns the place that names the nodes.
    pub(in super::super) fn place(self) -> Option<&'static str> {
        match self {
            Self::Configuration => Some("talos.nodes"),
            Self::Talosconfig => Some("the nodes of the talosconfig"),
            Self::Endpoints => Some("the endpoints of the talosconfig"),
            Self::Nobody => None,
        }
    }

    /// Returns the best place to add a node.
    pub(in super::super) fn add(self) -> &'static str {
        match self {
            Self::Configuration | Self::Nobody => "`talos.nodes`",
            Self::Talosconfig => "the context's `nodes`, or name all of them in `talos.nodes`",
            Self::Endpoints => "the context's `endpoints`, or name all nodes in `talos.nodes`",
        }
    }
}

/// Member that can be queried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct NodeTarget {
    /// Name in messages and in a `Candidate`.
    pub(in super::super) label: String,
    /// Value of the `node` header; `None` if only the endpoint is known.
    pub(in super::super) node: Option<String>,
}

impl TalosSession {
    /// Returns the members to query, in the order of the configuration; never empty.
    pub(in super::super) fn targets(&self) -> &[NodeTarget] {
        &self.targets
    }

    /// Returns all nodes that the talosconfig contains: those of its context, and its endpoints. An
    /// endpoint whose host cannot be a node's address is named with its port, and calls to that name go to
    /// this endpoint only.
    pub(in super::super) fn known(&self) -> Vec<String> {
        let endpoints =
            self.connections
                .iter()
                .map(|connection| match connection.host.parse::<IpAddr>() {
                    Ok(address) if !address.is_loopback() => address.to_string(),
                    _ => connection.name.clone(),
                });
        let mut known: Vec<String> = Vec::new();
        for name in self.own_nodes.iter().cloned().chain(endpoints) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        known
    }

    /// Returns the target for a candidate's `node`.
    pub(in super::super) fn target(&self, label: &str) -> NodeTarget {
        let known = self.targets.iter().find(|target| target.label == label);
        known.cloned().unwrap_or_else(|| NodeTarget {
            label: label.to_owned(),
            node: Some(label.to_owned()),
        })
    }

    /// Returns the nodes as configured, or else the endpoints, or else the members that the cluster lists.
    ///
    /// An endpoint given by name is a load balancer or the Service in a cluster: a node does not know
    /// itself by that name, so the name cannot be the value of `node`.
    pub(super) async fn find_targets(&mut self, context: &TalosContext) -> Vec<NodeTarget> {
        let named = |node: String| NodeTarget {
            label: node.clone(),
            node: Some(node),
        };
        if !context.nodes.is_empty() {
            return context.nodes.iter().cloned().map(named).collect();
        }
        let addresses: Vec<IpAddr> = context.endpoints.iter().filter_map(Endpoint::ip).collect();
        if addresses.len() == context.endpoints.len() {
            let mut targets: Vec<NodeTarget> = Vec::new();
            for address in addresses {
                let target = named(address.to_string());
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
            return targets;
        }
        match self.members_of_any().await {
            Ok(found) if !found.is_empty() => found.into_iter().map(named).collect(),
            other => {
                let reason = match other {
                    Err(failure) => failure.to_string(),
                    Ok(_) => "the members advertise only the address of their own host".to_owned(),
                };
                self.warnings.push(format!(
                    "the talosconfig names no `nodes` and the cluster did not report its members, so the \
                     first node that answers is used: set `nodes` ({reason})"
                ));
                let mut targets: Vec<NodeTarget> = Vec::new();
                for endpoint in &context.endpoints {
                    let target = NodeTarget {
                        label: endpoint.host().to_owned(),
                        node: None,
                    };
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                // Without `node` one target stands for all: fail-over is between endpoints.
                targets.truncate(1);
                targets
            }
        }
    }

    /// Returns the addresses of the cluster's members, as the first endpoint that answers lists them.
    async fn members_of_any(&self) -> Result<Vec<String>, TalosFailure> {
        let members = self
            .call(
                "EtcdMemberList",
                None,
                self.call_timeout,
                |mut client, mut to| {
                    Box::pin(async move {
                        let request = to.request(EtcdMemberListRequest { query_local: true });
                        let reply = client.etcd_member_list(request).await?.into_inner();
                        only(reply.messages, |message| message.metadata.as_ref())
                    })
                },
            )
            .await?;
        let mut found = Vec::new();
        for member in members.members.into_iter().take(MAX_MEMBERS) {
            let address = member.client_urls.iter().find_map(|url| host_of(url));
            if let Some(address) = address
                && !address.is_loopback()
                && !address.is_unspecified()
                && !found.contains(&address.to_string())
            {
                found.push(address.to_string());
            }
        }
        Ok(found)
    }
}
