//! Look at every node that could run an etcd of this cluster, whoever knows of it.

use futures::StreamExt as _;

use super::super::look::{self, Looked};
use crate::source::talos::nodes::TalosNodes;

/// Nodes asked at once, seven small calls each: an API server has 2 threads and 128 MiB.
const ASKED_AT_ONCE: usize = 8;
/// More nodes than any control plane has; what members tell beyond is not asked.
const MOST: usize = 64;

/// Looks at the nodes that were named, at those that the talosconfig knows of, and at those of the
/// members that the etcds which run know of: one that nobody looks at may serve a second etcd.
pub(super) async fn everywhere(nodes: &TalosNodes, named: Vec<String>) -> Vec<Looked> {
    let mut looked = at(nodes, named).await;
    also(nodes, &mut looked, nodes.known()).await;
    let members = members(nodes, &looked).await;
    also(nodes, &mut looked, members).await;
    looked
}

async fn at(nodes: &TalosNodes, names: Vec<String>) -> Vec<Looked> {
    let looks: Vec<_> = names
        .iter()
        .take(MOST)
        .map(|node| look::look(nodes, node))
        .collect();
    futures::stream::iter(looks)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// Adds those of `names` that are other nodes than those looked at.
async fn also(nodes: &TalosNodes, looked: &mut Vec<Looked>, names: Vec<String>) {
    let new = names.into_iter();
    let new = new.filter(|name| looked.iter().all(|l| l.facts.node != *name));
    for mut other in at(nodes, new.collect()).await {
        // One node may have several names; what it calls itself is one.
        let twin = other.hostname.is_some() && looked.iter().any(|l| l.hostname == other.hostname);
        if !twin {
            other.facts.unnamed = true;
            looked.push(other);
        }
    }
}

/// The addresses of members whose nodes were not looked at.
async fn members(nodes: &TalosNodes, looked: &[Looked]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for node in looked.iter().filter(|looked| looked.runs_etcd()) {
        // What one does not tell, another may.
        let members = nodes.members(&node.facts.node).await.unwrap_or_default();
        for member in members {
            let known = |l: &Looked| l.hostname.as_deref() == Some(member.name.as_str());
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
