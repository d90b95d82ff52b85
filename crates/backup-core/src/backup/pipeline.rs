//! Pipeline of a run from its beginning to its commit.

use super::commit::commit;
use super::run_state::RunState;
use super::stored_component::StoredComponent;
use super::{BackupError, BackupPlan, NewRestorePoint, Origin, Run, archive, etcd};
use crate::causes;
use crate::format::export::ArchiveFacts;
use crate::format::manifest::{Finding, Severity};
use crate::id::ComponentName;
use crate::progress::Phase;

/// Takes each component that it can, records the others, and commits.
pub(super) async fn take(run: &Run, plan: BackupPlan<'_>) -> Result<NewRestorePoint, BackupError> {
    let names: Vec<ComponentName> = plan.parts.iter().map(|(name, _)| name.clone()).collect();
    let mut state = RunState::begin(run, &names, plan.missing, plan.findings).await?;
    run.progress.phase(Phase::Reading);
    let mut failures: Vec<(ComponentName, BackupError)> = Vec::new();
    for (name, origin) in plan.parts {
        match take_component(&mut state, &name, origin).await {
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
    if state.parts.is_empty() {
        return Err(nothing(failures, &state.findings));
    }
    for (name, failure) in failures {
        run.finding(&mut state.findings, not_taken(&name, &failure));
        state.missing.push(name);
    }
    if let Some(cluster) = plan.cluster {
        let etcd = state.parts.iter().find_map(|p| p.kube_system_uid.clone());
        if let Some(etcd) = etcd.filter(|etcd| *etcd != cluster.uid()) {
            let api = cluster.uid().to_owned();
            return Err(BackupError::TwoClusters { etcd, api });
        }
        run.progress.step("asking tenants", None);
        let taken = state.taken();
        let (facts, findings) = tokio::select! {
            () = run.cancel.cancelled() => return Err(BackupError::Cancelled),
            told = cluster.facts(&taken) => told,
        };
        state.kubernetes = Some(facts);
        for finding in findings {
            run.finding(&mut state.findings, finding);
        }
    }
    let kit = state.history.kit.as_ref();
    let kit = kit.and_then(|kit| kit.component.archive.as_ref());
    if let Some(finding) = key_at_rest(&state.parts, kit) {
        run.finding(&mut state.findings, finding);
    }
    commit(state).await
}

/// Takes one component.
async fn take_component(
    state: &mut RunState<'_>,
    name: &ComponentName,
    origin: Origin<'_>,
) -> Result<(), BackupError> {
    match origin {
        Origin::Snapshot(source) => etcd::snapshot(state, name, source).await,
        Origin::File { name: file, bytes } => etcd::import(state, name, file, bytes).await,
        Origin::Archive(source) => archive::archive(state, name, source).await,
        Origin::Nowhere(error) => Err(BackupError::Source(error)),
    }
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
    Finding::error(
        name.to_string(),
        format!("it was not taken: {}", causes::line(failure)),
        format!("fix the cause, then `backupd snapshot --component {name}`"),
    )
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
    Some(Finding::warning(
        "key of the encryption at rest",
        format!(
            "Secrets in the etcd snapshot are encrypted ({}), and the key for that is not in this \
             restore point",
            lacking.join(", ")
        ),
        "keep the machine configuration of a control plane node with it: an admin \
         talosconfig takes component `machine-config`, or add the file once with `backupd \
         kit add FILE`",
    ))
}
