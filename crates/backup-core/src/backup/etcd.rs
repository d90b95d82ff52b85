//! The component `etcd`: from the best member that gives a whole snapshot, or from a file.

use super::claim::{Claimed, claim};
use super::commit::{Draft, Part, commit};
use super::memory::{Memory, recall};
use super::stages::{self, Context, Outcome, Rejection, Spent, Stored, Watch};
use super::table::Table;
use super::{BackupError, Committed, Run};
use crate::chunk::Kind;
use crate::chunk::bbolt::BboltChunker;
use crate::etcd::{Inspector, SnapshotError, SnapshotFacts, TrailerCheck};
use crate::format::manifest::{EtcdFacts, Finding, Severity};
use crate::id::ComponentName;
use crate::source::{ByteStream, Candidate, SnapshotSource};

/// The media type of an etcd snapshot: a bbolt file and its SHA-256 trailer.
const MEDIA_TYPE: &str = "application/vnd.etcd.snapshot";

/// Checks a snapshot while it passes.
struct SnapshotWatch {
    trailer: TrailerCheck,
    pages: Inspector,
}

impl Watch for SnapshotWatch {
    type Verdict = Result<SnapshotFacts, SnapshotError>;

    fn push(&mut self, bytes: &[u8]) {
        self.trailer.push(bytes);
        self.pages.push(bytes);
    }

    fn finish(self) -> Self::Verdict {
        SnapshotFacts::join(self.trailer.finish(), self.pages.finish())
    }
}

/// A run under way: what it read of earlier ones and what it has spent.
struct Work {
    claimed: Claimed,
    draft: Draft,
    context: Context,
    memory: Memory,
    findings: Vec<Finding>,
    spent: Spent,
}

impl Work {
    async fn begin(run: &Run) -> Result<Self, BackupError> {
        let mut findings = Vec::new();
        let claimed = claim(run).await?;
        let memory = recall(run, &claimed, &ComponentName::etcd(), &mut findings).await?;
        let (draft, sealer, spent) = Draft::begin(run, memory.parent.as_ref()).await?;
        let context = Context {
            store: std::sync::Arc::clone(&run.store),
            sealer,
            epoch: draft.epoch_text(),
            progress: std::sync::Arc::clone(&run.progress),
            cancel: run.cancel.clone(),
        };
        Ok(Self {
            claimed,
            draft,
            context,
            memory,
            findings,
            spent,
        })
    }

    /// Runs one stream; `Ok(Err(_))` is a stream that was not taken.
    async fn attempt(
        &mut self,
        origin: &str,
        stream: ByteStream,
    ) -> Result<Result<(SnapshotFacts, Stored<()>), BackupError>, BackupError> {
        let table = std::mem::replace(
            &mut self.memory.table,
            Table::new(zeroize::Zeroizing::new([0; 32])),
        );
        let watch = SnapshotWatch {
            trailer: TrailerCheck::new(),
            pages: Inspector::new(),
        };
        let accept =
            |v: &Result<SnapshotFacts, SnapshotError>| v.as_ref().ok().map(|f| f.plain_size);
        let chunker = BboltChunker::new();
        let (table, spent, outcome) = stages::run(
            &self.context,
            table,
            Kind::Bbolt,
            chunker,
            watch,
            accept,
            stream,
        )
        .await?;
        self.memory.table = table;
        self.spent = self.spent.plus(spent);
        let unusable = |source| BackupError::Snapshot {
            origin: origin.to_owned(),
            source,
        };
        Ok(match outcome {
            Outcome::Stored(Stored {
                verdict,
                seen,
                recipes,
            }) => match verdict {
                Ok(facts) => Ok((
                    facts,
                    Stored {
                        verdict: (),
                        seen,
                        recipes,
                    },
                )),
                Err(e) => Err(unusable(e)),
            },
            Outcome::Rejected(Rejection::Verdict(Err(e))) => Err(unusable(e)),
            Outcome::Rejected(Rejection::Verdict(Ok(_))) => Err(BackupError::Stage(
                std::io::Error::other("a good snapshot was not stored"),
            )),
            Outcome::Rejected(Rejection::Source(e)) => Err(BackupError::Source(e)),
        })
    }

    async fn commit(
        self,
        run: &Run,
        etcd: EtcdFacts,
        facts: &SnapshotFacts,
        stored: Stored<()>,
    ) -> Result<Committed, BackupError> {
        let part = Part {
            name: ComponentName::etcd(),
            media_type: MEDIA_TYPE.to_owned(),
            plain_bytes: facts.plain_size,
            plain_sha256: facts.sha256,
            seen: stored.seen,
            recipes: stored.recipes,
            etcd: Some(etcd),
            kube_system_uid: facts.kube_system_uid.clone(),
        };
        commit(
            run,
            self.draft,
            &self.claimed,
            self.memory,
            part,
            self.findings,
            self.spent,
        )
        .await
    }
}

pub(super) async fn snapshot(
    run: &Run,
    source: &dyn SnapshotSource,
) -> Result<Committed, BackupError> {
    run.progress.step("asking the members", None);
    let candidates = cancellable(run, source.candidates())
        .await?
        .map_err(BackupError::Source)?;
    let mut work = Work::begin(run).await?;
    let mut attempts: Vec<String> = Vec::new();
    let mut last = None;
    for candidate in &candidates {
        let failure = match try_member(run, source, candidate, &mut work).await? {
            Ok((facts, stored)) => {
                for attempt in &attempts {
                    // It was told when it happened.
                    work.findings.push(passed_over(attempt));
                }
                for warning in &candidate.warnings {
                    run.finding(&mut work.findings, member_warning(candidate, warning));
                }
                let etcd = etcd_facts(&facts, candidate);
                return work.commit(run, etcd, &facts, stored).await;
            }
            Err(failure) => failure,
        };
        let give_up = matches!(&failure, BackupError::Source(e) if !e.try_other_member);
        let text = why(&failure);
        run.progress.note(&text);
        attempts.push(text);
        last = Some(failure);
        if give_up {
            break;
        }
    }
    match (last, attempts.len()) {
        (Some(only), 1) => Err(only),
        (Some(_), _) => Err(BackupError::NoMember { attempts }),
        (None, _) => Err(BackupError::Source(crate::source::SourceError {
            operation: "the source has no member to try".to_owned(),
            try_other_member: false,
            source: None,
        })),
    }
}

async fn try_member(
    run: &Run,
    source: &dyn SnapshotSource,
    candidate: &Candidate,
    work: &mut Work,
) -> Result<Result<(SnapshotFacts, Stored<()>), BackupError>, BackupError> {
    run.progress
        .step(&format!("etcd snapshot from {}", candidate.node), None);
    match cancellable(run, source.open(candidate)).await? {
        Ok(stream) => work.attempt(&candidate.node, stream).await,
        Err(e) => Ok(Err(BackupError::Source(e))),
    }
}

async fn cancellable<T>(run: &Run, work: impl Future<Output = T>) -> Result<T, BackupError> {
    tokio::select! {
        () = run.cancel.cancelled() => Err(BackupError::Cancelled),
        done = work => Ok(done),
    }
}

pub(super) async fn import(
    run: &Run,
    origin: &str,
    file: ByteStream,
) -> Result<Committed, BackupError> {
    let mut work = Work::begin(run).await?;
    run.progress.step(&format!("importing {origin}"), None);
    let (facts, stored) = work.attempt(origin, file).await??;
    let from_file = Candidate {
        node: "import".to_owned(),
        member_name: None,
        member_id: None,
        etcd_version: None,
        talos_version: None,
        leader: None,
        warnings: Vec::new(),
    };
    let etcd = etcd_facts(&facts, &from_file);
    work.commit(run, etcd, &facts, stored).await
}

fn etcd_facts(facts: &SnapshotFacts, from: &Candidate) -> EtcdFacts {
    EtcdFacts {
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        total_keys: facts.total_keys,
        page_size: facts.page_size,
        trailer: Some(facts.trailer),
        storage_version: facts.storage_version.clone(),
        encryption_prefixes: facts.encryption_prefixes.iter().cloned().collect(),
        plain_secrets: facts.plain_secrets,
        origin: from.node.clone(),
        member_name: from.member_name.clone(),
        member_id: from.member_id.map(|id| format!("{id:016x}")),
        etcd_version: from.etcd_version.clone(),
        talos_version: from.talos_version.clone(),
    }
}

fn passed_over(attempt: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: "etcd members".to_owned(),
        cause: format!("a member gave no usable snapshot, another one did: {attempt}"),
        remedy: "look at that member: `talosctl etcd status`, `talosctl service etcd`".to_owned(),
    }
}

fn member_warning(candidate: &Candidate, warning: &str) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: format!("etcd member {}", candidate.node),
        cause: warning.to_owned(),
        remedy: "look at that member: `talosctl etcd status`, `talosctl etcd alarm list`"
            .to_owned(),
    }
}

/// Which member gave no usable snapshot, and why, in one line.
fn why(failure: &BackupError) -> String {
    match failure {
        BackupError::Snapshot { origin, source } => format!("{origin}: {}", chain(source)),
        // The source names the node itself.
        BackupError::Source(source) => chain(source),
        other => chain(other),
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
