//! Command `restore-cli restore datastore`, which restores a DataStore's etcd as the data folder of a new
//! member.

use std::path::PathBuf;
use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::id::{ComponentName, RestorePointId};
use backup_core::read::unlock;
use cluster_restore::etcd::{DatastoreTarget, restore_datastore};
use cluster_restore::orchestrate::Requirement;
use serde::Serialize;

use crate::commands::open;
use crate::flags::{PointArg, ReadFlags};

/// Restore the etcd of a DataStore into the data folder of a fresh member
///
/// Runs etcd's own `etcdutl snapshot restore`. Users, roles and passwords are in the data and come
/// back with it. Of several members, each is restored from the same restore point, with the same
/// --initial-cluster and --token. The folder must not exist; nothing is ever replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The DataStore's name
    #[arg(value_name = "NAME")]
    datastore: String,
    #[command(flatten)]
    selection: PointArg,
    /// Make this folder, which must not exist
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Call the member by this name
    #[arg(long, value_name = "MEMBER")]
    name: String,
    /// Tell peers to find the member here
    #[arg(long, value_name = "URL")]
    peer_url: String,
    /// Name all members, as `NAME=PEER_URL,…` [default: the member alone]
    #[arg(long, value_name = "MEMBERS")]
    initial_cluster: Option<String>,
    /// Give the new cluster this token, which no other cluster has [default: made of the restore
    /// point's id]
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// Run this `etcdutl` [default: the one on the PATH]
    #[arg(
        long,
        value_name = "FILE",
        default_value = "etcdutl",
        hide_default_value = true
    )]
    etcdutl: PathBuf,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let component = ComponentName::datastore(&args.datastore)
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let needs = Requirement::Component(component.clone());
    let point = frame
        .or_cancelled(opened.find(&args.selection.restore_point, &needs))
        .await?;
    let unlocked = async { Ok(unlock(&opened.store, &point, &identities).await?) };
    let unlocked = frame.or_cancelled(unlocked).await?;
    let target = DatastoreTarget {
        etcdutl: args.etcdutl.clone(),
        data_dir: args.data_dir.clone(),
        name: args.name.clone(),
        peer_url: args.peer_url.clone(),
        token: args
            .token
            .clone()
            .unwrap_or_else(|| token(&args.datastore, &point.entry.id)),
        initial_cluster: args.initial_cluster.clone(),
    };
    let restored = restore_datastore(
        Arc::clone(&opened.store),
        &point,
        unlocked,
        &component,
        &target,
        frame.terminal.progress(),
        frame.cancel.clone(),
    );
    let restored = restored.await?;
    let facts = point.manifest.component(&component);
    let facts = facts.and_then(|component| component.etcd.as_ref());
    frame.terminal.emit(&DatastoreRestoreReport {
        restore_point: point.entry.id.to_string(),
        component: component.to_string(),
        data_dir: restored.data_dir.display().to_string(),
        revision: restored.revision,
        etcd_at_least: restored.etcd_at_least,
        users: facts.map(|facts| facts.users.clone()).unwrap_or_default(),
        auth_enabled: facts.is_some_and(|facts| facts.auth_enabled),
        etcd_flags: restored.etcd_flags,
    })?;
    Ok(Exit::Complete)
}

/// Returns a token that keeps members of another restore from joining this one by mistake.
fn token(datastore: &str, id: &RestorePointId) -> String {
    format!("{datastore}-{id}")
}

/// Printed result of `restore datastore`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DatastoreRestoreReport {
    restore_point: String,
    component: String,
    data_dir: String,
    revision: u64,
    etcd_at_least: Option<String>,
    users: Vec<String>,
    auth_enabled: bool,
    etcd_flags: Vec<String>,
}

impl Report for DatastoreRestoreReport {
    fn page(&self, page: &mut Page) {
        page.fields([
            ("Restore point", self.restore_point.clone()),
            ("Component", self.component.clone()),
            ("Folder", self.data_dir.clone()),
            ("Revision", self.revision.to_string()),
            (
                "etcd",
                match &self.etcd_at_least {
                    Some(version) => format!("{version} or newer"),
                    None => "as it was".to_owned(),
                },
            ),
            (
                "Users",
                format!(
                    "{}{}",
                    self.users.join(", "),
                    if self.auth_enabled {
                        ""
                    } else {
                        " (auth is off)"
                    }
                ),
            ),
        ]);
        page.heading("Start etcd on it with these flags, and those of its certificates");
        for flag in &self.etcd_flags {
            page.line(&format!("  {flag}"));
        }
    }
}
