//! Run from its beginning to its commit: takes each component that it can, and records the others.

use zeroize::Zeroizing;

use super::claim::{StoredClaim, claim};
use super::commit::{Draft, commit};
use super::history::{RunHistory, load_history};
use super::stages::{self, Observer, StageContext, StreamOutcome, UploadTotals};
use super::stored_component::StoredComponent;
use super::table::ChunkTable;
use super::{BackupError, BackupPlan, NewRestorePoint, Origin, Run, archive, etcd};
use crate::causes;
use crate::chunk::{Chunker, ChunkerKind};
use crate::format::export::{ArchiveFacts, KubernetesFacts};
use crate::format::manifest::{Finding, Severity};
use crate::id::ComponentName;
use crate::progress::Phase;
use crate::source::{ByteStream, ComponentReport};

/// Run in progress: what it recalled of earlier runs, what it took, and what it put.
pub(super) struct RunState<'r> {
    pub(super) run: &'r Run,
    pub(super) findings: Vec<Finding>,
    pub(super) parts: Vec<StoredComponent>,
    pub(super) missing: Vec<ComponentName>,
    pub(super) claimed: StoredClaim,
    pub(super) draft: Draft,
    pub(super) history: RunHistory,
    pub(super) spent: UploadTotals,
    pub(super) kubernetes: Option<KubernetesFacts>,
    context: StageContext,
}

impl<'r> RunState<'r> {
    /// Takes names instead of the plan: a file in the plan cannot be shared between threads while this waits.
    async fn begin(
        run: &'r Run,
        names: &[ComponentName],
        missing: Vec<ComponentName>,
        mut findings: Vec<Finding>,
    ) -> Result<Self, BackupError> {
        let claimed = claim(run).await?;
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

    async fn part(&mut self, name: &ComponentName, origin: Origin<'_>) -> Result<(), BackupError> {
        match origin {
            Origin::Snapshot(source) => etcd::snapshot(self, name, source).await,
            Origin::File { name: file, bytes } => etcd::import(self, name, file, bytes).await,
            Origin::Archive(source) => archive::archive(self, name, source).await,
            Origin::Nowhere(error) => Err(BackupError::Source(error)),
        }
    }

    fn taken(&self) -> Vec<ComponentReport> {
        let taken = self.parts.iter().map(|part| ComponentReport {
            name: part.name.clone(),
            etcd: part.etcd.clone(),
            archive: part.archive.clone(),
        });
        taken.collect()
    }
}

pub(super) async fn take(run: &Run, plan: BackupPlan<'_>) -> Result<NewRestorePoint, BackupError> {
    let names: Vec<ComponentName> = plan.parts.iter().map(|(name, _)| name.clone()).collect();
    let mut work = RunState::begin(run, &names, plan.missing, plan.findings).await?;
    run.progress.phase(Phase::Reading);
    let mut failures: Vec<(ComponentName, BackupError)> = Vec::new();
    for (name, origin) in plan.parts {
        match work.part(&name, origin).await {
            Ok(()) => {}
            // A source that fails costs only its own component; a store that fails costs the run.
            Err(
                e @ (BackupError::Source(_)
                | BackupError::NoMember { .. }
                | BackupError::Snapshot { .. }),
            ) => failures.push((name, e)),
            Err(e) => return Err(e),
        }
    }
    if work.parts.is_empty() {
        return Err(nothing(failures, &work.findings));
    }
    for (name, failure) in failures {
        run.finding(&mut work.findings, not_taken(&name, &failure));
        work.missing.push(name);
    }
    if let Some(cluster) = plan.cluster {
        let etcd = work.parts.iter().find_map(|p| p.kube_system_uid.clone());
        if let Some(etcd) = etcd.filter(|etcd| *etcd != cluster.uid()) {
            let api = cluster.uid().to_owned();
            return Err(BackupError::TwoClusters { etcd, api });
        }
        run.progress.step("asking tenants", None);
        let taken = work.taken();
        let (facts, findings) = tokio::select! {
            () = run.cancel.cancelled() => return Err(BackupError::Cancelled),
            told = cluster.facts(&taken) => told,
        };
        work.kubernetes = Some(facts);
        for finding in findings {
            run.finding(&mut work.findings, finding);
        }
    }
    let kit = work.history.kit.as_ref();
    let kit = kit.and_then(|kit| kit.component.archive.as_ref());
    if let Some(finding) = key_at_rest(&work.parts, kit) {
        run.finding(&mut work.findings, finding);
    }
    commit(work).await
}

/// Returns the error if no component was taken: the failures of the run, and those from before it.
fn nothing(mut failures: Vec<(ComponentName, BackupError)>, findings: &[Finding]) -> BackupError {
    let known = findings.iter().filter(|f| f.severity == Severity::Error);
    let known = known.map(|finding| format!("{}: {}", finding.object, finding.cause));
    let known: Vec<String> = known.collect();
    // One cause for all components, such as an unusable talosconfig, is one error.
    failures.dedup_by(|(_, b), (_, a)| causes::line(a) == causes::line(b));
    match failures.pop() {
        Some((_, only)) if failures.is_empty() && known.is_empty() => only,
        last => {
            failures.extend(last);
            BackupError::Nothing { failures, known }
        }
    }
}

fn not_taken(name: &ComponentName, failure: &BackupError) -> Finding {
    Finding {
        severity: Severity::Error,
        object: name.to_string(),
        cause: format!("it was not taken: {}", causes::line(failure)),
        remedy: format!("fix the cause, then `backupd snapshot --component {name}`"),
    }
}

/// Returns a finding if the restore point lacks a key that etcd's Secrets are encrypted with.
fn key_at_rest(parts: &[StoredComponent], kit: Option<&ArchiveFacts>) -> Option<Finding> {
    let etcd = parts.iter().find(|p| p.name == ComponentName::etcd())?;
    let prefixes = &etcd.etcd.as_ref()?.encryption_prefixes;
    let held: Vec<&String> = parts
        .iter()
        .filter_map(|p| p.archive.as_ref())
        .chain(kit)
        .flat_map(|a| &a.encryption_prefixes)
        .collect();
    let lacking: Vec<&str> = prefixes
        .iter()
        .filter(|p| !held.iter().any(|h| p.starts_with(h.as_str())))
        .map(String::as_str)
        .collect();
    if lacking.is_empty() {
        return None;
    }
    Some(Finding {
        severity: Severity::Warning,
        object: "key of the encryption at rest".to_owned(),
        cause: format!(
            "Secrets in the etcd snapshot are encrypted ({}), and the key for that is not in this \
             restore point",
            lacking.join(", ")
        ),
        remedy: "keep the machine configuration of a control plane node with it: an admin \
                 talosconfig takes component `machine-config`, or add the file once with `backupd \
                 kit add FILE`"
            .to_owned(),
    })
}
