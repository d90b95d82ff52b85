//! Command `restore-cli verify-tenants`, which compares tenants with their state in a restore point.

use backup_cli::config::ConfigFlags;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::flags::KubeFlags;
use backup_cli::open::kube_options;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::format::manifest;
use backup_core::id::{ComponentName, RestorePointId};
use cluster_restore::orchestrate::{Requirement, check_tenants};
use cluster_restore::tenants::{Aspect, AspectOutcome, TenantCheck};
use serde::Serialize;

use crate::commands::open;
use crate::commands::recover::restore_failed;
use crate::flags::{LookFlags, PointArg};

/// Ask every tenant's API server, and compare with a restore point
///
/// The last step of a restore, and a check for every day: changes nothing, and needs no key. Each
/// tenant is asked through its own kubeconfig; namespace, authority, endpoint, version and ready
/// workers must be as they were, its TenantControlPlane and Cluster well, and its keys in its
/// DataStore. What cannot be looked at is `not checked`, with the reason. Each finding says which step
/// of a restore it most likely comes from. The exit code gives the worst difference.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    point: PointArg,
    #[command(flatten)]
    look: LookFlags,
    #[command(flatten)]
    kube: KubeFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = ConfigFlags {
        kube: args.kube.clone(),
        ..args.look.given()
    };
    let opened = open(&given, frame).await?;
    let needs = Requirement::Component(ComponentName::resources());
    let point = opened.find(&args.point.restore_point, &needs).await?;
    let kube = kube_options(&opened.config, &frame.environment);
    let checks = check_tenants(&point, kube.as_ref(), &frame.clock, &frame.terminal).await;
    let verified = TenantsReport::of(&point.entry.id, &checks.map_err(restore_failed)?);
    frame.terminal.emit(&verified)?;
    Ok(verified.exit())
}

/// Printed result of `verify-tenants`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TenantsReport {
    restore_point: String,
    connected: usize,
    tenants: Vec<TenantResult>,
    worst: Option<Severity>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantResult {
    tenant: String,
    connected: bool,
    version: Option<String>,
    nodes_ready: Option<u64>,
    /// Number of keys of the tenant's own data.
    keys: Option<u64>,
    checks: Vec<Check>,
}

/// Check of one aspect.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    check: &'static str,
    /// `ok`, `told`, `differs`, `failed` or `not checked`.
    result: &'static str,
    /// Reason why it is not `ok`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    why: Vec<String>,
    /// Step of a restore that most likely caused it: `resources`, `datastore` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'static str>,
}

impl Check {
    fn of(tenant: &TenantCheck, aspect: Aspect) -> Self {
        let differences = || tenant.differences.iter().filter(|d| d.aspect == aspect);
        let outcome = tenant.outcome(aspect);
        let not_checked = tenant.not_checked.get(&aspect);
        let told = differences().map(|d| d.what.clone());
        let worst = differences().max_by_key(|d| d.severity);
        Self {
            check: aspect.name(),
            result: word(outcome),
            why: told.chain(not_checked.cloned()).collect(),
            step: worst.map(|d| d.from.name()),
        }
    }
}

fn word(outcome: AspectOutcome) -> &'static str {
    match outcome {
        AspectOutcome::Ok => "ok",
        AspectOutcome::Info => "told",
        AspectOutcome::Differs => "differs",
        AspectOutcome::Failed => "failed",
        AspectOutcome::NotChecked => "not checked",
    }
}

impl TenantResult {
    fn of(check: &TenantCheck) -> Self {
        let checks = Aspect::ALL
            .into_iter()
            .map(|aspect| Check::of(check, aspect));
        Self {
            tenant: check.tenant.clone(),
            connected: check.connected,
            version: check.version.clone(),
            nodes_ready: check.nodes_ready,
            keys: check.keys,
            checks: checks.collect(),
        }
    }

    fn result(&self, aspect: Aspect) -> String {
        let found = self.checks.iter().find(|c| c.check == aspect.name());
        found.map_or("-", |c| c.result).to_owned()
    }

    /// Returns the aspects that were not checked, with the reasons, each reason once.
    fn not_checked(&self) -> Vec<String> {
        let mut told: Vec<(Vec<&str>, &str)> = Vec::new();
        for check in self.checks.iter().filter(|c| c.result == "not checked") {
            let why = check.why.last().map_or("", String::as_str);
            match told.iter_mut().find(|(_, known)| *known == why) {
                Some((names, _)) => names.push(check.check),
                None => told.push((vec![check.check], why)),
            }
        }
        let told = told.into_iter();
        told.map(|(names, why)| format!("{}: {why}", names.join(", ")))
            .collect()
    }
}

impl TenantsReport {
    /// Returns the exit code.
    pub(super) fn exit(&self) -> Exit {
        findings::exit_of(self.worst)
    }

    /// Converts the checks against `restore_point` into the form that is printed.
    pub(super) fn of(restore_point: &RestorePointId, checks: &[TenantCheck]) -> Self {
        let findings = checks.iter().flat_map(|check| {
            check.differences.iter().map(|difference| {
                let step = difference.from.name();
                Finding::from(&manifest::Finding {
                    severity: difference.severity,
                    object: check.tenant.clone(),
                    cause: difference.what.clone(),
                    remedy: format!("step `{step}`: {}", difference.remedy),
                })
            })
        });
        let findings: Vec<Finding> = findings.collect();
        Self {
            restore_point: restore_point.to_string(),
            connected: checks.iter().filter(|check| check.connected).count(),
            tenants: checks.iter().map(TenantResult::of).collect(),
            worst: findings::worst(&findings),
            findings,
        }
    }
}

impl Report for TenantsReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Restore point", self.restore_point.clone()),
            (
                "Connected",
                format!("{} of {}", self.connected, self.tenants.len()),
            ),
        ]);
        if !self.tenants.is_empty() {
            page.heading("Tenants");
            let rows = self.tenants.iter().map(|tenant| {
                let connected = if tenant.connected { "yes" } else { "no" };
                let nodes = tenant.nodes_ready.map(|n| n.to_string());
                let data = match (tenant.result(Aspect::Data), tenant.keys) {
                    (result, Some(keys)) => format!("{result}, {keys} keys"),
                    (result, None) => result,
                };
                [
                    tenant.tenant.clone(),
                    connected.to_owned(),
                    tenant.version.clone().unwrap_or_else(|| "-".to_owned()),
                    nodes.unwrap_or_else(|| "-".to_owned()),
                    tenant.result(Aspect::Authority),
                    tenant.result(Aspect::ControlPlane),
                    tenant.result(Aspect::Cluster),
                    data,
                ]
            });
            let head = [
                "TENANT",
                "CONNECTED",
                "VERSION",
                "READY WORKERS",
                "AUTHORITY",
                "CONTROL PLANE",
                "CLUSTER",
                "DATA",
            ];
            page.table(head, rows);
        }
        let unseen = self.tenants.iter().flat_map(|tenant| {
            let told = tenant.not_checked().into_iter();
            told.map(|told| format!("  {}: {told}", tenant.tenant))
        });
        let unseen: Vec<String> = unseen.collect();
        if !unseen.is_empty() {
            page.heading("Not checked");
            for line in &unseen {
                page.line(line);
            }
        }
        if self.findings.is_empty() {
            page.line("Everything that was checked is as in the restore point.");
        } else {
            page.heading("Findings");
            findings::table(page, &self.findings);
        }
    }
}
