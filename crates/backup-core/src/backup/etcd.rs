//! Components that are etcd snapshots, from the best member that gives a whole one or from a file.

use super::run_state::RunState;
use super::stages::{Observer, StoredStream, StreamOutcome, StreamRejection};
use super::stored_component::StoredComponent;
use super::{BackupError, Run};
use crate::audit;
use crate::causes;
use crate::chunk::ChunkerKind;
use crate::chunk::bbolt::BboltChunker;
use crate::etcd::{Inspector, SnapshotError, SnapshotFacts, TrailerCheck};
use crate::format::manifest::{EtcdFacts, Finding, Severity};
use crate::id::ComponentName;
use crate::source::{ByteStream, Candidate, Members, SnapshotSource};

/// Media type of an etcd snapshot: a bbolt file and its SHA-256 trailer.
const MEDIA_TYPE: &str = "application/vnd.etcd.snapshot";

/// Watch that checks a snapshot while it streams.
struct SnapshotObserver {
    trailer: TrailerCheck,
    pages: Inspector,
}

impl Observer for SnapshotObserver {
    type Verdict = Result<SnapshotFacts, SnapshotError>;

    fn push(&mut self, bytes: &[u8]) {
        self.trailer.push(bytes);
        self.pages.push(bytes);
    }

    fn finish(self) -> Self::Verdict {
        SnapshotFacts::join(self.trailer.finish(), self.pages.finish())
    }
}

pub(super) async fn snapshot(
    work: &mut RunState<'_>,
    name: &ComponentName,
    source: &dyn SnapshotSource,
) -> Result<(), BackupError> {
    let run = work.run;
    run.progress.step("asking the members", None);
    let members = cancellable(run, source.members())
        .await?
        .map_err(BackupError::Source)?;
    let mut attempts: Vec<(&str, String)> = Vec::new();
    let mut last = None;
    for candidate in &members.candidates {
        let failure = match try_member(work, name, source, candidate).await? {
            Ok((facts, stored)) => {
                for (node, attempt) in &attempts {
                    // The failure was reported when it happened.
                    work.findings.push(skipped_member(name, node, attempt));
                }
                let mut findings = audit::torn(name, &facts.torn, Severity::Error);
                findings.extend(unusable_members(name, &members));
                findings.extend(lost_members(run, name, source, &members).await?);
                for finding in findings {
                    run.finding(&mut work.findings, finding);
                }
                work.parts.push(part(name, &facts, candidate, stored));
                return Ok(());
            }
            Err(failure) => failure,
        };
        let give_up = matches!(&failure, BackupError::Source(e) if !e.try_other_member);
        let text = why(&failure);
        run.progress.note(&text);
        attempts.push((&candidate.node, text));
        last = Some(failure);
        if give_up {
            break;
        }
    }
    match (last, attempts.len()) {
        (Some(only), 1) => Err(only),
        (Some(_), _) => Err(BackupError::NoMember {
            attempts: attempts.into_iter().map(|(_, text)| text).collect(),
        }),
        (None, _) => Err(BackupError::Source(crate::source::SourceError {
            operation: "the source has no member to try".to_owned(),
            try_other_member: false,
            source: None,
        })),
    }
}

/// Takes the snapshot of one member. `Ok(Err(_))` means that the member gave no usable snapshot.
async fn try_member(
    work: &mut RunState<'_>,
    name: &ComponentName,
    source: &dyn SnapshotSource,
    candidate: &Candidate,
) -> Result<Result<(SnapshotFacts, StoredStream<()>), BackupError>, BackupError> {
    let what = format!("{name} snapshot from {}", candidate.node);
    work.run.progress.step(&what, None);
    match cancellable(work.run, source.open(candidate)).await? {
        Ok(stream) => attempt(work, &candidate.node, stream).await,
        Err(e) => Ok(Err(BackupError::Source(e))),
    }
}

async fn cancellable<T>(run: &Run, work: impl Future<Output = T>) -> Result<T, BackupError> {
    tokio::select! {
        () = run.cancel.cancelled() => Err(BackupError::Cancelled),
        done = work => Ok(done),
    }
}

/// Runs one stream through the stages. `Ok(Err(_))` means that the stream was not taken.
async fn attempt(
    work: &mut RunState<'_>,
    origin: &str,
    stream: ByteStream,
) -> Result<Result<(SnapshotFacts, StoredStream<()>), BackupError>, BackupError> {
    let watch = SnapshotObserver {
        trailer: TrailerCheck::new(),
        pages: Inspector::new(),
    };
    let accept = |v: &Result<SnapshotFacts, SnapshotError>| v.as_ref().ok().map(|f| f.plain_size);
    let chunker = BboltChunker::new();
    let outcome = work
        .stream(ChunkerKind::Bbolt, chunker, watch, accept, stream)
        .await?;
    let unusable = |source| BackupError::Snapshot {
        origin: origin.to_owned(),
        source,
    };
    Ok(match outcome {
        StreamOutcome::Stored(StoredStream {
            verdict,
            seen,
            recipes,
        }) => match verdict {
            Ok(facts) => Ok((
                facts,
                StoredStream {
                    verdict: (),
                    seen,
                    recipes,
                },
            )),
            Err(e) => Err(unusable(e)),
        },
        StreamOutcome::Rejected(StreamRejection::Verdict(Err(e))) => Err(unusable(e)),
        StreamOutcome::Rejected(StreamRejection::Verdict(Ok(_))) => Err(BackupError::Stage(
            std::io::Error::other("a good snapshot was not stored"),
        )),
        StreamOutcome::Rejected(StreamRejection::Source(e)) => Err(BackupError::Source(e)),
    })
}

pub(super) async fn import(
    work: &mut RunState<'_>,
    name: &ComponentName,
    origin: &str,
    file: ByteStream,
) -> Result<(), BackupError> {
    let what = format!("importing {origin}");
    work.run.progress.step(&what, None);
    let (facts, stored) = attempt(work, origin, file).await??;
    for finding in audit::torn(name, &facts.torn, Severity::Error) {
        work.run.finding(&mut work.findings, finding);
    }
    let from_file = Candidate::at("import");
    work.parts.push(part(name, &facts, &from_file, stored));
    Ok(())
}

fn part(
    name: &ComponentName,
    facts: &SnapshotFacts,
    from: &Candidate,
    stored: StoredStream<()>,
) -> StoredComponent {
    StoredComponent {
        name: name.clone(),
        media_type: MEDIA_TYPE.to_owned(),
        plain_bytes: facts.plain_size,
        plain_sha256: facts.sha256,
        seen: stored.seen,
        recipes: stored.recipes,
        etcd: Some(etcd_facts(facts, from)),
        archive: None,
        kube_system_uid: facts.kube_system_uid.clone(),
    }
}

fn etcd_facts(facts: &SnapshotFacts, from: &Candidate) -> EtcdFacts {
    EtcdFacts {
        revision: facts.revision,
        compact_revision: facts.compact_revision,
        total_keys: facts.total_keys,
        content: facts.content,
        page_size: facts.page_size,
        trailer: Some(facts.trailer),
        storage_version: facts.storage_version.clone(),
        encryption_prefixes: facts.encryption_prefixes.iter().cloned().collect(),
        plain_secrets: facts.plain_secrets,
        prefixes: facts.contents.prefixes.clone(),
        more_prefixes: facts.contents.more_prefixes,
        users: facts.contents.users.clone(),
        roles: facts.contents.roles.clone(),
        more_names: facts.contents.more_names,
        auth_enabled: facts.contents.auth_enabled,
        origin: from.node.clone(),
        member_name: from.member_name.clone(),
        member_id: from.member_id.map(|id| format!("{id:016x}")),
        etcd_version: from.etcd_version.clone(),
        talos_version: from.talos_version.clone(),
        talos_authorities: from.talos_authorities.clone(),
    }
}

fn skipped_member(name: &ComponentName, node: &str, attempt: &str) -> Finding {
    Finding::warning(
        of_member(name, node),
        format!("a member gave no usable snapshot, another one did: {attempt}"),
        look_at(name),
    )
}

/// Returns the object of a finding about one member, named by the member's own address.
fn of_member(name: &ComponentName, node: &str) -> String {
    format!("{name}{MEMBER}{node}")
}

/// Returns a finding for each problem of the members and of their configuration. Each member has its own
/// address, whichever member gave the snapshot.
fn unusable_members(name: &ComponentName, members: &Members) -> Vec<Finding> {
    let finding = |object: String, cause: &str| Finding::warning(object, cause, look_at(name));
    let tried = members.candidates.iter();
    let tried = tried.flat_map(|c| c.warnings.iter().map(|cause| (c.node.as_str(), cause)));
    let others = members.unwell.iter().map(|m| (m.node.as_str(), &m.cause));
    let own = tried
        .chain(others)
        .map(|(node, cause)| finding(of_member(name, node), cause));
    let shared = members.warnings.iter();
    let shared = shared.map(|cause| finding(format!("{name} members"), cause));
    own.chain(shared)
        .chain(members.findings.iter().cloned())
        .collect()
}

/// Checks the members again after the snapshot: a member in a crash loop answers some of the time.
async fn lost_members(
    run: &Run,
    name: &ComponentName,
    source: &dyn SnapshotSource,
    before: &Members,
) -> Result<Vec<Finding>, BackupError> {
    let gone = cancellable(run, source.lost_members(before))
        .await?
        .into_iter();
    let gone = gone.map(|member| Finding::warning(
        of_member(name, &member.node),
        format!(
            "it was healthy before the snapshot and is not healthy after it, so it may crash again and \
             again: {}",
            member.cause
        ),
        look_at(name),
    ));
    Ok(gone.collect())
}

/// Separator between a component and its member in the object of a finding.
const MEMBER: &str = " member ";

/// Reports whether the object of a finding is a member.
pub(super) fn is_member(object: &str) -> bool {
    object.contains(MEMBER)
}

/// Returns the remedy that explains how to inspect a member.
fn look_at(name: &ComponentName) -> &'static str {
    if name.datastore_name().is_some() {
        "look at that member: `etcdctl endpoint status`, `etcdctl alarm list`"
    } else {
        "look at that member: `talosctl etcd status`, `talosctl service etcd`, `talosctl etcd alarm \
         list`"
    }
}

/// Returns which member gave no usable snapshot, and why, in one line.
fn why(failure: &BackupError) -> String {
    match failure {
        BackupError::Snapshot { origin, source } => format!("{origin}: {}", causes::line(source)),
        // The source names the node already.
        BackupError::Source(source) => causes::line(source),
        other => causes::line(other),
    }
}
