//! Wrapper around the real `etcdutl`: the status of a snapshot, and its restore.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use tokio::process::Command;

use crate::etcd::Etcd;
use crate::tools::{self, Tool};

/// Output of `etcdutl snapshot status`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// etcd's own digest over keys and values.
    pub hash: u32,
    /// The revision of the newest write in it.
    pub revision: i64,
    /// Number of entries in the key bucket (revisions, not live keys).
    pub total_key: u64,
    /// Bytes of the database, without the trailer.
    pub total_size: u64,
    /// Storage version, such as `3.6.0`; empty for old files.
    #[serde(default)]
    pub version: String,
}

/// Reads a snapshot's status. This does not check the trailer's digest; only a restore does.
///
/// # Errors
/// `etcdutl` cannot be found or built, or refuses the file.
pub async fn status(snapshot: &Path) -> Result<Status> {
    status_by(Tool::Etcdutl, snapshot).await
}

/// Reads a snapshot's status with the tool of another version.
///
/// # Errors
/// As [`status`].
pub async fn status_by(etcdutl: Tool, snapshot: &Path) -> Result<Status> {
    let file = snapshot.to_string_lossy();
    let args = ["snapshot", "status", &file, "--write-out=json"];
    let output = run(etcdutl, &args).await?;
    serde_json::from_slice(&output)
        .with_context(|| format!("etcdutl said {:?}", String::from_utf8_lossy(&output)))
}

/// Options of a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Whether a file without the trailer's digest is accepted: a copy of a database file.
    pub skip_hash_check: bool,
    /// Number by which the revision is raised, with the old ones marked compacted, so that watches end.
    pub bump_revision: Option<u64>,
}

/// Restores `snapshot` into the data directory of `member`, which must be stopped and without data.
///
/// # Errors
/// `etcdutl` refused: the digest is wrong, or the data directory is not empty.
pub async fn restore(snapshot: &Path, member: &Etcd, options: RestoreOptions) -> Result<()> {
    let to = Target {
        data_dir: &member.data_dir(),
        name: member.name(),
        initial_cluster: member.initial_cluster(),
        peer_url: &member.peer_url(),
    };
    restore_to(snapshot, &to, options).await
}

/// Target of a restore, for callers that have no [`Etcd`].
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Data directory, which must not exist or be empty.
    pub data_dir: &'a Path,
    /// The member's name.
    pub name: &'a str,
    /// All members as `NAME=PEER_URL,…`.
    pub initial_cluster: &'a str,
    /// The member's own peer URL.
    pub peer_url: &'a str,
}

/// Restores `snapshot` to `target`.
///
/// # Errors
/// As [`restore`].
pub async fn restore_to(
    snapshot: &Path,
    target: &Target<'_>,
    options: RestoreOptions,
) -> Result<()> {
    let file = snapshot.to_string_lossy();
    let mut args = vec![
        "snapshot".to_owned(),
        "restore".to_owned(),
        file.into_owned(),
        format!("--data-dir={}", target.data_dir.display()),
        format!("--name={}", target.name),
        format!("--initial-cluster={}", target.initial_cluster),
        format!("--initial-advertise-peer-urls={}", target.peer_url),
    ];
    if options.skip_hash_check {
        args.push("--skip-hash-check=true".to_owned());
    }
    if let Some(bump) = options.bump_revision {
        args.push(format!("--bump-revision={bump}"));
        args.push("--mark-compacted=true".to_owned());
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    run(Tool::Etcdutl, &args).await?;
    Ok(())
}

/// Runs `etcdutl`, and returns its standard output.
async fn run(etcdutl: Tool, args: &[&str]) -> Result<Vec<u8>> {
    let program = tools::path(etcdutl).await?;
    let output = Command::new(&program)
        .args(args)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("running {}", program.display()))?;
    anyhow::ensure!(
        output.status.success(),
        "etcdutl {} ended with {}: {}",
        args.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}
