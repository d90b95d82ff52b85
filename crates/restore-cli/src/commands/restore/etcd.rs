//! Command `restore-cli restore etcd`, step 1: it restores etcd from its snapshot over the Talos API.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings;
use backup_cli::output::Format;
use backup_cli::packing::Packing;
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::etcd::SnapshotError;
use backup_core::id::ComponentName;
use backup_core::read::{LocalSnapshot, LocalSnapshotError, unlock};
use cluster_restore::etcd::{
    EtcdPlan, EtcdRequest, Pace, RestoredEtcd, SnapshotFacts, restart_kubelets, restarts,
    watch_others,
};
use cluster_restore::orchestrate::{EtcdRestore, LATEST, Requirement};
use cluster_restore::plan::Danger;

use self::report::{EtcdPlanReport, EtcdRestoreReport};
use crate::commands::recover::{JournalFlags, TargetFlags, restore_failed};
use crate::commands::{OpenedStore, open};
use crate::flags::{ReadFlags, ScratchFlags};

mod report;

/// Restore etcd onto one control plane node, over the Talos API
///
/// Looks at every node first and shows what it found; fetches and verifies the whole snapshot before
/// anything is uploaded; then waits until etcd runs, is healthy, and gives its revision back. May be
/// run again after any interruption. Never wipes anything: where that is needed, it prints the
/// command and what it destroys.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The restore point: an id, the beginning of one, or `latest`, the newest that has etcd
    #[arg(
        value_name = "RESTORE-POINT",
        required_unless_present_any = ["snapshot", "raw_db"]
    )]
    restore_point: Option<String>,
    /// Restore this file instead, a snapshot as `fetch` wrote it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["restore_point", "raw_db"])]
    snapshot: Option<PathBuf>,
    /// Restore this copy of a member's `member/snap/db` instead, whose bytes cannot be verified
    #[arg(long, value_name = "FILE", conflicts_with = "restore_point")]
    raw_db: Option<PathBuf>,
    /// Do not ask; --target must name the cluster
    #[arg(long, requires = "target")]
    yes: bool,
    /// The name of the cluster that is restored, as the plan shows it
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Continue in spite of this danger: `other-lineage`, where nodes were set up again;
    /// `unknown-cluster`, where it is not known whose the snapshot is; `unseen-node`, where a node
    /// cannot be looked at
    #[arg(long, value_name = "DANGER", value_delimiter = ',', value_parser = danger)]
    allow: Vec<Danger>,
    /// Restart the kubelets of all nodes that are named, when etcd is back
    #[arg(long)]
    restart_kubelets: bool,
    #[command(flatten)]
    journals: JournalFlags,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    talos: TargetFlags,
    #[command(flatten)]
    read: ReadFlags,
}

/// Parses a danger that this step knows by name.
fn danger(text: &str) -> Result<Danger, String> {
    let known = [
        Danger::OtherLineage,
        Danger::UnknownCluster,
        Danger::UnseenNode,
    ];
    let named = known.into_iter().find(|danger| danger.name() == text);
    named.ok_or_else(|| format!("want one of: {}", known.map(Danger::name).join(", ")))
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let source = frame.or_cancelled(source(args, frame)).await?;
    let restore = frame.or_cancelled(check(args, &source, frame)).await?;
    let plan = restore.plan();
    show(plan, frame)?;
    if !plan.can_run() {
        return Err(blocked(plan));
    }
    if let Some(restored) = plan.holds.clone() {
        frame
            .terminal
            .status("etcd is up already with the data of this restore: there is nothing to do");
        return frame
            .or_cancelled(after(args, &restore, restored, frame))
            .await;
    }
    confirm(args, plan, frame)?;
    let snapshot = Arc::new(hold(args, source, frame).await?);
    let restored = restore.run(snapshot).await.map_err(restore_failed)?;
    frame
        .or_cancelled(after(args, &restore, restored, frame))
        .await
}

/// Location of the snapshot.
enum SnapshotSource {
    Stored(Box<OpenedStore>, Box<RestorePoint>),
    File(Box<LocalSnapshot>),
}

/// Finds the snapshot. A file is quick to verify, so it is verified before the plan, which then shows its
/// content.
async fn source(args: &Args, frame: &Frame) -> Result<SnapshotSource, Failure> {
    if let Some(file) = &args.raw_db {
        frame.terminal.warn(
            "the bytes of a raw copy of a db file cannot be verified; take a snapshot of a restore \
             point if there is one",
        );
        let held = LocalSnapshot::raw_db(file).await;
        return Ok(SnapshotSource::File(Box::new(
            held.map_err(|e| not_held(file, e))?,
        )));
    }
    if let Some(file) = &args.snapshot {
        let held = LocalSnapshot::file(file).await;
        let held = held.map_err(|e| not_held(file, e))?;
        return Ok(SnapshotSource::File(Box::new(held)));
    }
    let opened = open(&args.read.given(), frame).await?;
    let wanted = args.restore_point.as_deref().unwrap_or(LATEST);
    let needs = Requirement::Component(ComponentName::etcd());
    let point = opened.find(wanted, &needs).await?;
    Ok(SnapshotSource::Stored(Box::new(opened), Box::new(point)))
}

/// Makes the failure for a file that is not a sound snapshot. The file may be packed, or, without its
/// trailer, a copy of a db file.
fn not_held(file: &Path, error: LocalSnapshotError) -> Failure {
    let unsound = matches!(&error, LocalSnapshotError::Snapshot { .. });
    if let Some(packing) = Packing::of_file(file).filter(|_| unsound) {
        return packing.refused(file, "give snapshot.db instead");
    }
    let bare = matches!(
        &error,
        LocalSnapshotError::Snapshot {
            source: SnapshotError::NoTrailer { .. },
            ..
        }
    );
    let failure = Failure::from(error);
    if bare {
        return failure
            .hint("if it is a copy of a member's `member/snap/db`, give it as --raw-db FILE");
    }
    failure
}

async fn check(
    args: &Args,
    source: &SnapshotSource,
    frame: &Frame,
) -> Result<EtcdRestore, Failure> {
    let snapshot = match source {
        SnapshotSource::File(held) => SnapshotFacts::from(held.facts()),
        SnapshotSource::Stored(_, point) => SnapshotFacts::of(point).ok_or_else(|| {
            let told = format!("restore point {} has no component `etcd`", point.entry.id);
            Failure::message(Exit::NotFound, told).hint("choose one from `restore-cli list`")
        })?,
    };
    let nodes = args.talos.nodes(&args.read, frame).await?;
    let wanted = EtcdRequest {
        target: args.talos.node.clone(),
        snapshot,
        allow: args.allow.iter().copied().collect(),
        proof: None,
    };
    let checked = EtcdRestore::check(
        wanted,
        (nodes, &args.journals.journals),
        (Arc::clone(&frame.clock), Arc::new(frame.terminal.clone())),
        frame.cancel.clone(),
    );
    checked.await.map_err(restore_failed)
}

/// Shows the plan on stderr for the person. Data goes to stdout once, at the end.
fn show(plan: &EtcdPlan, frame: &Frame) -> Result<(), Failure> {
    let text = backup_cli::output::render(&EtcdPlanReport::of(plan), Format::Table, None)?;
    frame.terminal.status(&text);
    Ok(())
}

fn blocked(plan: &EtcdPlan) -> Failure {
    let causes = plan.blockers.iter();
    let causes: Vec<_> = causes
        .map(|f| format!("{}: {}", f.object, f.cause))
        .collect();
    let told = format!("etcd must not be restored now: {}", causes.join("; "));
    let failure = Failure::message(Exit::Refused, told);
    let remedies = plan.blockers.iter();
    remedies.fold(failure, |failure, finding| {
        failure.hint(format!("{}: {}", finding.object, finding.remedy))
    })
}

fn confirm(args: &Args, plan: &EtcdPlan, frame: &Frame) -> Result<(), Failure> {
    let name = plan.name();
    if let Some(target) = &args.target
        && target != name
    {
        let told = format!("--target says {target}, and the nodes are of cluster {name}");
        let hint = "check --talosconfig, --context and --nodes";
        return Err(Failure::message(Exit::Refused, told).hint(hint));
    }
    if args.yes {
        return Ok(());
    }
    let question = format!(
        "Restore etcd of cluster {name} onto node {}, as of revision {}?",
        plan.target, plan.snapshot.revision
    );
    let flags = format!("--yes --target {name}");
    frame.terminal.confirm_by_name(&question, name, &flags)
}

/// Fetches and verifies the whole snapshot before anything is uploaded.
async fn hold(
    args: &Args,
    source: SnapshotSource,
    frame: &Frame,
) -> Result<LocalSnapshot, Failure> {
    let (opened, point) = match source {
        SnapshotSource::File(held) => return Ok(*held),
        SnapshotSource::Stored(opened, point) => (opened, point),
    };
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let unlocked = async { Ok(unlock(&opened.store, &point, &identities).await?) };
    let unlocked = frame.or_cancelled(unlocked).await?;
    let (component, scratch) = (ComponentName::etcd(), args.scratch.folder(frame));
    let held = LocalSnapshot::fetch(
        Arc::clone(&opened.store),
        &point,
        Arc::new(unlocked),
        &component,
        &scratch,
        frame.terminal.progress(),
        frame.cancel.clone(),
    );
    match held.await {
        Ok(held) => Ok(held),
        Err(error) => {
            let of = (point.as_ref(), &identities);
            let again = "restore-cli restore etcd";
            Err(opened.read_failure(error, of, &scratch, again).await)
        }
    }
}

/// Waits for the other nodes to join, restarts kubelets, and reports the result.
async fn after(
    args: &Args,
    restore: &EtcdRestore,
    restored: RestoredEtcd,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let (nodes, plan) = (restore.nodes(), restore.plan());
    if plan.others().next().is_some() {
        frame
            .terminal
            .status("waiting for the other control plane nodes to join");
    }
    let joined = watch_others(nodes, plan, Pace::default()).await;
    let mut list = restarts(plan);
    if args.restart_kubelets {
        frame.terminal.status("restarting kubelets");
        restart_kubelets(nodes, &mut list).await;
    }
    let report = EtcdRestoreReport::new(plan, restored, joined, list);
    frame.terminal.emit(&report)?;
    Ok(report.exit())
}

/// Returns the findings as they are printed.
fn printed(plan: &EtcdPlan) -> Vec<findings::Finding> {
    let all = plan.blockers.iter().chain(&plan.warnings);
    all.map(findings::Finding::from).collect()
}
