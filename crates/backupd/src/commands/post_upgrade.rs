//! Command `backupd post-upgrade`, which reports the changes that an upgrade made.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use backup_cli::config::Config;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, ReadPolicy, RestorePoint};
use backup_core::crypt::Trust;
use backup_core::format::manifest::{self, Manifest};
use backup_core::store::Store;
use cluster_client::kube::TenantState;
use cluster_restore::tenants;
use serde::Serialize;

use super::upgrade::{BEFORE, UpgradeFlags, Versions};
use crate::run_builder::Note;
use crate::run_builder::report::RunReport;
use crate::run_builder::sources::Sources;
use crate::run_builder::{RunContext, prepare_by};

/// Number of restore points that are searched for the one before the upgrade, newest first.
const LOOK_BACK: usize = 200;

/// Take a restore point after an upgrade and say what differs from the one before
///
/// Compares tenants, versions, components and the number of objects of each kind with the newest
/// restore point of `backupd pre-upgrade`. `restore-cli diff` shows those who hold a key which
/// objects changed, and how.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Compare with this restore point [default: the newest of `backupd pre-upgrade`]
    #[arg(long, value_name = "RESTORE-POINT")]
    against: Option<String>,
    #[command(flatten)]
    reach: UpgradeFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let config = Config::load(&args.reach.given(), frame.clock.now())?;
    let context = RunContext::of(frame);
    let mut run = prepare_by(frame, &config, &Note::default(), &context).await?;
    let key = config.need_signing_key()?;
    let view = ReadPolicy {
        trust: Trust::Keys(vec![key.public().clone()]),
        now: frame.clock.now(),
    };
    let (before, mut sources) = frame
        .or_cancelled(async {
            let before = find(&run.store, &view, args.against.as_deref()).await?;
            Ok((before, Sources::open(&config, &[], &context).await))
        })
        .await?;
    let id = before.entry.id.to_string();
    run.reason = Some(format!("post-upgrade, after {id}"));
    let committed = run.take(sources.plan()).await?;
    let objects = run.check(&committed).await?;
    tracing::debug!(objects, "the store has what was put");
    drop((run, context));
    let taken = RunReport::of(&committed);
    let found = compare(&before.manifest, &committed.manifest);
    let after = PostUpgradeReport {
        compared_with: id.clone(),
        restore_point: committed.id.to_string(),
        before: Versions::of(&before.manifest),
        after: Versions::of(&committed.manifest),
        findings: findings::printed(&found),
    };
    frame.terminal.emit(&after)?;
    let now = &after.restore_point;
    frame.terminal.status(&format!(
        "See each change with `restore-cli diff {id} {now}`."
    ));
    let worst = findings::worst(&after.findings);
    Ok(match (taken.conclude(frame), worst) {
        (Exit::Complete, worst) => findings::exit_of(worst),
        (partial, _) => partial,
    })
}

async fn find(
    store: &Arc<dyn Store>,
    view: &ReadPolicy,
    against: Option<&str>,
) -> Result<RestorePoint, Failure> {
    let catalog = Catalog::new(Arc::clone(store));
    if let Some(wanted) = against {
        let entry = catalog.named(wanted, &view.trust).await?;
        return Ok(catalog.trusted(&entry, &view.trust).await?);
    }
    let mut looked = 0_usize;
    // A restore point that is damaged, or not signed by this key, is left to an audit.
    let (found, _) = catalog
        .look_back(view, None, |point| {
            looked = looked.saturating_add(1);
            let reason = point.manifest.reason.as_deref().unwrap_or_default();
            if reason.starts_with(BEFORE) {
                ControlFlow::Break(Some(point))
            } else if looked >= LOOK_BACK {
                ControlFlow::Break(None)
            } else {
                ControlFlow::Continue(())
            }
        })
        .await?;
    if let Some(Some(point)) = found {
        return Ok(point);
    }
    let told = format!(
        "{} has no restore point of `backupd pre-upgrade`",
        store.describe()
    );
    let hint = "name one to compare with: --against RESTORE-POINT";
    Err(Failure::message(Exit::NotFound, told).hint(hint))
}

/// Returns all differences.
fn compare(before: &Manifest, after: &Manifest) -> Vec<manifest::Finding> {
    let mut found = Vec::new();
    for component in &before.components {
        if after.component(&component.name).is_none() {
            found.push(finding(
                manifest::Severity::Error,
                component.name.as_str(),
                "it was taken before the upgrade and is not now".to_owned(),
            ));
        }
    }
    let (old, new) = (kinds(before), kinds(after));
    for (kind, (count, version)) in &old {
        let (severity, cause) = match new.get(kind) {
            None if *count > 0 => {
                let cause = format!("{count} objects before, and the kind is not listed now");
                (manifest::Severity::Error, cause)
            }
            Some((now, _)) if now < count => (
                manifest::Severity::Warning,
                format!("{count} objects before, {now} now"),
            ),
            Some((now, _)) if now > count => (
                manifest::Severity::Info,
                format!("{count} objects before, {now} now"),
            ),
            Some((_, now)) if now != version => (
                manifest::Severity::Info,
                format!("served as {version} before, as {now} now"),
            ),
            _ => continue,
        };
        found.push(finding(severity, kind, cause));
    }
    for (kind, (count, _)) in new.iter().filter(|(kind, _)| !old.contains_key(*kind)) {
        let cause = format!("a kind that was not there before, with {count} objects");
        found.push(finding(manifest::Severity::Info, kind, cause));
    }
    let tenants_of = |m: &Manifest| m.kubernetes.as_ref().map(|k| k.tenants.clone());
    let tenants = match (tenants_of(before), tenants_of(after)) {
        (Some(old), Some(new)) => {
            // Both lists come from restore points, which contain no more data of the tenants' objects.
            let new: Vec<TenantState> = new.into_iter().map(TenantState::from).collect();
            tenants::compare(&old, &new, &BTreeMap::new(), after.began)
        }
        _ => Vec::new(),
    };
    found.extend(tenants.iter().flat_map(|check| {
        check.differences.iter().map(|difference| {
            manifest::Finding::new(
                difference.severity,
                check.tenant.clone(),
                difference.what.clone(),
                difference.remedy.clone(),
            )
        })
    }));
    found
}

/// Returns the number of objects of each kind, and the version in which they were read.
fn kinds(manifest: &Manifest) -> BTreeMap<String, (u64, String)> {
    let archives = manifest.components.iter();
    let archives =
        archives.filter_map(|component| Some((&component.name, component.archive.as_ref()?)));
    let kinds = archives.flat_map(|(name, archive)| {
        archive.kinds.iter().map(move |kind| {
            let key = format!("{name}: {}", kind.resource);
            (key, (kind.objects, kind.version.clone()))
        })
    });
    kinds.collect()
}

fn finding(severity: manifest::Severity, object: &str, cause: String) -> manifest::Finding {
    manifest::Finding::new(
        severity,
        object,
        cause,
        "see that the upgrade meant it: `restore-cli diff` names the objects",
    )
}

/// Printed result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PostUpgradeReport {
    compared_with: String,
    restore_point: String,
    before: Versions,
    after: Versions,
    findings: Vec<Finding>,
}

impl Report for PostUpgradeReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Before", self.compared_with.clone()),
            ("Now", self.restore_point.clone()),
        ]);
        page.heading("Versions");
        let told = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        let rows = self.before.named().into_iter().zip(self.after.named());
        let rows = rows.map(|((name, old), (_, new))| [name.to_owned(), told(old), told(new)]);
        page.table(["COMPONENT", "BEFORE", "NOW"], rows);
        if self
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Info)
        {
            page.line("Nothing is missing, and all tenants are as they were.");
        }
        if !self.findings.is_empty() {
            page.heading("What changed");
            findings::table(page, &self.findings);
        }
    }
}
