//! Query for the current state of a node, as far as a restore of etcd needs it.

use cluster_client::talos::nodes::{CallError, CallErrorKind, TalosNodes};

use super::plan::{NodeFacts, NodeRole, TalosCluster};

/// Folder where Talos keeps etcd's data, on any partition.
const DATA: &str = "/var/lib/etcd";
/// Path of an uploaded snapshot that waits for its bootstrap.
const UPLOADED: &str = "/var/lib/etcd.snapshot";
/// Name of the service.
pub(super) const ETCD: &str = "etcd";

/// State of a node, and the calls that failed.
pub(super) struct NodeReport {
    pub(super) facts: NodeFacts,
    /// Hostname that the node reports.
    pub(super) hostname: Option<String>,
    pub(super) cluster: Option<TalosCluster>,
    pub(super) encryption_prefixes: Option<Vec<String>>,
    /// Image of etcd that its machine configuration names.
    pub(super) etcd_image: Option<String>,
    pub(super) failures: Vec<CallError>,
}

impl NodeReport {
    /// Reports whether its etcd runs, healthy or not.
    pub(super) fn runs_etcd(&self) -> bool {
        let etcd = self.facts.etcd.as_ref();
        etcd.is_some_and(|etcd| etcd.state == "Running")
    }

    /// Reports whether the node answered and refused everything.
    pub(super) fn is_refusing(&self) -> bool {
        let refused = |failure: &CallError| failure.kind == CallErrorKind::NotAllowed;
        self.is_silent() && self.failures.iter().all(refused)
    }

    /// Reports whether the node gave no answer at all.
    pub(super) fn is_silent(&self) -> bool {
        let facts = &self.facts;
        facts.etcd.is_none()
            && facts.talos_version.is_none()
            && facts.machine_type.is_none()
            && !self.failures.is_empty()
    }
}

/// Asks one node everything. Each question has its own deadline, and all are asked at once.
pub(super) async fn query_node(nodes: &TalosNodes, node: &str) -> NodeReport {
    let (hostname, version, machine, etcd, time, data, uploaded) = tokio::join!(
        nodes.hostname(node),
        nodes.version(node),
        nodes.machine(node),
        nodes.service(node, ETCD),
        nodes.time(node),
        data_empty(nodes, node),
        uploaded(nodes, node),
    );
    let mut failures = Vec::new();
    let talos_version = kept(version, &mut failures);
    let machine = kept(machine, &mut failures);
    let answered = etcd.is_ok();
    let etcd = kept(etcd, &mut failures).flatten();
    let kind = machine.as_ref().and_then(|machine| machine.kind.clone());
    let role = match (kind.as_deref(), &etcd) {
        (Some("worker"), _) => NodeRole::Worker,
        (Some(_), _) | (None, Some(_)) => NodeRole::ControlPlane,
        (None, None) if answered => NodeRole::Worker,
        (None, None) => NodeRole::Unknown,
    };
    let cluster = machine.as_ref().map(|machine| cluster(nodes, machine));
    NodeReport {
        // Without a hostname it counts as a separate node, which is safe.
        hostname: hostname.ok().filter(|name| !name.is_empty()),
        facts: NodeFacts {
            node: node.to_owned(),
            unnamed: false,
            role,
            machine_type: kind,
            talos_version,
            etcd,
            time_in_sync: kept(time, &mut failures).map(|time| time.in_sync),
            data_empty: kept(data, &mut failures),
            uploaded_bytes: kept(uploaded, &mut failures).flatten(),
        },
        cluster,
        etcd_image: machine
            .as_ref()
            .and_then(|machine| machine.etcd_image.clone()),
        encryption_prefixes: machine.map(|machine| machine.encryption_prefixes),
        failures,
    }
}

fn kept<T>(answer: Result<T, CallError>, failures: &mut Vec<CallError>) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(failure) => {
            failures.push(failure);
            None
        }
    }
}

fn cluster(
    nodes: &TalosNodes,
    machine: &cluster_client::talos::nodes::MachineView,
) -> TalosCluster {
    TalosCluster {
        name: machine.cluster.clone(),
        id_sha256: machine.cluster_id,
        ..unnamed(nodes)
    }
}

/// Returns what is known of the cluster without asking a node.
pub(super) fn unnamed(nodes: &TalosNodes) -> TalosCluster {
    TalosCluster {
        name: None,
        id_sha256: None,
        authorities: nodes.authorities().to_vec(),
        context: nodes.context().to_owned(),
    }
}

/// Returns the cluster that this node reports.
pub(super) async fn cluster_of(nodes: &TalosNodes, node: &str) -> Result<TalosCluster, CallError> {
    Ok(cluster(nodes, &nodes.machine(node).await?))
}

/// Reports whether a node's etcd has no data.
pub(super) async fn data_empty(nodes: &TalosNodes, node: &str) -> Result<bool, CallError> {
    match nodes.folder(node, DATA).await {
        Ok(view) => Ok(view.entries == 0),
        Err(failure) if failure.kind == CallErrorKind::NotFound => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Returns the size of an uploaded snapshot that waits on a node.
pub(super) async fn uploaded(nodes: &TalosNodes, node: &str) -> Result<Option<u64>, CallError> {
    match nodes.folder(node, UPLOADED).await {
        Ok(view) => Ok(view.file_bytes),
        Err(failure) if failure.kind == CallErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}
