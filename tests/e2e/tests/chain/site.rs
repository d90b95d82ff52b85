//! Site of one test whose etcd is behind the Talos API, and whose bucket is behind a proxy.

use std::ops::Deref;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use aws_sdk_s3::Client;
use e2e::etcd::Etcd;
use e2e::lab::control_plane;
use e2e::proxy::Proxy;
use e2e::run::{Command, Output};
use e2e::s3::{REGION, S3};
use e2e::site::{self, Housed, Site};
use e2e::talos::{ClientSpec, Faults, Standin};
use http::Method;
use serde_json::Value;

/// Prefix of the restore points in the bucket.
pub(crate) const PREFIX: &str = "clusters/test";
/// Role that a daemon should have: it may take snapshots and list members, and nothing else.
const ROLE: &str = "os:operator";

/// Site of one test; see the module.
pub(crate) struct ChainSite {
    pub(crate) talos: Standin,
    pub(crate) proxy: Proxy,
    pub(crate) bucket: String,
    pub(crate) etcd: Arc<Housed<Etcd>>,
    pub(crate) s3: Arc<Housed<S3>>,
    site: Site,
}

impl Deref for ChainSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl ChainSite {
    /// Makes a site on the shared etcd.
    pub(crate) async fn new() -> Result<Self> {
        Self::on(site::etcd().await?).await
    }

    /// Makes a site on an etcd of its own, for a test that depends on who writes to it.
    pub(crate) async fn own() -> Result<Self> {
        Self::on(site::own_etcd().await?).await
    }

    async fn on(etcd: Arc<Housed<Etcd>>) -> Result<Self> {
        let s3 = site::s3().await?;
        let site = Self {
            talos: control_plane(&etcd).await?,
            proxy: Proxy::start(&s3.endpoint()).await?,
            bucket: s3.bucket("chain").await?,
            site: Site::new().await?.with_credentials(s3.keys()),
            etcd,
            s3,
        };
        site.talosconfig(&site.talos.talosconfig(&ClientSpec::of(&[ROLE]))?)?;
        site.configure(&site.bucket, PREFIX)?;
        Ok(site)
    }

    /// Writes the talosconfig that the configuration names.
    pub(crate) fn talosconfig(&self, text: &str) -> Result<()> {
        std::fs::write(self.folder.join("talosconfig"), text).context("writing the talosconfig")
    }

    /// Writes the configuration for another bucket or prefix.
    pub(crate) fn configure(&self, bucket: &str, prefix: &str) -> Result<()> {
        let store = self.url(bucket, prefix);
        self.write_config(&format!(
            "cluster: test\nstore: {store}\ntalos: {{ config: talosconfig, idle-timeout: 1s }}\n"
        ))
    }

    /// Returns the store URL of a prefix, behind the proxy.
    pub(crate) fn url(&self, bucket: &str, prefix: &str) -> String {
        let endpoint = self.proxy.endpoint();
        format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region={REGION}&path-style=true")
    }

    /// Takes a restore point, which must succeed; returns its id.
    pub(crate) async fn snapshot(&self) -> Result<String> {
        self.take_id(&[]).await
    }

    /// Returns the command that fetches a restore point to `etcd.db`.
    pub(crate) fn fetch(&self, restore_point: &str) -> Command {
        let fetch = self.restore_cli("fetch").arg(restore_point);
        fetch.args(["--component", "etcd", "--to", "etcd.db"])
    }

    /// Returns the names of files in the folder that are not whole yet.
    pub(crate) fn half_files(&self) -> Result<Vec<String>> {
        let mut names = self.folder.names()?;
        names.retain(|name| name.starts_with(".butler-") || name.ends_with(".part"));
        Ok(names)
    }

    /// Returns the ids of the restore points, newest first; each of them can be read.
    pub(crate) async fn listed(&self) -> Result<Vec<String>> {
        let points = self.points().await?.into_iter();
        let ids = points.map(|point| Some(point["id"].as_str()?.to_owned()));
        ids.collect::<Option<_>>()
            .context("a restore point without id")
    }

    /// Returns the findings of an audit that must end with `code`.
    pub(crate) async fn audit(&self, code: i32) -> Result<Vec<Value>> {
        let audit = self.restore_cli("audit").args(["--output", "json"]);
        let audit = audit.ended_with(code).await?.json()?;
        audit["findings"].as_array().cloned().context("no findings")
    }

    /// Checks that the restore point can be read back bit for bit.
    pub(crate) async fn verified(&self, id: &str) -> Result<Output> {
        self.restore_cli("verify").arg(id).ended_with(0).await
    }

    /// Turns the same switches at all nodes.
    pub(crate) fn fault(&self, turn: impl Fn(&mut Faults)) {
        for node in self.talos.nodes() {
            node.fault(&turn);
        }
    }

    /// Writes a new value to etcd, so that the next snapshot has a pack of its own.
    pub(crate) async fn change(&self) -> Result<()> {
        let (key, value) = (
            "/registry/configmaps/default/new",
            e2e::data::random(100_000),
        );
        self.etcd.client().await?.put(key, value).await?;
        Ok(())
    }

    /// Returns a client with the administrator's rights, without the proxy.
    pub(crate) fn client(&self) -> Result<Client> {
        self.s3.client()
    }

    /// Returns the keys below the prefix, without it.
    pub(crate) async fn keys(&self) -> Result<Vec<String>> {
        let list = self.client()?.list_objects_v2().bucket(&self.bucket);
        let list = list.prefix(format!("{PREFIX}/")).send().await?;
        let keys = list.contents().iter().filter_map(|object| object.key());
        let keys = keys.filter_map(|key| key.strip_prefix(PREFIX)?.strip_prefix('/'));
        Ok(keys.map(ToOwned::to_owned).collect())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let object = self.client()?.get_object().bucket(&self.bucket);
        let object = object.key(format!("{PREFIX}/{key}")).send().await?;
        Ok(object.body.collect().await?.to_vec())
    }

    /// Overwrites an object, as somebody with rights to the bucket can.
    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let put = self.client()?.put_object().bucket(&self.bucket);
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
