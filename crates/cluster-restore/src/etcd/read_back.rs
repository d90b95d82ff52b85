//! Reader of the content of a running etcd.

use futures::StreamExt as _;

use super::evidence::{Evidence, difference};
use super::plan::{self, Proof, RestoredEtcd};
use super::run::EtcdRestoreError;
use backup_core::etcd::{Inspector, SnapshotFacts, TrailerCheck};
use backup_core::num::to_u64;
use backup_core::progress::Progress;
use cluster_client::talos::nodes::{MemberStatusView, MemberView, TalosNodes};

/// Answers of an etcd.
pub(super) struct EtcdReading {
    node: String,
    facts: SnapshotFacts,
    status: MemberStatusView,
    members: Vec<MemberView>,
}

impl EtcdReading {
    /// Returns it as the restored `snapshot`; `already` means that an earlier attempt restored it.
    ///
    /// # Errors
    /// The difference, if it is not the restored snapshot.
    pub(super) fn restored(
        self,
        snapshot: &plan::SnapshotFacts,
        proof: Option<Proof>,
        already: bool,
    ) -> Result<RestoredEtcd, String> {
        let Self {
            node,
            facts,
            status,
            members,
        } = self;
        let found = Evidence {
            revision: facts.revision,
            content: facts.content,
            kube_system_uid: facts.kube_system_uid.as_deref(),
            raft_applied_index: status.raft_applied_index,
        };
        if let Some(difference) = difference(&found, snapshot, proof) {
            return Err(difference);
        }
        Ok(RestoredEtcd {
            node,
            revision: facts.revision,
            snapshot_revision: snapshot.revision,
            kube_system_uid: facts.kube_system_uid,
            member_id: status.member_id,
            etcd_version: status.etcd_version,
            members,
            already,
        })
    }
}

/// Asks for members and state, and reads a snapshot for its content, because the Talos API reports
/// no revision. Changes nothing.
pub(super) async fn read_back(
    nodes: &TalosNodes,
    node: &str,
    progress: &dyn Progress,
) -> Result<EtcdReading, EtcdRestoreError> {
    let call = |what| move |source| EtcdRestoreError::Call { what, source };
    progress.step("reading etcd back", None);
    let members = nodes.members(node).await;
    let members = members.map_err(call("ask for the members"))?;
    let status = nodes.status(node).await;
    let status = status.map_err(call("ask for the state of the member"))?;
    let facts = snapshot_of(nodes, node, progress).await?;
    Ok(EtcdReading {
        node: node.to_owned(),
        facts,
        status,
        members,
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
        progress.advance(to_u64(bytes.len()));
    }
    let facts = SnapshotFacts::join(trailer.finish(), pages.finish());
    facts.map_err(|source| EtcdRestoreError::NotSound {
        node: node.to_owned(),
        source,
    })
}
