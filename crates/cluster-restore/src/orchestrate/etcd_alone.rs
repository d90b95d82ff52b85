//! Restore of etcd alone, with a journal that shows a second run what the first one did.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_core::clock::Clock;
use backup_core::digest::Digest;
use backup_core::read::LocalSnapshot;
use cluster_client::talos::nodes::TalosNodes;
use tokio_util::sync::CancellationToken;

use super::etcd::{CHECKING, JournalLog};
use super::setup::or_cancelled;
use super::{OrchestrateError, Reporter};
use crate::etcd::{EtcdPlan, EtcdRequest, Pace, Proof, RestoredEtcd, preflight, run};
use crate::journal::Journal;

/// Folder of these journals, beside the journals of whole restores, which are continued in another way.
const FOLDER: &str = "etcd";

/// Restore of etcd alone; see the module.
pub struct EtcdRestore {
    nodes: TalosNodes,
    plan: EtcdPlan,
    journals: PathBuf,
    clock: Arc<dyn Clock>,
    reporter: Arc<dyn Reporter>,
    cancel: CancellationToken,
}

impl EtcdRestore {
    /// Checks the nodes onto which etcd is to be restored. Changes nothing. Journals are kept in a folder in
    /// `journals`.
    ///
    /// # Errors
    /// When an earlier journal of this restore cannot be read.
    pub async fn check(
        wanted: EtcdRequest,
        (nodes, journals): (TalosNodes, &Path),
        (clock, reporter): (Arc<dyn Clock>, Arc<dyn Reporter>),
        cancel: CancellationToken,
    ) -> Result<Self, OrchestrateError> {
        reporter.status(CHECKING);
        let journals = journals.join(FOLDER);
        let mut plan = preflight(&nodes, wanted.clone()).await;
        // The journal of this restore may prove what the content no longer does, because etcd was written to
        // since.
        let proof = proof(&journals, &plan)?;
        if plan.holds.is_none() && proof.is_some() {
            let again = EtcdRequest {
                target: Some(plan.target),
                proof,
                ..wanted
            };
            plan = preflight(&nodes, again).await;
        }
        Ok(Self {
            nodes,
            plan,
            journals,
            clock,
            reporter,
            cancel,
        })
    }

    /// Returns the plan.
    #[must_use]
    pub fn plan(&self) -> &EtcdPlan {
        &self.plan
    }

    /// Returns the nodes.
    #[must_use]
    pub fn nodes(&self) -> &TalosNodes {
        &self.nodes
    }

    /// Restores `snapshot`, with each phase in the journal. May be called again after an interruption.
    ///
    /// # Errors
    /// When the journal cannot be written, or a node does not restore.
    pub async fn run(
        &self,
        snapshot: Arc<LocalSnapshot>,
    ) -> Result<RestoredEtcd, OrchestrateError> {
        let mut journal = self.journal()?;
        let log = JournalLog::new(
            &mut journal,
            Arc::clone(&self.clock),
            Arc::clone(&self.reporter),
        );
        let progress = self.reporter.progress();
        let restoring = async {
            let pace = Pace::default();
            Ok(run(&self.nodes, &self.plan, snapshot, &log, progress, pace).await?)
        };
        or_cancelled(&self.cancel, restoring).await
    }

    /// Opens the journal of this restore, or begins it.
    fn journal(&self) -> Result<Journal, OrchestrateError> {
        let name = name(&self.plan);
        let path = self.journals.join(format!("{name}.journal"));
        if path.exists() {
            return Ok(Journal::open(&path)?);
        }
        let (snapshot, now) = (self.plan.snapshot.sha256, self.clock.now());
        Ok(Journal::begin(&self.journals, &name, snapshot, now)?)
    }
}

/// Returns the proof in the journal of this restore, if there is one.
fn proof(journals: &Path, plan: &EtcdPlan) -> Result<Option<Proof>, OrchestrateError> {
    let path = journals.join(format!("{}.journal", name(plan)));
    if !path.exists() {
        return Ok(None);
    }
    Ok(Journal::read_state(&path)?.proof)
}

/// Returns a name that identifies a restore: the snapshot, the cluster, the node.
fn name(plan: &EtcdPlan) -> String {
    let short = |digest: &Digest| digest.to_string().chars().take(12).collect::<String>();
    let cluster = plan.cluster.id_sha256.as_ref();
    let cluster = cluster.or_else(|| plan.cluster.authorities.first());
    format!(
        "{}-{}-{}",
        short(&plan.snapshot.sha256),
        cluster.map_or("unknown".to_owned(), short),
        plan.target.replace([':', '/'], "-")
    )
}
