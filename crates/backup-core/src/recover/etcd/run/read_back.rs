//! Reads back what an etcd that is up holds.

use futures::StreamExt as _;

use super::super::log::{EtcdLog, EtcdPhase};
use super::super::plan::EtcdPlan;
use super::evidence::{Evidence, difference};
use super::{EtcdRestoreError, EtcdRestored};
use crate::etcd::{Inspector, SnapshotFacts, TrailerCheck};
use crate::progress::Progress;
use crate::source::talos::nodes::TalosNodes;

/// Asks for members and state, and reads a snapshot for the revision and the cluster in it. The
/// Talos API tells no revision otherwise. `already` if this run has not asked for the bootstrap.
pub(super) async fn read_back(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    log: &dyn EtcdLog,
    progress: &dyn Progress,
    already: bool,
) -> Result<EtcdRestored, EtcdRestoreError> {
    let node = plan.target.as_str();
    let call = |what| move |source| EtcdRestoreError::Call { what, source };
    progress.step("reading etcd back", None);
    let members = nodes.members(node).await;
    let members = members.map_err(call("ask for the members"))?;
    let status = nodes.status(node).await;
    let status = status.map_err(call("ask for the state of the member"))?;
    let facts = snapshot_of(nodes, node, progress).await?;
    let found = Evidence {
        revision: facts.revision,
        kube_system_uid: facts.kube_system_uid.as_deref(),
        raft_applied_index: status.raft_applied_index,
    };
    if let Some(difference) = difference(&found, &plan.snapshot, !already) {
        return Err(EtcdRestoreError::OtherData {
            node: node.to_owned(),
            difference,
            wipe: plan.wipe.clone(),
        });
    }
    let reached = log.reached(&EtcdPhase::Revision {
        revision: facts.revision,
    });
    reached.map_err(EtcdRestoreError::Log)?;
    Ok(EtcdRestored {
        node: node.to_owned(),
        revision: facts.revision,
        snapshot_revision: plan.snapshot.revision,
        kube_system_uid: facts.kube_system_uid,
        member_id: status.member_id,
        etcd_version: status.etcd_version,
        members,
        already,
    })
}

async fn snapshot_of(
    nodes: &TalosNodes,
    node: &str,
    progress: &dyn Progress,
) -> Result<SnapshotFacts, EtcdRestoreError> {
    let not_read = |source| EtcdRestoreError::NotReadBack {
        node: node.to_owned(),
        source,
    };
    let mut stream = nodes.read_back(node).await.map_err(not_read)?;
    let mut trailer = TrailerCheck::new();
    let mut pages = Inspector::new();
    while let Some(bytes) = stream.next().await {
        let bytes = bytes.map_err(not_read)?;
        trailer.push(&bytes);
        pages.push(&bytes);
        progress.advance(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }
    let facts = SnapshotFacts::join(trailer.finish(), pages.finish());
    facts.map_err(|source| EtcdRestoreError::NotSound {
        node: node.to_owned(),
        source,
    })
}
