//! Lab of the soak: one etcd behind the Talos API and the Kubernetes API, an S3 server, the daemon.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::lab::control_plane;
use e2e::ours::Programs;
use e2e::port::Port;
use e2e::run::{Command, Running};
use e2e::s3::S3;
use e2e::talos::{ClientSpec, Standin};
use e2e::wait::until;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::report::{Report, Sample};

/// Part that dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Daemon,
    ApiServer,
    Etcd,
    S3,
}

impl Part {
    /// Returns the part for a random number.
    pub(super) fn any(drawn: u8) -> Self {
        match drawn % 4 {
            0 => Self::Daemon,
            1 => Self::ApiServer,
            2 => Self::Etcd,
            _ => Self::S3,
        }
    }
}

/// Longest wait for a program to be back, and for the daemon to have caught up.
const SETTLE: Duration = Duration::from_secs(600);
/// Grace time in the configuration. Leftovers of deaths before the last settling are older than this after
/// it.
const GRACE: Duration = Duration::from_secs(300);
/// Time limit for a sweep. It comes with a run, within two minutes; a busy machine gets more.
const SWEPT: Duration = Duration::from_secs(600);
/// Time limit for the daemon's own pages, which answer at once or not at all.
const PAGE: Duration = Duration::from_secs(3);

/// Lab of the soak; see the module. Fields drop in order: the folder last.
pub(super) struct Lab {
    daemon: Option<Running>,
    port: Port,
    client: Client<HttpConnector, Full<Bytes>>,
    programs: Programs,
    talos: Standin,
    api: KubeApiserver,
    s3: S3,
    etcd: Etcd,
    folder: Folder,
}

impl Lab {
    pub(super) async fn start() -> Result<Self> {
        let programs = Programs::find()?;
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "etcd").await?;
        let s3 = S3::start(&folder).await?;
        let api = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
        let talos = control_plane(&etcd).await?;
        let role = ClientSpec::of(&["os:etcd:backup"]);
        std::fs::write(folder.path().join("talosconfig"), talos.talosconfig(&role)?)?;
        let keygen = programs
            .backupd()
            .args(["keygen", "--out", "keys", "--output", "json"]);
        let made = keygen
            .in_folder(folder.path())
            .output()
            .await?
            .ended_with(0)?
            .json()?;
        let recipient = made
            .get("recipient")
            .and_then(Value::as_str)
            .context("no recipient")?;
        let bucket = s3.bucket("soak").await?;
        let cron = "{ cron: '* * * * *' }";
        let text = format!(
            "cluster: soak\n\
             store: {}\n\
             talos: {{ config: talosconfig, idle-timeout: 5s }}\n\
             kubernetes: {{ kubeconfig: {}, timeout: 5s }}\n\
             encryption: {{ recipients: [{recipient}] }}\n\
             signing: {{ key: keys/signing.key }}\n\
             reading: {{ identities: [keys/identity.key], trust: [keys/signing.pub] }}\n\
             runs: {{ deadline: 2m }}\n\
             leftovers: {{ grace: 5m }}\n\
             components: {{ etcd: {cron}, crds: {cron}, resources: {cron}, secrets: {cron} }}\n",
            s3.url(&bucket, "soak"),
            api.kubeconfig().display(),
        );
        std::fs::write(folder.path().join("soak.yaml"), text)?;
        let mut lab = Self {
            daemon: None,
            port: Port::reserve()?,
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            programs,
            talos,
            api,
            s3,
            etcd,
            folder,
        };
        lab.restart(Part::Daemon).await?;
        Ok(lab)
    }

    fn ours(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", "soak.yaml")
            .env("HOME", self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.s3.keys().env())
            .in_folder(self.folder.path())
    }

    pub(super) async fn kill(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Daemon => {
                if let Some(daemon) = self.daemon.take() {
                    daemon.kill().await?;
                }
            }
            Part::ApiServer => self.api.kill(),
            Part::Etcd => self.etcd.kill(),
            Part::S3 => self.s3.kill(),
        }
        Ok(())
    }

    pub(super) async fn restart(&mut self, part: Part) -> Result<()> {
        match part {
            Part::Daemon => {
                let listen = format!("127.0.0.1:{}", self.port);
                let run = self.programs.backupd().args(["run", "--listen", &listen]);
                let run = run.args(["--health-listen", "127.0.0.1:0"]);
                self.daemon = Some(self.ours(run).start()?);
                Ok(())
            }
            Part::ApiServer => self.api.restart().await,
            Part::Etcd => {
                self.etcd.restart().await?;
                // The API server ends on its own when its etcd is gone for long.
                if self.api.get("/readyz").await.is_err() {
                    self.api.kill();
                    self.api.restart().await?;
                }
                Ok(())
            }
            Part::S3 => self.s3.restart().await,
        }
    }

    /// Changes `count` values in etcd; returns the number of changes.
    pub(super) async fn change(&self, count: u32) -> Result<u64> {
        let client = tokio::time::timeout(PAGE, self.etcd.client()).await??;
        let mut changed = 0;
        for _ in 0..count {
            let number = rand::random::<u16>() % 500;
            let value = e2e::data::random(400);
            let key = format!("/registry/soak/{number}");
            let put = client.put(&key, value);
            tokio::time::timeout(PAGE, put).await??;
            changed += 1;
        }
        Ok(changed)
    }

    async fn send(&self, method: Method, path: &str) -> Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let request = Request::builder()
            .method(method)
            .uri(url)
            .body(Full::default())?;
        let answer = tokio::time::timeout(PAGE, self.client.request(request)).await??;
        let body = tokio::time::timeout(PAGE, answer.into_body().collect()).await??;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }

    /// Requests `count` restore points at once; most are refused.
    pub(super) async fn demand(&self, count: u32) {
        for _ in 0..count {
            drop(self.send(Method::POST, "/v1/snapshots?wait=false").await);
        }
    }

    /// Returns the daemon's memory and its report; `None` if it is dead.
    pub(super) async fn sample(&self) -> Option<Sample> {
        let id = self.daemon.as_ref()?.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let rss = rss.trim().strip_suffix(" kB")?.parse().ok()?;
        let metrics = self.send(Method::GET, "/metrics").await.ok()?;
        Some(Sample {
            rss_kib: rss,
            restore_points: value(&metrics, "butler_backup_restore_points{cluster=\"soak\"}"),
        })
    }

    /// Waits until all components were taken after the last death; returns the number of restore points in
    /// the metrics then.
    pub(super) async fn settle(&mut self) -> Result<u64> {
        let now = jiff_seconds();
        let settled = || async {
            let text = self.send(Method::GET, "/v1/status").await?;
            let status: Value = serde_json::from_str(&text)?;
            let cluster = status.pointer("/clusters/0").context("no cluster")?;
            let components = cluster.get("components").and_then(Value::as_object);
            let components = components.context("no components")?;
            for (name, component) in components {
                let at = component.get("lastSuccess").and_then(Value::as_str);
                let at: jiff::Timestamp = at.context("never")?.parse()?;
                ensure!(at.as_second() > now, "{name} was last taken at {at}");
                ensure!(
                    component.get("failuresInARow") == Some(&Value::from(0)),
                    "{name}: {component}"
                );
            }
            ensure!(
                cluster.get("run").is_none_or(Value::is_null),
                "a run is at work"
            );
            let metrics = self.send(Method::GET, "/metrics").await?;
            value(&metrics, "butler_backup_restore_points{cluster=\"soak\"}").context("no metric")
        };
        until("a daemon that has caught up", SETTLE, settled).await
    }

    /// Waits until leftovers from before now are older than the grace time and the daemon has swept after
    /// that.
    pub(super) async fn swept(&mut self) -> Result<()> {
        let old = jiff_seconds() + i64::try_from(GRACE.as_secs())?;
        let swept = || async {
            let text = self.send(Method::GET, "/v1/status").await?;
            let status: Value = serde_json::from_str(&text)?;
            let leftovers = status.pointer("/clusters/0/leftovers");
            let leftovers = leftovers.context("no leftovers in the status")?;
            let at = leftovers.get("lastSweep").and_then(Value::as_str);
            let at: jiff::Timestamp = at.with_context(|| leftovers.to_string())?.parse()?;
            ensure!(at.as_second() > old, "{leftovers}");
            Ok(())
        };
        until("a sweep of all that died", GRACE + SWEPT, swept).await
    }

    /// Returns the number of leftovers in the metrics.
    pub(super) async fn leftovers(&self) -> Result<u64> {
        let metrics = self.send(Method::GET, "/metrics").await?;
        let name = "butler_backup_leftovers_objects{cluster=\"soak\"}";
        value(&metrics, name).context("no metric of leftovers")
    }

    /// Ends the daemon, and checks everything that it left.
    pub(super) async fn judge(&mut self, report: &mut Report) -> Result<()> {
        let daemon = self.daemon.take().context("no daemon")?;
        daemon.signal("TERM").await?;
        daemon.ended().await?.ended_with(0)?;
        let sweep = self
            .programs
            .backupd()
            .args(["sweep", "--dry-run", "--output", "json"]);
        let sweep = self.ours(sweep).output().await?.ended_with(0)?.json()?;
        let count = |name| sweep.get(name).and_then(Value::as_u64);
        report.leftovers = count("leftoverObjects");
        report.old_leftovers = count("oldObjects");
        let list = self
            .programs
            .restore_cli()
            .args(["list", "--output", "json"]);
        let list = self.ours(list).output().await?.ended_with(0)?.json()?;
        let points = list
            .get("restorePoints")
            .and_then(Value::as_array)
            .context("no list")?;
        report.listed = u64::try_from(points.len())?;
        for point in points {
            let id = point.get("id").and_then(Value::as_str).context("no id")?;
            let verify = self.ours(self.programs.restore_cli().args(["verify", id]));
            let output = verify.output().await?;
            if output.code != Some(0) {
                report
                    .unsound
                    .push(format!("{id}: {}", output.stderr.trim()));
            }
        }
        let audit = self
            .programs
            .restore_cli()
            .args(["audit", "--output", "json"]);
        let audit = self.ours(audit).output().await?;
        report.audit = audit.code;
        let told = audit.json()?;
        report.unreferenced = told.get("unreferencedObjects").and_then(Value::as_u64);
        ensure!(
            self.talos.violations().is_empty(),
            "{:?}",
            self.talos.violations()
        );
        Ok(())
    }
}

fn value(metrics: &str, name: &str) -> Option<u64> {
    let line = metrics.lines().find(|line| line.starts_with(name))?;
    let value: f64 = line.rsplit(' ').next()?.parse().ok()?;
    format!("{value:.0}").parse().ok()
}

fn jiff_seconds() -> i64 {
    use backup_core::clock::Clock as _;
    backup_core::clock::SystemClock.now().as_second()
}
