//! Handlers of EtcdRecover and Bootstrap, with the order of checks and the leftovers of the real server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;
use tonic::{Code, Status, Streaming};

use super::backend::Etcd;
use super::node::{Node, ServiceState};
use super::proto::common::Data;
use super::proto::machine::BootstrapRequest;
use super::roles::TalosVersion;

/// Time after a start in which the health of etcd is unknown; the real server's first check is after 5 s.
const UNCHECKED: std::time::Duration = std::time::Duration::from_millis(500);

/// Host that restores and runs etcd on a node.
#[tonic::async_trait]
pub trait Host: Send + Sync + 'static {
    /// Ends the etcd process, if one runs.
    async fn stop(&self) -> anyhow::Result<()>;
    /// Checks whether `snapshot` is a database at all; leaves the data folder alone.
    async fn inspect(&self, snapshot: &Path) -> anyhow::Result<()>;
    /// Makes `data_dir` from `snapshot`; a failure may leave files behind.
    async fn restore(
        &self,
        snapshot: &Path,
        data_dir: &Path,
        skip_hash: bool,
    ) -> anyhow::Result<()>;
    /// Starts etcd on `data_dir`, which is empty for a new cluster, and waits until it serves.
    async fn start(&self, data_dir: &Path) -> anyhow::Result<Arc<dyn Etcd>>;
}

/// Host that restores with the real `etcdutl`, and starts and stops etcd through `process`.
pub struct EtcdutlHost {
    /// Program.
    pub etcdutl: PathBuf,
    /// Name of the member.
    pub name: String,
    /// Peer URL of the member.
    pub peer_url: String,
    /// Process of the member.
    pub process: Arc<dyn EtcdProcess>,
}

/// Process of one etcd member.
#[tonic::async_trait]
pub trait EtcdProcess: Send + Sync + 'static {
    /// Ends the process, if it runs.
    async fn stop(&self) -> anyhow::Result<()>;
    /// Starts the process on `data_dir` and waits until it serves.
    async fn start(&self, data_dir: &Path) -> anyhow::Result<Arc<dyn Etcd>>;
}

impl EtcdutlHost {
    async fn run(
        &self,
        configure: impl FnOnce(&mut tokio::process::Command),
    ) -> anyhow::Result<()> {
        let mut command = tokio::process::Command::new(&self.etcdutl);
        command
            .kill_on_drop(true)
            .stdin(std::process::Stdio::null());
        configure(&mut command);
        let output = command
            .output()
            .await
            .with_context(|| format!("run {}", self.etcdutl.display()))?;
        if !output.status.success() {
            // The reason is the last line; the lines above are its log.
            let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("{}", text.lines().last().unwrap_or_default());
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Host for EtcdutlHost {
    async fn stop(&self) -> anyhow::Result<()> {
        self.process.stop().await
    }

    async fn inspect(&self, snapshot: &Path) -> anyhow::Result<()> {
        self.run(|command| {
            command.args(["snapshot", "status"]).arg(snapshot);
        })
        .await
    }

    async fn restore(
        &self,
        snapshot: &Path,
        data_dir: &Path,
        skip_hash: bool,
    ) -> anyhow::Result<()> {
        self.run(|command| {
            command.args(["snapshot", "restore"]).arg(snapshot);
            command.arg("--data-dir").arg(data_dir);
            command.arg("--name").arg(&self.name);
            command
                .arg("--initial-advertise-peer-urls")
                .arg(&self.peer_url);
            command
                .arg("--initial-cluster")
                .arg(format!("{}={}", self.name, self.peer_url));
            command.arg("--initial-cluster-token").arg("");
            command.arg(format!("--skip-hash-check={skip_hash}"));
        })
        .await
    }

    async fn start(&self, data_dir: &Path) -> anyhow::Result<Arc<dyn Etcd>> {
        self.process.start(data_dir).await
    }
}

/// Host that restores without any etcd, for tests of requests and answers only.
pub struct FixedHost {
    /// Etcd that "runs" after every start.
    pub etcd: Arc<dyn Etcd>,
}

#[tonic::async_trait]
impl Host for FixedHost {
    async fn stop(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn inspect(&self, snapshot: &Path) -> anyhow::Result<()> {
        let bytes = tokio::fs::read(snapshot).await?;
        // Magic number of the first meta page.
        if bytes.get(16..20) != Some(&[0xed, 0xda, 0x0c, 0xed]) {
            bail!("invalid database");
        }
        Ok(())
    }

    async fn restore(
        &self,
        snapshot: &Path,
        data_dir: &Path,
        skip_hash: bool,
    ) -> anyhow::Result<()> {
        // The copy comes before the check, as in the real server.
        let folder = data_dir.join("member/snap");
        tokio::fs::create_dir_all(&folder).await?;
        tokio::fs::copy(snapshot, folder.join("db")).await?;
        let bytes = tokio::fs::read(snapshot).await?;
        if skip_hash {
            return Ok(());
        }
        if bytes.len() % 512 != 32 {
            bail!("snapshot missing hash but --skip-hash-check=false");
        }
        let (plain, trailer) = bytes.split_at(bytes.len() - 32);
        let got = Sha256::digest(plain);
        if got.as_slice() != trailer {
            bail!(
                "expected sha256 {}, got {}",
                hex::encode(trailer),
                hex::encode(got)
            );
        }
        Ok(())
    }

    async fn start(&self, data_dir: &Path) -> anyhow::Result<Arc<dyn Etcd>> {
        tokio::fs::create_dir_all(data_dir.join("member")).await?;
        Ok(Arc::clone(&self.etcd))
    }
}

/// Takes an upload, regardless of its content and of a running etcd.
pub(super) async fn recover(node: &Node, mut upload: Streaming<Data>) -> Result<(), Status> {
    let var_lib = node.var_lib().filter(|folder| folder.is_dir());
    let Some(var_lib) = var_lib else {
        return Err(Status::failed_precondition(
            "etcd service is not ready for recovery yet",
        ));
    };
    control_plane(node, "recover")?;
    let path = var_lib.join("etcd.snapshot");
    // A client that breaks off ends this future where it waits; the real server then reads an error.
    let mut half = Half(Some(path.clone()));
    let written = async {
        // Created in this step: a future that ends while another thread still creates the file would remove
        // it too early and leave it behind.
        let mut file = tokio::fs::File::from_std(std::fs::File::create(&path)?);
        while let Some(data) = upload.message().await? {
            file.write_all(&data.bytes).await?;
        }
        file.sync_all().await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    }
    .await;
    written.map_err(|error| Status::unknown(error.to_string()))?;
    half.0 = None;
    Ok(())
}

/// Upload that is removed unless it becomes whole.
struct Half(Option<PathBuf>);

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _may_be_gone = std::fs::remove_file(path);
        }
    }
}

/// Accepts a bootstrap, and carries it out after the answer. Then the `nodes` that wait to join do so.
pub(super) async fn bootstrap(
    node: &Arc<Node>,
    nodes: &[Arc<Node>],
    request: BootstrapRequest,
) -> Result<(), Status> {
    let faults = node.faults();
    if faults.booting {
        return Err(Status::failed_precondition(
            "bootstrap is not available yet",
        ));
    }
    if !node.spec.control_plane {
        let text = "bootstrap can only be performed on a control plane node";
        return Err(if node.spec.version >= TalosVersion(1, 13) {
            Status::unimplemented("bootstrap is only available on control plane nodes")
        } else {
            Status::failed_precondition(text)
        });
    }
    if faults.no_etcd_ca && node.spec.version >= TalosVersion(1, 14) {
        return Err(Status::invalid_argument(
            "etcd is not configured, bootstrap is not possible",
        ));
    }
    if faults.time_unsynced {
        // The real server waits this long for the clock.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
        return Err(Status::failed_precondition("time is not in sync yet"));
    }
    let (Some(var_lib), Some(host)) = (node.var_lib(), node.spec.host.clone()) else {
        return Err(Status::unknown(
            "error starting etcd in bootstrap mode: nothing to run it",
        ));
    };
    let data_dir = var_lib.join("etcd");
    if has_entries(&data_dir) {
        return Err(Status::already_exists("etcd data directory is not empty"));
    }
    host.stop()
        .await
        .map_err(|error| Status::unknown(format!("failed to stop etcd: {error:#}")))?;
    if has_entries(&data_dir) {
        return Err(Status::unknown("etcd data directory is not empty"));
    }
    {
        let mut service = node.lock_service();
        service.etcd = None;
        service.turn(ServiceState::Finished, "Bootstrap requested");
        service.turn(ServiceState::Preparing, "Running pre state");
    }
    let bootstrapping = Arc::clone(node);
    let nodes = nodes.to_vec();
    node.lock_tasks().spawn(async move {
        let snapshot = var_lib.join("etcd.snapshot");
        match carry_out(host.as_ref(), &snapshot, &data_dir, request).await {
            Ok(etcd) => {
                {
                    let mut service = bootstrapping.lock_service();
                    service.etcd = Some(etcd);
                    service.turn(ServiceState::Running, "Started task etcd");
                }
                tokio::time::sleep(UNCHECKED).await;
                bootstrapping.lock_service().check();
                for node in &nodes {
                    node.join();
                }
            }
            Err(error) => bootstrapping.lock_service().turn(
                ServiceState::Failed,
                format!("Failed to run pre stage: {error:#}"),
            ),
        }
    });
    Ok(())
}

async fn carry_out(
    host: &dyn Host,
    snapshot: &Path,
    data_dir: &Path,
    request: BootstrapRequest,
) -> anyhow::Result<Arc<dyn Etcd>> {
    if request.recover_etcd {
        host.inspect(snapshot)
            .await
            .context("error verifying snapshot")?;
        host.restore(snapshot, data_dir, request.recover_skip_hash_check)
            .await
            .context("error recovering snapshot")?;
        tokio::fs::remove_file(snapshot).await?;
    }
    host.start(data_dir).await
}

/// Refuses a call at a node without etcd.
pub(super) fn control_plane(node: &Node, method: &str) -> Result<(), Status> {
    if node.spec.control_plane {
        return Ok(());
    }
    Err(Status::new(
        Code::Unimplemented,
        format!("{method} is only available on control plane nodes"),
    ))
}

fn has_entries(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}
