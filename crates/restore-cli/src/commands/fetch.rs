//! Command `restore-cli fetch`, which writes one component to a file, bit for bit, or one tenant's
//! kubeconfig.

use std::path::PathBuf;
use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::id::ComponentName;
use backup_core::newfile::OverwritePolicy;
use backup_core::read::{self, RestoreError};
use cluster_restore::orchestrate::Requirement;
use serde::Serialize;

use crate::commands::gaps::GapReport;
use crate::commands::{disk_is_full, open};
use crate::flags::{PointArg, ReadFlags};

mod tenant;

/// Fetch one component of a restore point into a file, bit for bit
///
/// The file gets its name when it is complete and checked, with mode 0600. After an interruption
/// the same command continues where it was. With --tenant it is the kubeconfig of one tenant. Ends
/// with code 7 if the restore point lacks something of the component, and names it.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: PointArg,
    /// Fetch this component
    #[arg(long, value_name = "NAME")]
    component: ComponentName,
    /// Fetch only the kubeconfig of this tenant, `NAME` or `NAMESPACE/NAME`, out of component
    /// `kubeconfigs`
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Write it to this file
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    if args.tenant.is_some() && args.component != ComponentName::kubeconfigs() {
        let wrong = "--tenant is for --component kubeconfigs only";
        return Err(Failure::message(Exit::Usage, wrong));
    }
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let mut existing = if args.force {
        OverwritePolicy::Replace
    } else {
        OverwritePolicy::Refuse
    };
    if args.to.symlink_metadata().is_ok() && !args.force {
        let question = format!("{} is there already: replace it?", args.to.display());
        frame
            .terminal
            .confirm(&question, "--force, or name another file with --to")?;
        existing = OverwritePolicy::Replace;
    }
    let needs = Requirement::Component(args.component.clone());
    let point = frame
        .or_cancelled(opened.find(&args.selection.restore_point, &needs))
        .await?;
    let gaps = point.manifest.gaps_of(&args.component);
    let lacked = frame.or_cancelled(opened.lacked(&point, &gaps)).await?;
    let again = format!("restore-cli fetch --component {}", args.component);
    for one in &lacked {
        let told = format!("{}; {}", one.describe(), one.remedy(&again));
        frame.terminal.warn(&told);
    }
    if let Some(tenant) = &args.tenant {
        let wanted = tenant::TenantRequest {
            tenant,
            point: &point,
            identities: &identities,
            existing,
        };
        // A tenant's kubeconfig exists or does not; gaps of the component do not matter.
        return tenant::run(args, &wanted, &opened, frame).await;
    }
    let unlock = async { Ok(read::unlock(&opened.store, &point, &identities).await?) };
    let unlocked = frame.or_cancelled(unlock).await?;
    let progress = frame.terminal.progress();
    let fetched = read::fetch(
        Arc::clone(&opened.store),
        &point,
        unlocked,
        &args.component,
        (&args.to, existing),
        Arc::clone(&progress),
        frame.cancel.clone(),
    )
    .await;
    drop(progress);
    let fetched = fetched.map_err(advised)?;
    frame.terminal.emit(&FetchReport {
        restore_point: point.entry.id.to_string(),
        component: args.component.to_string(),
        kubeconfig: None,
        file: fetched.file.display().to_string(),
        bytes: fetched.bytes,
        sha256: fetched.sha256.to_string(),
        lacks: lacked.iter().map(GapReport::from).collect(),
    })?;
    if args.component == ComponentName::etcd() {
        frame.terminal.status(&format!(
            "Look at it with `etcdutl snapshot status {}`. It holds every Secret of the cluster: \
             delete it after use.",
            fetched.file.display()
        ));
    }
    if lacked.is_empty() {
        return Ok(Exit::Complete);
    }
    frame.terminal.status(&format!(
        "The file is all that the restore point has of `{}`, and not all of it.",
        args.component
    ));
    Ok(Exit::Partial)
}

/// Makes a failure with a hint on what to do about it.
fn advised(error: RestoreError) -> Failure {
    let full = disk_is_full(&error);
    let failure = Failure::from(error);
    if full {
        return failure.hint(
            "the folder of --to needs room for the component and, meanwhile, for its packs: twice \
             its size is nearly always enough; what was downloaded is kept there, and the same \
             command continues from it",
        );
    }
    if failure.exit() == Exit::Damaged {
        return failure.hint(
            "restore from another restore point of `restore-cli list`; `restore-cli audit` shows \
             which objects are damaged",
        );
    }
    failure
}

/// Printed result of `fetch`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FetchReport {
    restore_point: String,
    component: String,
    /// Origin of a tenant's kubeconfig: `NAMESPACE/SECRET KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kubeconfig: Option<String>,
    file: String,
    bytes: u64,
    sha256: String,
    /// Parts of the component that the file lacks, because the restore point lacks them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lacks: Vec<GapReport>,
}

impl Report for FetchReport {
    fn page(&self, page: &mut Page) {
        let mut fields = vec![
            ("Restore point", self.restore_point.clone()),
            ("Component", self.component.clone()),
        ];
        fields.extend(self.kubeconfig.clone().map(|origin| ("Secret", origin)));
        fields.extend([
            ("File", self.file.clone()),
            (
                "Size",
                format!("{} ({} bytes)", human::bytes(self.bytes), self.bytes),
            ),
            ("SHA-256", self.sha256.clone()),
        ]);
        page.fields(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};

    #[test]
    fn a_fetch_reads_well_and_its_json_stays() {
        let mut fetched = FetchReport {
            restore_point: "20261123t120000000z-1a2b3c4d5e6f".to_owned(),
            component: "etcd".to_owned(),
            kubeconfig: None,
            file: "/tmp/etcd.snapshot".to_owned(),
            bytes: 262_144_032,
            sha256: "00".repeat(32),
            lacks: Vec::new(),
        };
        insta::assert_snapshot!(
            "fetch_table",
            render(&fetched, Format::Table, None).unwrap()
        );
        insta::assert_snapshot!("fetch_json", render(&fetched, Format::Json, None).unwrap());
        fetched.kubeconfig = Some("one-1a2b/one-admin-kubeconfig admin.conf".to_owned());
        insta::assert_snapshot!(
            "fetch_tenant_table",
            render(&fetched, Format::Table, None).unwrap()
        );
    }
}
