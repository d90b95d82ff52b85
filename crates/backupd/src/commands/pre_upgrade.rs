//! Command `backupd pre-upgrade`, which takes the restore point before an upgrade.

use backup_cli::config::Config;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::format::export::TenantFacts;
use serde::Serialize;

use super::upgrade::{BEFORE, UpgradeFlags, Versions};
use crate::run_builder::Note;
use crate::run_builder::report::RunReport;
use crate::run_builder::sources::Sources;
use crate::run_builder::{RunContext, prepare_by};

/// Phases in which a controller is changing a tenant, so that a restore point would contain a half-done
/// state.
const AT_WORK: [&str; 5] = [
    "Pending",
    "Provisioning",
    "Installing",
    "Updating",
    "Deleting",
];

/// Take the restore point that an upgrade begins with
///
/// Refuses while a TenantCluster is being made, changed or deleted. Takes everything that is
/// configured, reads every stored object back, pins the restore point, and notes the versions it was
/// made of. Ends with 0 only if all of that went well: for a Helm hook or a pipeline.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Note in the restore point which upgrade it is for
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Take it although a TenantCluster is being worked on, or it is not known whether
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reach: UpgradeFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let config = Config::load(&args.reach.given(), frame.clock.now())?;
    let reason = args
        .reason
        .as_ref()
        .map(|reason| format!("{BEFORE}: {reason}"));
    let note = Note {
        reason: Some(reason.unwrap_or_else(|| BEFORE.to_owned())),
        pin: true,
    };
    let context = RunContext::of(frame);
    let run = prepare_by(frame, &config, &note, &context).await?;
    let mut sources = frame
        .or_cancelled(async {
            let sources = Sources::open(&config, &[], &context).await;
            let tenants = sources.tenants(frame.clock.as_ref()).await;
            match busy_reason(tenants.as_deref()) {
                Some(why) if args.force => frame.terminal.warn(&why),
                Some(why) => return Err(refused(why)),
                None => {}
            }
            Ok(sources)
        })
        .await?;
    let committed = run.take(sources.plan()).await?;
    let objects = run.read_back(&committed).await?;
    drop((run, context));
    let before = PreUpgradeReport {
        versions: Versions::of(&committed.manifest),
        read_back_objects: objects,
        taken: RunReport::of(&committed),
    };
    frame.terminal.emit(&before)?;
    Ok(before.taken.conclude(frame))
}

fn refused(why: String) -> Failure {
    let hint = "wait until it is done, or say --force";
    Failure::message(Exit::Refused, why).hint(hint)
}

/// Returns the reason why an upgrade should not begin now, if there is one.
fn busy_reason(tenants: Option<&[TenantFacts]>) -> Option<String> {
    let Some(tenants) = tenants else {
        let why =
            "the Kubernetes API was not reached, so it is not known what its controllers are doing";
        return Some(why.to_owned());
    };
    let at_work = tenants.iter().filter_map(|tenant| {
        let phase = tenant
            .phase
            .as_deref()
            .filter(|phase| AT_WORK.contains(phase))?;
        Some(format!("{}/{} is {phase}", tenant.namespace, tenant.name))
    });
    let at_work: Vec<String> = at_work.collect();
    (!at_work.is_empty()).then(|| format!("tenants are being worked on: {}", at_work.join(", ")))
}

/// Printed result.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PreUpgradeReport {
    #[serde(flatten)]
    taken: RunReport,
    versions: Versions,
    read_back_objects: u64,
}

impl Report for PreUpgradeReport {
    fn page(&self, page: &mut Page) {
        self.taken.page(page);
        page.heading("Versions");
        let known = self.versions.named().map(|(name, version)| {
            let version = version.clone().unwrap_or_else(|| "not told".to_owned());
            (name, version)
        });
        page.fields(known);
        page.line(&format!(
            "{} objects were read back and are sound.",
            self.read_back_objects
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str, phase: Option<&str>) -> TenantFacts {
        TenantFacts {
            namespace: "team-a".to_owned(),
            name: name.to_owned(),
            phase: phase.map(ToOwned::to_owned),
            ..TenantFacts::default()
        }
    }

    #[test]
    fn only_tenants_at_rest_let_an_upgrade_begin() {
        let rest = [
            tenant("a", Some("Ready")),
            tenant("b", Some("Failed")),
            tenant("c", None),
        ];
        assert_eq!(busy_reason(Some(&rest)), None);
        assert_eq!(busy_reason(Some(&[])), None);
        let busy = [
            tenant("a", Some("Provisioning")),
            tenant("b", Some("Ready")),
        ];
        let why = busy_reason(Some(&busy)).unwrap();
        assert_eq!(why, "tenants are being worked on: team-a/a is Provisioning");
        assert!(busy_reason(None).unwrap().contains("not reached"));
    }
}
