//! Queries to a tenant's own API: readiness, version, number of workers.

use serde::Deserialize;

use super::super::failure::KubeError;
use super::super::kind::continue_query;
use super::super::request::Api;
use super::super::server::{kube_system_uid, server_version};
use super::{PER_TENANT, error_line};
use crate::kube::kubeconfig::KubeconfigAccess;
use backup_core::format::export::TenantAnswer;
use backup_core::proxy::Proxies;

/// Nodes per page: with their lists of images they take up to 50 KiB each.
const PAGE: usize = 50;
/// Maximum number of pages: a cluster is designed for up to 5 000 nodes.
const MAX_PAGES: usize = 100;
/// Labels of nodes that are not workers.
const CONTROL_PLANE: [&str; 2] = [
    "node-role.kubernetes.io/control-plane",
    "node-role.kubernetes.io/master",
];

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeList {
    metadata: NodeListMeta,
    items: Vec<Node>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeListMeta {
    #[serde(rename = "continue")]
    token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Node {
    metadata: NodeMeta,
    status: NodeStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeMeta {
    labels: std::collections::BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    conditions: Vec<NodeCondition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NodeCondition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

impl Node {
    /// Reports whether it is a worker that is ready.
    pub(super) fn counts(&self) -> bool {
        let worker = !CONTROL_PLANE
            .iter()
            .any(|role| self.metadata.labels.contains_key(*role));
        let mut conditions = self.status.conditions.iter();
        worker && conditions.any(|c| c.kind == "Ready" && c.status == "True")
    }
}

/// Queries the tenant within its time limit; answers received before the limit are kept.
pub(super) async fn query(access: &KubeconfigAccess, proxies: &Proxies) -> TenantAnswer {
    let mut answer = TenantAnswer::default();
    let api = match access.client(PER_TENANT, proxies) {
        Ok(client) => Api::without_retries(client, access.server().to_owned(), PER_TENANT),
        Err(e) => {
            answer.failure = Some(format!("its kubeconfig cannot be used: {e}"));
            return answer;
        }
    };
    let asked = tokio::time::timeout(PER_TENANT, fill_answer(&api, &mut answer)).await;
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(e)) => answer.failure = Some(error_line(&e)),
        Err(_) => {
            answer.failure = Some(format!(
                "{} did not answer within {} s",
                access.server(),
                PER_TENANT.as_secs()
            ));
        }
    }
    answer
}

async fn fill_answer(api: &Api, answer: &mut TenantAnswer) -> Result<(), KubeError> {
    match api.bytes("/readyz", MAX_READYZ).await {
        Ok(_) => answer.ready = Some(true),
        Err(e @ KubeError::Status { .. }) => {
            answer.ready = Some(false);
            return Err(e);
        }
        Err(e) => return Err(e),
    }
    let version = server_version(api).await?;
    answer.version = Some(version.chars().take(MAX_VERSION).collect());
    let (mut ready, mut token) = (0_u64, String::new());
    for _ in 0..MAX_PAGES {
        let path = format!("/api/v1/nodes?limit={PAGE}{}", continue_query(&token));
        let nodes: NodeList = api.get(&path, "list of nodes").await?;
        let counted = nodes.items.iter().filter(|node| node.counts()).count();
        ready = ready.saturating_add(counted.try_into().unwrap_or(u64::MAX));
        token = nodes.metadata.token;
        if token.is_empty() {
            break;
        }
    }
    answer.nodes_ready = Some(ready);
    // A kubeconfig without the right to read it is still accepted.
    let uid = kube_system_uid(api).await.ok();
    answer.kube_system_uid = uid.filter(|uid| (1..=MAX_VERSION).contains(&uid.len()));
    Ok(())
}

/// Largest answer: `ok`, or a line for each check.
const MAX_READYZ: usize = 64 << 10;
/// Longest version, `v1.36.1` and what vendors add; a UID is shorter.
const MAX_VERSION: usize = 64;
