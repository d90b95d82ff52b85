//! Site whose restore points are in the scenario's bucket, and restores of them.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Site;
use crate::butler::Shared;
use crate::run::{Command, Output, Running};
use crate::wait;

/// Time limit for an etcd that is restored.
const ETCD_WITHIN: Duration = Duration::from_secs(180);

/// Site beside the scenario; see the module.
pub struct ButlerSite {
    /// Scenario.
    pub shared: Arc<Shared>,
    prefix: String,
    site: Site,
}

impl Deref for ButlerSite {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

impl ButlerSite {
    /// Makes a site with its restore points below `prefix`; `kubernetes` are more fields of the configuration.
    ///
    /// # Errors
    /// The site cannot be made.
    pub async fn new(shared: Arc<Shared>, prefix: &str, kubernetes: &str) -> Result<Self> {
        let site = Site::new().await?;
        let butler = &shared.butler;
        let talosconfig = butler.talosconfigs.get("os:admin");
        site.write_config(&format!(
            "cluster: butler-mgmt\n\
             store: {}\n\
             talos: {{ config: {} }}\n\
             kubernetes: {{ kubeconfig: {}{kubernetes} }}\n",
            butler.store(prefix),
            talosconfig.context("no talosconfig")?.display(),
            butler.kubeconfig().display(),
        ))?;
        Ok(Self {
            site: site.with_credentials(butler.s3.keys()),
            prefix: prefix.to_owned(),
            shared,
        })
    }

    /// Makes a site on the shared scenario with a restore point of all of it.
    ///
    /// # Errors
    /// The site cannot be made, or the restore point is not complete.
    pub async fn saved(prefix: &str) -> Result<Self> {
        Self::saved_on(Shared::get().await?, prefix).await
    }

    /// Makes a site as [`ButlerSite::saved`] does, on a scenario of the test's own.
    ///
    /// # Errors
    /// As [`ButlerSite::saved`].
    pub async fn saved_on(shared: Arc<Shared>, prefix: &str) -> Result<Self> {
        let site = Self::new(shared, prefix, "").await?;
        site.take(&[]).await?;
        Ok(site)
    }

    /// Returns the folder of its restore points: the S3 server keeps objects as files.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        let butler = &self.shared.butler;
        butler.s3.objects().join(&butler.bucket).join(&self.prefix)
    }

    /// Runs `plan latest` for the cluster of `kubeconfig`, with more arguments.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn plan(&self, kubeconfig: &Path, more: &[&str]) -> Result<Output> {
        let plan = self
            .restore_cli("plan")
            .args(["latest", "--output", "json"]);
        let plan = plan.arg("--kubeconfig").arg(kubeconfig).args(more);
        plan.output().await
    }

    /// Returns `restore --plan` for the last plan, with consent.
    #[must_use]
    pub fn restore(&self, kubeconfig: &Path) -> Command {
        let restore = self.restore_cli("restore");
        let restore = restore.args(["--plan", "restore-plan.json", "--output", "json"]);
        let restore = restore.args(["--yes", "--target", "butler-mgmt"]);
        restore.arg("--kubeconfig").arg(kubeconfig)
    }

    /// Restores to the end; returns the result.
    ///
    /// # Errors
    /// It ends otherwise.
    pub async fn restored(&self, kubeconfig: &Path) -> Result<Value> {
        let ran = self.restore(kubeconfig).json().await?;
        let complete = ran.get("ended").is_some_and(|end| end == "complete");
        ensure!(complete, "{ran:#}");
        Ok(ran)
    }

    /// Lets a restore go on when it has restored etcd, as the nodes do; returns its result.
    ///
    /// # Errors
    /// It ends otherwise, or another test holds the scenario.
    pub async fn brought_back(&mut self, running: Running) -> Result<Value> {
        let shared = Arc::get_mut(&mut self.shared).context("somebody else has it")?;
        let waited = wait::until("etcd", ETCD_WITHIN, async || {
            ensure!(shared.butler.talos.etcd_runs(), "not yet");
            Ok(())
        });
        if let Err(error) = waited.await {
            bail!("{error}: {}", running.ended().await?.stderr);
        }
        shared.butler.resume().await?;
        running.ended().await?.ended_with(0)?.json()
    }

    /// Returns every object of a kind that the cluster of `kubeconfig` has.
    ///
    /// # Errors
    /// kubectl failed.
    pub async fn listed(&self, kubeconfig: &Path, resource: &str) -> Result<Vec<Value>> {
        let kubectl = self.kubectl(kubeconfig).await?;
        let list = kubectl.args(["get", resource, "-A", "-o", "json"]);
        let list = list.json().await?;
        let items = list.get("items").and_then(Value::as_array);
        Ok(items.cloned().unwrap_or_default())
    }
}
