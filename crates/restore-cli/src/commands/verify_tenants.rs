//! `restore-cli verify-tenants`: whether tenants are connected as a restore point knew them.

use std::sync::Arc;

use backup_cli::config::{Config, Given};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::flags::KubeFlags;
use backup_cli::open::kube_options;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::RestorePoint;
use backup_core::clock::Clock;
use backup_core::format::manifest;
use backup_core::id::ComponentName;
use backup_core::source::SourceError;
use backup_core::source::kube::{KubeExport, Selection};
use backup_core::tenants::{TenantCheck, compare};
use serde::Serialize;

use crate::args::{LookFlags, Selection as Point};
use crate::commands::latest::Needs;
use crate::commands::{open, refuse_untrusted};

/// Ask every tenant's API server, and compare with a restore point
///
/// The last step of a restore, and a check for every day: changes nothing, and needs no key. Each
/// tenant is asked through its own kubeconfig; namespace, authority, data, endpoint, version and
/// ready workers must be as they were. The exit code tells the worst difference.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    point: Point,
    #[command(flatten)]
    look: LookFlags,
    #[command(flatten)]
    kube: KubeFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let given = Given {
        kube: args.kube.clone(),
        ..args.look.given()
    };
    let opened = open(&given, frame).await?;
    let needs = Needs::Component(ComponentName::resources());
    let point = opened
        .find(&args.point.restore_point, &needs, frame)
        .await?;
    refuse_untrusted(&point)?;
    let verified = verified(&opened.config, &point, frame).await?;
    frame.terminal.emit(&verified)?;
    Ok(verified.exit())
}

/// Asks every tenant, and compares with `point`.
pub(super) async fn verified(
    config: &Config,
    point: &RestorePoint,
    frame: &Frame,
) -> Result<Verified, Failure> {
    let id = point.entry.id.to_string();
    let Some(before) = &point.manifest.kubernetes else {
        let told = format!("restore point {id} knows nothing of tenants");
        let hint = "choose one that has `resources` from `restore-cli list`";
        return Err(Failure::message(Exit::NotFound, told).hint(hint));
    };
    let Some(options) = kube_options(config, &frame.environment) else {
        let told = "no way to the Kubernetes API is configured";
        let hint = "give --kubeconfig FILE, the key `kubernetes.kubeconfig`, or KUBECONFIG";
        return Err(Failure::message(Exit::Usage, told.to_owned()).hint(hint));
    };
    frame.terminal.status("asking every tenant");
    let clock = Arc::clone(&frame.clock);
    let now = async {
        let export = KubeExport::begin(&options, Selection::default(), Vec::new(), clock).await?;
        let clock: &dyn Clock = frame.clock.as_ref();
        let (tenants, _) = export.tenants(clock).await;
        Ok::<_, SourceError>(tenants)
    };
    let now = now.await.map_err(anyhow::Error::new)?;
    let checks = compare(&before.tenants, &now);
    Ok(Verified::of(id, &checks))
}

/// What `verify-tenants` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verified {
    restore_point: String,
    connected: usize,
    tenants: Vec<Tenant>,
    worst: Option<Severity>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tenant {
    tenant: String,
    connected: bool,
    version: Option<String>,
    nodes_ready: Option<u64>,
}

impl Verified {
    /// The exit code.
    pub(super) fn exit(&self) -> Exit {
        findings::exit_of(self.worst)
    }

    fn of(restore_point: String, checks: &[TenantCheck]) -> Self {
        let findings = checks.iter().flat_map(|check| {
            check.differences.iter().map(|difference| {
                Finding::from(&manifest::Finding {
                    severity: difference.severity,
                    object: check.tenant.clone(),
                    cause: difference.what.clone(),
                    remedy: difference.remedy.to_owned(),
                })
            })
        });
        let findings: Vec<Finding> = findings.collect();
        let tenants = checks.iter().map(|check| Tenant {
            tenant: check.tenant.clone(),
            connected: check.connected,
            version: check.version.clone(),
            nodes_ready: check.nodes_ready,
        });
        Self {
            restore_point,
            connected: checks.iter().filter(|check| check.connected).count(),
            tenants: tenants.collect(),
            worst: findings::worst(&findings),
            findings,
        }
    }
}

impl Report for Verified {
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
                [
                    tenant.tenant.clone(),
                    connected.to_owned(),
                    tenant.version.clone().unwrap_or_else(|| "-".to_owned()),
                    nodes.unwrap_or_else(|| "-".to_owned()),
                ]
            });
            page.table(["TENANT", "CONNECTED", "VERSION", "READY WORKERS"], rows);
        }
        if self.findings.is_empty() {
            page.line("All tenants are as the restore point knew them.");
        } else {
            page.heading("Findings");
            findings::table(page, &self.findings);
        }
    }
}
