//! Restore of the etcd behind a DataStore: etcd's own tool makes the data folder of a new member
//! from its snapshot. Users and roles are part of the data, so they come back with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::version_check::MinorVersion;
use crate::child;
use backup_core::catalog::RestorePoint;
use backup_core::id::ComponentName;
use backup_core::progress::Progress;
use backup_core::read::{self, LocalSnapshot, LocalSnapshotError, PointKeys, RestoreError};
use backup_core::store::Store;

/// Time limit for etcd's tool. It copies 8 GiB in minutes, even on a slow disk.
const LIMIT: Duration = Duration::from_secs(30 * 60);
/// Time limit for the tool's version, which it prints at once.
const VERSION_WITHIN: Duration = Duration::from_secs(30);
/// Largest number of characters that are quoted from the tool's error.
const MAX_SAID: usize = 600;

/// Member that will start on the restored folder.
#[derive(Debug, Clone)]
pub struct DatastoreTarget {
    /// Program `etcdutl`.
    pub etcdutl: PathBuf,
    /// Data folder of the member, which must not exist.
    pub data_dir: PathBuf,
    /// Name of the member.
    pub name: String,
    /// URL where its peers find the member.
    pub peer_url: String,
    /// Token of the new cluster, which no other cluster has.
    pub token: String,
    /// All members as `NAME=PEER_URL,…`; `None` for this member alone. Each restores the same
    /// snapshot.
    pub initial_cluster: Option<String>,
}

impl DatastoreTarget {
    /// Returns all members in the form that etcd expects.
    #[must_use]
    pub fn initial_cluster(&self) -> String {
        let own = || format!("{}={}", self.name, self.peer_url);
        self.initial_cluster.clone().unwrap_or_else(own)
    }
}

/// Data folder that a member can start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredFolder {
    /// Data folder.
    pub data_dir: PathBuf,
    /// Revision in the folder.
    pub revision: u64,
    /// Oldest etcd that may start on the folder, such as `3.6`; `None` if the snapshot does not
    /// record it.
    pub etcd_at_least: Option<String>,
    /// Flags for starting etcd, besides those of its certificates.
    pub etcd_flags: Vec<String>,
}

/// Reason why the folder could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DatastoreError {
    /// The folder already exists.
    #[error(
        "{folder} exists already, and a restore needs a new folder; nothing was touched. Move it \
         away, or name another one with --data-dir"
    )]
    Exists {
        /// Data folder.
        folder: String,
    },
    /// The parent folder does not exist.
    #[error("the folder above {folder} does not exist; make it first, or correct --data-dir")]
    NoParent {
        /// Data folder.
        folder: String,
    },
    /// The snapshot cannot be fetched.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The snapshot, or the database made from it, is not sound.
    #[error(transparent)]
    Hold(#[from] LocalSnapshotError),
    /// The tool cannot be run.
    #[error("cannot run {program}; name etcd's own tool with --etcdutl FILE")]
    NoTool {
        /// Program that was run.
        program: String,
        /// Cause.
        source: std::io::Error,
    },
    /// The tool is older than the data.
    #[error(
        "the snapshot is of etcd {data} and {program} is that of etcd {tool}, which is not made to \
         read what a newer etcd wrote; nothing was touched. Name the etcdutl of etcd {data} or \
         newer with --etcdutl, and start etcd {data} or newer on the folder: an older one may not \
         start"
    )]
    OlderTool {
        /// Program that was run.
        program: String,
        /// Version of etcd that the tool belongs to.
        tool: String,
        /// Version of etcd that the snapshot was taken of.
        data: String,
    },
    /// The tool took too long.
    #[error("{program} did not end within {seconds} s")]
    TooLong {
        /// Program that was run.
        program: String,
        /// Time limit.
        seconds: u64,
    },
    /// The tool refused.
    #[error("{program} refused: {said}; what it left in {folder} cannot be used: remove it")]
    Refused {
        /// Program that was run.
        program: String,
        /// Message of the tool.
        said: String,
        /// Data folder.
        folder: String,
    },
    /// The revision in the folder differs from the snapshot's.
    #[error(
        "{folder} is at revision {found} and the snapshot at {wanted}; do not start etcd on it"
    )]
    OtherRevision {
        /// Data folder.
        folder: String,
        /// Revision in the folder.
        found: u64,
        /// Revision of the snapshot.
        wanted: u64,
    },
    /// The plain snapshot cannot be removed.
    #[error("cannot remove {file}, which holds the tenants' data unencrypted: remove it yourself")]
    Left {
        /// Plain snapshot.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
}

/// Makes a data folder from component `name` of `point`. The plain snapshot lies beside the folder,
/// with mode 0600, only as long as the tool needs it.
///
/// # Errors
/// As [`DatastoreError`] says. An existing folder is never touched.
pub async fn restore_datastore(
    store: Arc<dyn Store>,
    point: &RestorePoint,
    unlocked: PointKeys,
    name: &ComponentName,
    target: &DatastoreTarget,
    progress: Arc<dyn Progress>,
    cancel: CancellationToken,
) -> Result<RestoredFolder, DatastoreError> {
    let folder = target.data_dir.display().to_string();
    if target.data_dir.symlink_metadata().is_ok() {
        return Err(DatastoreError::Exists { folder });
    }
    let above = backup_core::newfile::folder_of(&target.data_dir);
    if !above.is_dir() {
        return Err(DatastoreError::NoParent { folder });
    }
    let data = data(point, name);
    if let Some(data) = data
        && let Some(tool) = version(&target.etcdutl).await?
        && tool < data
    {
        return Err(DatastoreError::OlderTool {
            program: target.etcdutl.display().to_string(),
            tool: tool.to_string(),
            data: data.to_string(),
        });
    }
    let mut plain = target.data_dir.clone().into_os_string();
    plain.push(".snapshot");
    let plain = PathBuf::from(plain);
    read::fetch(
        store,
        point,
        unlocked,
        name,
        // An existing file may belong to a person: it is neither replaced nor removed.
        (&plain, backup_core::newfile::OverwritePolicy::Refuse),
        Arc::clone(&progress),
        cancel,
    )
    .await?;
    let plain = PlainSnapshotFile(plain);
    let snapshot = LocalSnapshot::file(&plain.0).await?;
    progress.step("etcdutl restores", None);
    etcdutl(&plain.0, target).await?;
    plain.remove()?;
    let database = target.data_dir.join("member").join("snap").join("db");
    let found = LocalSnapshot::raw_db(&database).await?.facts().revision;
    let wanted = snapshot.facts().revision;
    if found != wanted {
        return Err(DatastoreError::OtherRevision {
            folder,
            found,
            wanted,
        });
    }
    Ok(RestoredFolder {
        data_dir: target.data_dir.clone(),
        revision: found,
        etcd_at_least: data.map(|data| data.to_string()),
        etcd_flags: vec![
            format!("--name={}", target.name),
            format!("--data-dir={folder}"),
            format!("--initial-advertise-peer-urls={}", target.peer_url),
            format!("--initial-cluster={}", target.initial_cluster()),
            format!("--initial-cluster-token={}", target.token),
            "--initial-cluster-state=new".to_owned(),
        ],
    })
}

/// Returns the version of etcd that the snapshot was taken of.
fn data(point: &RestorePoint, name: &ComponentName) -> Option<MinorVersion> {
    let component = point.manifest.component(name)?;
    MinorVersion::of_storage(component.etcd.as_ref()?.storage_version.as_deref())
}

/// Returns the version of etcd that the tool belongs to; `None` if the tool does not print it.
async fn version(etcdutl: &Path) -> Result<Option<MinorVersion>, DatastoreError> {
    let mut command = child::command(etcdutl, child::Environment::Least);
    command.arg("version");
    let said = ended(etcdutl, command, VERSION_WITHIN).await?;
    let said = String::from_utf8_lossy(&said.stdout);
    let version = said
        .lines()
        .find_map(|l| l.strip_prefix("etcdutl version:"));
    Ok(version.and_then(MinorVersion::of))
}

/// Runs the tool until it ends or the time limit is over.
async fn ended(
    etcdutl: &Path,
    mut command: tokio::process::Command,
    limit: Duration,
) -> Result<std::process::Output, DatastoreError> {
    let program = || etcdutl.display().to_string();
    match tokio::time::timeout(limit, command.output()).await {
        Ok(Ok(ended)) => Ok(ended),
        Ok(Err(source)) => Err(DatastoreError::NoTool {
            program: program(),
            source,
        }),
        Err(_) => Err(DatastoreError::TooLong {
            program: program(),
            seconds: limit.as_secs(),
        }),
    }
}

async fn etcdutl(snapshot: &Path, target: &DatastoreTarget) -> Result<(), DatastoreError> {
    let program = target.etcdutl.display().to_string();
    let mut command = child::command(&target.etcdutl, child::Environment::Least);
    command.args(["snapshot", "restore"]).arg(snapshot);
    command.arg("--data-dir").arg(&target.data_dir);
    command.arg("--name").arg(&target.name);
    command
        .arg("--initial-advertise-peer-urls")
        .arg(&target.peer_url);
    command
        .arg("--initial-cluster")
        .arg(target.initial_cluster());
    command.arg("--initial-cluster-token").arg(&target.token);
    let ended = ended(&target.etcdutl, command, LIMIT).await?;
    if ended.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&ended.stderr);
    // The last line is the reason; the lines above are the log.
    let last = text.trim().lines().last().unwrap_or("it does not say why");
    let said = last.chars().take(MAX_SAID);
    Err(DatastoreError::Refused {
        program,
        said: said.map(|c| if c.is_control() { ' ' } else { c }).collect(),
        folder: target.data_dir.display().to_string(),
    })
}

/// Plain snapshot that is removed when it is no longer needed.
struct PlainSnapshotFile(PathBuf);

impl PlainSnapshotFile {
    fn remove(self) -> Result<(), DatastoreError> {
        std::fs::remove_file(&self.0).map_err(|source| DatastoreError::Left {
            file: self.0.display().to_string(),
            source,
        })
    }
}

impl Drop for PlainSnapshotFile {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), %error, "cannot remove a plain snapshot");
            }
            _ => {}
        }
    }
}
