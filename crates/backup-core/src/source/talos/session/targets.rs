//! Nodes that a session speaks about: those that are named, or those that the cluster tells.

use std::net::IpAddr;

use super::{Session, host_of, only};
use crate::source::endpoint::Endpoint;
use crate::source::talos::TalosOptions;
use crate::source::talos::config::Context;
use crate::source::talos::explain::Failure;
use crate::source::talos::proto::machine::EtcdMemberListRequest;

/// More members than any etcd cluster has; what a server tells beyond is not asked.
const MAX_MEMBERS: usize = 32;

/// Who named the nodes that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Naming {
    /// The configuration, or a flag over it.
    Configuration,
    /// The context of the talosconfig.
    Talosconfig,
    /// Its endpoints are taken for nodes.
    Endpoints,
    /// etcd itself, or nobody.
    Nobody,
}

impl Naming {
    /// Tells it of a configuration and the context that it uses.
    pub(super) fn of(options: &TalosOptions, context: &Context) -> Self {
        match (options.nodes.is_empty(), context.nodes.is_empty()) {
            (false, _) => Self::Configuration,
            (true, false) => Self::Talosconfig,
            (true, true) if context.endpoints.iter().all(|e| e.ip().is_some()) => Self::Endpoints,
            (true, true) => Self::Nobody,
        }
    }

    /// Where the nodes are named.
    pub(in super::super) fn place(self) -> Option<&'static str> {
        match self {
            Self::Configuration => Some("talos.nodes"),
            Self::Talosconfig => Some("the nodes of the talosconfig"),
            Self::Endpoints => Some("the endpoints of the talosconfig"),
            Self::Nobody => None,
        }
    }

    /// Where a node is best added.
    pub(in super::super) fn add(self) -> &'static str {
        match self {
            Self::Configuration | Self::Nobody => "`talos.nodes`",
            Self::Talosconfig => "the context's `nodes`, or name all of them in `talos.nodes`",
            Self::Endpoints => "the context's `endpoints`, or name all nodes in `talos.nodes`",
        }
    }
}

/// A member that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Target {
    /// How it is named to people and in a `Candidate`.
    pub(in super::super) label: String,
    /// What goes into the `node` header; nothing if only the endpoint is known.
    pub(in super::super) node: Option<String>,
}

impl Session {
    /// The members to ask, in the order of the configuration; never empty.
    pub(in super::super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// All nodes that the talosconfig knows of: those of its context, and its endpoints. An endpoint
    /// that is no address which a node could be called by is named with its port, and calls about that
    /// name go to it alone.
    pub(in super::super) fn known(&self) -> Vec<String> {
        let endpoints = self
            .links
            .iter()
            .map(|link| match link.host.parse::<IpAddr>() {
                Ok(address) if !address.is_loopback() => address.to_string(),
                _ => link.name.clone(),
            });
        let mut known: Vec<String> = Vec::new();
        for name in self.own_nodes.iter().cloned().chain(endpoints) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        known
    }

    /// The target that a candidate's `node` stands for.
    pub(in super::super) fn target(&self, label: &str) -> Target {
        let known = self.targets.iter().find(|target| target.label == label);
        known.cloned().unwrap_or_else(|| Target {
            label: label.to_owned(),
            node: Some(label.to_owned()),
        })
    }

    /// The nodes as configured, or else the endpoints, or else the members the cluster names.
    ///
    /// An endpoint given by name is a load balancer or the Service in a cluster: a node would not
    /// know it by that name, so it cannot be the value of `node`.
    pub(super) async fn find_targets(&mut self, context: &Context) -> Vec<Target> {
        let named = |node: String| Target {
            label: node.clone(),
            node: Some(node),
        };
        if !context.nodes.is_empty() {
            return context.nodes.iter().cloned().map(named).collect();
        }
        let addresses: Vec<IpAddr> = context.endpoints.iter().filter_map(Endpoint::ip).collect();
        if addresses.len() == context.endpoints.len() {
            let mut targets: Vec<Target> = Vec::new();
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
                    Ok(_) => "the members advertise no address but their own host's".to_owned(),
                };
                self.warnings.push(format!(
                    "the talosconfig names no `nodes` and the cluster did not tell its members, so \
                     whichever node answers is used: set `nodes` ({reason})"
                ));
                let mut targets: Vec<Target> = Vec::new();
                for endpoint in &context.endpoints {
                    let target = Target {
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

    /// The addresses of the cluster's members, as whichever endpoint answers knows them.
    async fn members_of_any(&self) -> Result<Vec<String>, Failure> {
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
