//! Stage of the show: the lab, the programs, and the files that it writes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use e2e::data::Shape;
use e2e::lab::Core;
use e2e::ours::Programs;
use e2e::run::Command;
use e2e::tools::{self, Tool};

use super::screen::Screen;

/// Prefix of the restore points in the bucket.
pub(super) const PREFIX: &str = "demo";
/// Name of the configuration file.
pub(super) const CONFIG: &str = "butler.yaml";
/// Role of the talosconfig: it may take snapshots and nothing else.
const ROLE: &str = "os:etcd:backup";

/// Stage of the show; see the module.
pub(super) struct Stage {
    pub(super) core: Core,
    programs: Programs,
    etcdutl: PathBuf,
    etcdctl: PathBuf,
}

impl Stage {
    /// Starts the lab.
    pub(super) async fn set(screen: &mut Screen, programs: Programs, shape: Shape) -> Result<Self> {
        screen.step(
            "Start a cluster to back up",
            "etcd is filled with Kubernetes objects of the usual kinds and sizes, Secrets \
             encrypted at rest. Three control plane nodes answer the Talos API before it, with \
             mutual TLS.",
        )?;
        let say = |line: &str| drop(crate::print(&format!("  {line}")));
        let core = Core::start(shape, &say).await?;
        let status = core.etcd.client().await?.status().await?;
        let size = u64::try_from(status.db_size).context("the database's size")?;
        screen.line(&format!(
            "etcd {} is at {} with a database of {}",
            status.version,
            core.etcd.endpoint(),
            super::screen::bytes(size)
        ))?;
        screen.line(&format!("the S3 server is at {}", core.s3.endpoint()))?;
        screen.line(&format!(
            "all files are in {}",
            core.folder.path().display()
        ))?;
        Ok(Self {
            core,
            programs,
            etcdutl: tools::path(Tool::Etcdutl).await?,
            etcdctl: tools::path(Tool::Etcdctl).await?,
        })
    }

    /// Returns `backupd`, in the lab's folder, with credentials for S3.
    pub(super) fn backupd(&self, command: &str) -> Command {
        self.ours(self.programs.backupd().arg(command))
    }

    /// Returns `restore-cli`, in the lab's folder, with credentials for S3.
    pub(super) fn restore_cli(&self, command: &str) -> Command {
        self.ours(self.programs.restore_cli().arg(command))
    }

    fn ours(&self, command: Command) -> Command {
        command
            .envs(self.core.s3.keys().env())
            .in_folder(self.core.folder.path())
    }

    pub(super) fn etcdutl(&self) -> Command {
        Command::new(&self.etcdutl).in_folder(self.core.folder.path())
    }

    /// Returns `etcdctl` on the cluster's etcd directly, without the Talos API.
    pub(super) fn etcdctl(&self) -> Result<Command> {
        let etcd = &self.core.etcd;
        let files = etcd.client_files().context("the lab's etcd has no TLS")?;
        Ok(Command::new(&self.etcdctl)
            .env("ETCDCTL_ENDPOINTS", etcd.endpoint())
            .env("ETCDCTL_CACERT", &files.ca)
            .env("ETCDCTL_CERT", &files.certificate)
            .env("ETCDCTL_KEY", &files.key)
            .in_folder(self.core.folder.path()))
    }

    /// Returns the text of a configuration file for this lab.
    pub(super) fn configuration(&self, recipient: &str) -> Result<String> {
        let talosconfig = self.core.talosconfigs.get(ROLE);
        let talosconfig = talosconfig.with_context(|| format!("no talosconfig for {ROLE}"))?;
        let talosconfig = talosconfig
            .strip_prefix(self.core.folder.path())
            .unwrap_or(talosconfig)
            .display();
        let store = self.core.s3.url(&self.core.bucket, PREFIX);
        Ok(format!(
            "cluster: butler-demo\n\
             store: {store}\n\
             talos:\n  \
               config: {talosconfig}      # may take snapshots, and nothing else\n\
             encryption:\n  \
               recipients:\n    \
                 - {recipient}\n\
             signing:\n  \
               key: keys/signing.key\n\
             reading:                                   # where people restore\n  \
               identities: [keys/identity.key]\n  \
               trust: [keys/signing.pub]\n"
        ))
    }

    /// Returns the folder in which the S3 server keeps the objects below the prefix, as files.
    pub(super) fn objects(&self) -> PathBuf {
        self.core.s3.objects().join(&self.core.bucket).join(PREFIX)
    }
}
