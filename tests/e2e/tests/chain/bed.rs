//! Bed of one test: a bucket behind a proxy, the Talos API, a configuration file.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use e2e::lab::control_plane;
use e2e::proxy::Proxy;
use e2e::run::{Command, Output};
use e2e::s3::REGION;
use e2e::talos::{ClientSpec, Faults, Standin};
use http::Method;
use serde_json::Value;

use super::ground::Ground;

/// Prefix of the restore points in the bucket.
pub(crate) const PREFIX: &str = "clusters/test";
/// Role that a daemon should have: it may take snapshots and list members, and nothing else.
const ROLE: &str = "os:operator";

/// Bed of one test; see the module.
pub(crate) struct Bed {
    pub(crate) talos: Standin,
    pub(crate) proxy: Proxy,
    pub(crate) bucket: String,
    pub(crate) folder: PathBuf,
    pub(crate) ground: Arc<Ground>,
}

impl Bed {
    /// Makes a bed on the shared ground.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(Ground::shared().await?).await
    }

    pub(crate) async fn on(ground: Arc<Ground>) -> Result<Self> {
        let bed = Self {
            talos: control_plane(&ground.etcd).await?,
            proxy: Proxy::start(&ground.s3.endpoint()).await?,
            bucket: ground.s3.bucket("chain").await?,
            folder: ground.folder()?,
            ground,
        };
        bed.talosconfig(&bed.talos.talosconfig(&ClientSpec::of(&[ROLE]))?)?;
        bed.configure(&bed.bucket, PREFIX)?;
        Ok(bed)
    }

    /// Writes the talosconfig that the configuration names.
    pub(crate) fn talosconfig(&self, text: &str) -> Result<()> {
        std::fs::write(self.folder.join("talosconfig"), text).context("writing the talosconfig")
    }

    /// Writes the configuration for another bucket or prefix.
    pub(crate) fn configure(&self, bucket: &str, prefix: &str) -> Result<()> {
        let key = |name: &str| self.ground.key(name).display().to_string();
        let text = format!(
            "cluster: test\n\
             store: {}\n\
             talos: {{ config: talosconfig, idle-timeout: 1s }}\n\
             encryption: {{ recipients: [{}] }}\n\
             signing: {{ key: {} }}\n\
             reading: {{ identities: [{}], trust: [{}] }}\n",
            self.url(bucket, prefix),
            self.ground.recipient,
            key("signing.key"),
            key("identity.key"),
            key("signing.pub"),
        );
        std::fs::write(self.folder.join("butler.yaml"), text).context("writing butler.yaml")
    }

    /// Returns the store URL of a prefix, behind the proxy.
    pub(crate) fn url(&self, bucket: &str, prefix: &str) -> String {
        let endpoint = self.proxy.endpoint();
        format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region={REGION}&path-style=true")
    }

    /// Returns `backupd` with the configuration and the administrator's credentials.
    pub(crate) fn backupd(&self, command: &str) -> Command {
        self.ours(self.ground.programs.backupd().arg(command))
    }

    /// Returns `restore-cli` with the configuration and the administrator's credentials.
    pub(crate) fn restore_cli(&self, command: &str) -> Command {
        self.ours(self.ground.programs.restore_cli().arg(command))
    }

    fn ours(&self, command: Command) -> Command {
        self.without_credentials(command)
            .envs(self.ground.s3.keys().env())
    }

    /// Adds the configuration alone.
    pub(crate) fn without_credentials(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "butler.yaml")
            .env("HOME", &self.folder)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .in_folder(&self.folder)
    }

    /// Takes a restore point, which must succeed; returns its id.
    pub(crate) async fn snapshot(&self) -> Result<String> {
        let taken = self.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.output().await?.ended_with(0)?.json()?;
        let id = taken["restorePoint"].as_str();
        Ok(id.context("no restore point told")?.to_owned())
    }

    /// Returns the command that fetches a restore point to `etcd.db`.
    pub(crate) fn fetch(&self, restore_point: &str) -> Command {
        let fetch = self.restore_cli("fetch").arg(restore_point);
        fetch.args(["--component", "etcd", "--to", "etcd.db"])
    }

    /// Returns the names of files in the folder that are not whole yet.
    pub(crate) fn half_files(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with(".butler-") || name.ends_with(".part") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Returns the ids of the restore points, newest first; each of them can be read.
    pub(crate) async fn listed(&self) -> Result<Vec<String>> {
        let list = self.restore_cli("list").args(["--output", "json"]);
        let list = list.output().await?.ended_with(0)?.json()?;
        assert_eq!(list["unreadable"], serde_json::json!([]));
        let points = list["restorePoints"].as_array().context("no list")?;
        let ids = points.iter().map(|point| point["id"].as_str());
        let ids: Option<Vec<_>> = ids.map(|id| id.map(ToOwned::to_owned)).collect();
        ids.context("a restore point without id")
    }

    /// Returns the findings of an audit that must end with `code`.
    pub(crate) async fn audit(&self, code: i32) -> Result<Vec<Value>> {
        let audit = self.restore_cli("audit").args(["--output", "json"]);
        let audit = audit.output().await?.ended_with(code)?.json()?;
        audit["findings"].as_array().cloned().context("no findings")
    }

    /// Checks that the restore point can be read back bit for bit.
    pub(crate) async fn verified(&self, id: &str) -> Result<Output> {
        let verify = self.restore_cli("verify").arg(id);
        verify.output().await?.ended_with(0)
    }

    /// Turns the same switches at all nodes.
    pub(crate) fn fault(&self, turn: impl Fn(&mut Faults)) {
        for node in self.talos.nodes() {
            node.fault(&turn);
        }
    }

    /// Writes a new value to etcd, so that the next snapshot has a pack of its own.
    pub(crate) async fn change(&self) -> Result<()> {
        let value = e2e::data::random(100_000);
        let client = self.ground.etcd.client().await?;
        client
            .put("/registry/configmaps/default/new", value)
            .await?;
        Ok(())
    }

    /// Returns a client with the administrator's rights, without the proxy.
    pub(crate) fn s3(&self) -> Result<Client> {
        self.ground.s3.client()
    }

    /// Returns the keys below the prefix, without it.
    pub(crate) async fn keys(&self) -> Result<Vec<String>> {
        let list = self.s3()?.list_objects_v2().bucket(&self.bucket);
        let list = list.prefix(format!("{PREFIX}/")).send().await?;
        let keys = list.contents().iter().filter_map(|object| object.key());
        let keys = keys.filter_map(|key| key.strip_prefix(PREFIX)?.strip_prefix('/'));
        Ok(keys.map(ToOwned::to_owned).collect())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.s3()?.get_object().bucket(&self.bucket);
        let object = object.key(format!("{PREFIX}/{key}")).send().await?;
        Ok(object.body.collect().await?.to_vec())
    }

    /// Overwrites an object, as somebody with rights to the bucket can.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let put = self.s3()?.put_object().bucket(&self.bucket);
        let put = put.key(format!("{PREFIX}/{key}"));
        put.body(bytes.into()).send().await?;
        Ok(())
    }

    /// Returns the paths of the objects that were read through the proxy, those with `part` in them.
    pub(crate) fn gets(&self, part: &str) -> Vec<String> {
        let seen = self.proxy.seen().into_iter();
        let gets = seen.filter(|seen| seen.method == Method::GET && seen.path.contains(part));
        gets.map(|seen| seen.path).collect()
    }
}

/// Checks that the program's standard error contains all of `words`.
pub(crate) fn tells(output: &Output, words: &[&str]) {
    // Printed where a test fails, or with --nocapture, to read the output as an operator would.
    println!("--- code {:?}\n{}", output.code, output.stderr);
    for word in words {
        assert!(
            output.stderr.contains(word),
            "{word:?} is not in:\n{}\n{}",
            output.stderr,
            output.stdout
        );
    }
}
