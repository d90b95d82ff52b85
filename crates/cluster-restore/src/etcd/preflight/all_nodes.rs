//! Check of every node that could run an etcd of this cluster, from all sources that list nodes.

use futures::StreamExt as _;

use super::super::node_report::{self, NodeReport};
use cluster_client::talos::nodes::TalosNodes;

/// Number of nodes asked at once, seven small calls each: an API server has 2 threads and 128 MiB.
const ASKED_AT_ONCE: usize = 8;
/// Largest number of nodes asked, more than any control plane has; further members are not asked.
const MAX_NODES: usize = 64;

/// Checks the named nodes, the nodes that the talosconfig lists, and the nodes of the members that
/// running etcds list: a node that nobody checks may serve a second etcd.
pub(super) async fn query_all(nodes: &TalosNodes, named: Vec<String>) -> Vec<NodeReport> {
    let mut looked = at(nodes, named).await;
    add_nodes(nodes, &mut looked, nodes.known()).await;
    let members = members(nodes, &looked).await;
    add_nodes(nodes, &mut looked, members).await;
    looked
}

async fn at(nodes: &TalosNodes, names: Vec<String>) -> Vec<NodeReport> {
    let looks: Vec<_> = names
        .iter()
        .take(MAX_NODES)
        .map(|node| node_report::query_node(nodes, node))
        .collect();
    futures::stream::iter(looks)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// Adds the nodes in `names` that were not checked yet.
async fn add_nodes(nodes: &TalosNodes, looked: &mut Vec<NodeReport>, names: Vec<String>) {
    let new = names.into_iter();
    let new = new.filter(|name| looked.iter().all(|l| l.facts.node != *name));
    for mut other in at(nodes, new.collect()).await {
        // A node may have several names, but it has one hostname.
        let twin = other.hostname.is_some() && looked.iter().any(|l| l.hostname == other.hostname);
        if !twin {
            other.facts.unnamed = true;
            looked.push(other);
        }
    }
}

/// Returns the addresses of members whose nodes were not checked.
async fn members(nodes: &TalosNodes, looked: &[NodeReport]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for node in looked.iter().filter(|looked| looked.runs_etcd()) {
        // If one node does not answer, another may.
        let members = nodes.members(&node.facts.node).await.unwrap_or_default();
        for member in members {
            let known = |l: &NodeReport| l.hostname.as_deref() == Some(member.name.as_str());
            if let Some(address) = member.address
                && !looked.iter().any(known)
                && !found.contains(&address)
            {
                found.push(address);
            }
        }
    }
    found
}
