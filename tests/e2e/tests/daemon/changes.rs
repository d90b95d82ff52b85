//! Tests of restore points on change: real watches on a real API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::wait::until;
use jiff::Timestamp;
use serde_json::Value;

use super::api::{Cluster, TEAMS, team};
use super::running::Daemon;

mod breaks;
mod heard;
mod rights;
mod storm;
mod targeted;

const LIMIT: Duration = Duration::from_secs(90);
const MAPS: &str = "/api/v1/namespaces/butler-system/configmaps";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// User name of the daemon where its requests are checked; it has all rights.
const DAEMON: &str = "the-daemon";
/// Quiet time and longest wait of runs for changes, in seconds.
const QUIET: i64 = 1;
const LONGEST: i64 = 5;

impl Cluster {
    async fn audited() -> Result<Self> {
        Self::start_audited(&["teams.butler.butlerlabs.dev"], DAEMON).await
    }

    /// Starts a daemon for which `components` are taken only on change.
    async fn daemon(&self, kubeconfig: &Path, components: &[&str]) -> Result<Daemon> {
        let components = components.iter();
        let components = components.map(|name| format!("  {name}: {{ on-change: true }}\n"));
        let config = format!(
            "kubernetes: {{ kubeconfig: {} }}\n\
             runs: {{ on-change: {{ quiet: {QUIET}s, longest: {LONGEST}s }} }}\ncomponents:\n{}",
            kubeconfig.display(),
            components.collect::<String>()
        );
        Daemon::start(&self.site, &config, &[]).await
    }

    /// Returns the listed restore points, oldest first.
    async fn points(&self) -> Result<Vec<Value>> {
        let list = self.site.restore_cli("list").args(["--output", "json"]);
        let list = list.json().await?;
        let points = list["restorePoints"].as_array().context("no list")?;
        Ok(points.iter().rev().cloned().collect())
    }

    /// Returns the manifest of a restore point.
    async fn manifest(&self, id: &str) -> Result<Value> {
        let keys = self.site.keys().await?;
        let named = |key: &&String| key.starts_with("manifests/") && key.contains(id);
        let key = keys.iter().find(named).context("no such manifest")?;
        serde_json::from_slice(&self.site.get(key).await?).context("reading a manifest")
    }

    /// Returns the paths in a component of a restore point.
    async fn paths(&self, id: &str, component: &str) -> Result<Vec<String>> {
        let file = self.site.folder.join(format!("{component}.tar"));
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let fetch = self.site.restore_cli("fetch").arg(id);
        let fetch = fetch.args(["--component", component, "--to"]).arg(&file);
        fetch.ended_with(0).await?;
        let list = e2e::run::Command::new("tar").arg("-tf").arg(&file);
        let list = list.ended_with(0).await?.stdout;
        Ok(list.lines().map(ToOwned::to_owned).collect())
    }

    /// Waits until some restore point has `path` in `component`; returns it as it is listed.
    async fn has(&self, component: &str, path: &str) -> Result<Value> {
        until(path, LIMIT, async || {
            for point in self.points().await? {
                let id = point["id"].as_str().context("no id")?;
                let components = point["components"].as_array().context("no components")?;
                if components.iter().any(|c| c == component)
                    && self
                        .paths(id, component)
                        .await?
                        .iter()
                        .any(|own| own == path)
                {
                    return Ok(point);
                }
            }
            anyhow::bail!("not yet")
        })
        .await
    }

    /// Checks that no two runs overlap.
    async fn one_after_the_other(&self) -> Result<usize> {
        let points = self.points().await?;
        for (one, next) in points.iter().zip(points.iter().skip(1)) {
            let ended: Timestamp = one["ended"].as_str().context("no end")?.parse()?;
            let began: Timestamp = next["began"].as_str().context("no begin")?.parse()?;
            ensure!(ended <= began, "{one} and {next}");
        }
        Ok(points.len())
    }
}

/// Waits until everything is watched, and the first state was taken.
async fn settled(daemon: &Daemon) -> Result<Value> {
    daemon
        .until("watches, and a restore point of all", |cluster| {
            let watches = cluster["watches"].as_object();
            let all = watches.is_some_and(|watches| {
                !watches.is_empty() && watches.values().all(|w| w["state"] == "watching")
            });
            all && cluster["totals"]["committed"].as_u64() > Some(0) && cluster["run"].is_null()
        })
        .await
}
