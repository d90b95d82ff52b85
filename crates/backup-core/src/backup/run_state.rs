//! State of a run: what it knows of earlier runs, what it took, and what it stored.

use zeroize::Zeroizing;

use super::draft::Draft;
use super::history::{RunHistory, load_history};
use super::owner_marker::{StoredMarker, owner_marker};
use super::stages::{self, Observer, StageContext, StreamOutcome, UploadTotals};
use super::stored_component::StoredComponent;
use super::table::ChunkTable;
use super::{BackupError, Run};
use crate::chunk::{Chunker, ChunkerKind};
use crate::format::export::KubernetesFacts;
use crate::format::manifest::Finding;
use crate::id::ComponentName;
use crate::source::{ByteStream, ComponentReport};

/// Run in progress: what it recalled of earlier runs, what it took, and what it put.
pub(super) struct RunState<'r> {
    pub(super) run: &'r Run,
    pub(super) findings: Vec<Finding>,
    pub(super) parts: Vec<StoredComponent>,
    pub(super) missing: Vec<ComponentName>,
    pub(super) claimed: StoredMarker,
    pub(super) draft: Draft,
    pub(super) history: RunHistory,
    pub(super) spent: UploadTotals,
    pub(super) kubernetes: Option<KubernetesFacts>,
    context: StageContext,
}

impl<'r> RunState<'r> {
    /// Takes names instead of the plan: a file in the plan cannot be shared between threads while this waits.
    pub(super) async fn begin(
        run: &'r Run,
        names: &[ComponentName],
        missing: Vec<ComponentName>,
        mut findings: Vec<Finding>,
    ) -> Result<Self, BackupError> {
        let claimed = owner_marker(run).await?;
        let names: Vec<&ComponentName> = names.iter().collect();
        let history = load_history(run, &claimed, &names, &mut findings).await?;
        let (draft, sealer, spent) = Draft::begin(run, history.parent.as_ref()).await?;
        let context = StageContext {
            store: std::sync::Arc::clone(&run.store),
            sealer,
            epoch: draft.epoch_text(),
            progress: std::sync::Arc::clone(&run.progress),
            cancel: run.cancel.clone(),
        };
        Ok(Self {
            run,
            findings,
            parts: Vec::new(),
            missing,
            claimed,
            draft,
            history,
            spent,
            kubernetes: None,
            context,
        })
    }

    /// Runs one stream through the stages.
    pub(super) async fn stream<C, W>(
        &mut self,
        kind: ChunkerKind,
        chunker: C,
        watch: W,
        accept: impl Fn(&W::Verdict) -> Option<u64>,
        stream: ByteStream,
    ) -> Result<StreamOutcome<W::Verdict>, BackupError>
    where
        C: Chunker + Send + 'static,
        W: Observer,
    {
        let lent = ChunkTable::new(Zeroizing::new([0; 32]));
        let table = std::mem::replace(&mut self.history.table, lent);
        let (table, spent, outcome) =
            stages::run(&self.context, table, kind, chunker, watch, accept, stream).await?;
        self.history.table = table;
        self.spent = self.spent.plus(spent);
        Ok(outcome)
    }

    /// Returns what was taken so far, as the cluster is asked about it.
    pub(super) fn taken(&self) -> Vec<ComponentReport> {
        let taken = self.parts.iter().map(|part| ComponentReport {
            name: part.name.clone(),
            etcd: part.etcd.clone(),
            archive: part.archive.clone(),
        });
        taken.collect()
    }
}
