//! Running daemon and its reports.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use e2e::port::Port;
use e2e::run::{Command, Output, Running};
use e2e::wait::until;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::site::ChainSite;

/// Time limit. A run of the small database takes a second; a busy machine gets much more.
const LIMIT: Duration = Duration::from_secs(90);

/// Components: etcd alone, at a time that does not come while a test runs. The missed run is made up for at
/// once.
pub(crate) const SELDOM: &str = "components: { etcd: { cron: 0 3 29 2 * } }\n";

/// Running daemon; see the module.
pub(crate) struct Daemon {
    running: Running,
    port: Port,
    health: Port,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Daemon {
    /// Starts it with `more` at the end of the site's configuration.
    pub(crate) async fn start(site: &ChainSite, more: &str, flags: &[&str]) -> Result<Self> {
        configure(site, more)?;
        Self::start_with(site.backupd("run").args(flags)).await
    }

    /// Starts `command` on a port of its own, and waits until it answers.
    pub(crate) async fn start_with(command: Command) -> Result<Self> {
        let (port, health) = (Port::reserve()?, Port::reserve()?);
        let command = command.args(["--listen", &format!("127.0.0.1:{port}")]);
        let command = command.args(["--health-listen", &format!("127.0.0.1:{health}")]);
        let running = command.start()?;
        let daemon = Self {
            running,
            port,
            health,
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
        };
        let alive = || async {
            match daemon.get("/healthz").await {
                Ok((StatusCode::OK, _)) => Ok(()),
                other => anyhow::bail!("{other:?}"),
            }
        };
        until("a daemon that answers", LIMIT, alive).await?;
        Ok(daemon)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn health_port(&self) -> u16 {
        self.health.number()
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<(StatusCode, String)> {
        let answer = self.client.request(request).await.context("no answer")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, String)> {
        let request = Request::get(format!("{}{path}", self.url()));
        self.send(request.body(Full::default())?).await
    }

    pub(crate) async fn get_with(
        &self,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Result<(StatusCode, String)> {
        let mut request = Request::get(format!("{}{path}", self.url()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default())?).await
    }

    /// Sends `POST /v1/snapshots`, and returns the whole answer.
    pub(crate) async fn post(
        &self,
        query: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<(StatusCode, String)> {
        let url = format!("{}/v1/snapshots{query}", self.url());
        let mut request = Request::builder().method(Method::POST).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::from(body.to_owned()))?).await
    }

    pub(crate) async fn status(&self) -> Result<Value> {
        let (status, body) = self.get("/v1/status").await?;
        ensure!(status == StatusCode::OK, "{status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    /// Returns the status of cluster `test`.
    pub(crate) async fn cluster(&self) -> Result<Value> {
        let status = self.status().await?;
        let clusters = status["clusters"].as_array().context("no clusters")?;
        let cluster = clusters.iter().find(|cluster| cluster["cluster"] == "test");
        cluster
            .cloned()
            .with_context(|| format!("no cluster: {status}"))
    }

    /// Waits until the status of cluster `test` is as `wanted` says.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let check = || async {
            let cluster = self.cluster().await?;
            wanted(&cluster).then_some(cluster).context("not yet")
        };
        match until(what, LIMIT, check).await {
            Ok(cluster) => Ok(cluster),
            Err(error) => Err(error.context(format!("{}", self.status().await?))),
        }
    }

    /// Waits until this many runs have succeeded.
    pub(crate) async fn committed(&self, count: u64) -> Result<Value> {
        let what = format!("{count} restore points");
        self.until(&what, |cluster| cluster["totals"]["committed"] == count)
            .await
    }

    /// Returns the value of a metric, given with its labels.
    pub(crate) async fn metric(&self, name: &str) -> Result<f64> {
        let (_, text) = self.get("/metrics").await?;
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let value = line
            .and_then(|line| line.rsplit(' ').next())
            .and_then(|v| v.parse().ok());
        value.with_context(|| format!("{name} is not in:\n{text}"))
    }

    /// Ends it by SIGTERM; returns its log.
    pub(crate) async fn stop(self) -> Result<Output> {
        self.running.signal("TERM").await?;
        self.running.ended().await
    }

    /// Kills it, as a power cut would.
    pub(crate) async fn kill(self) -> Result<()> {
        self.running.kill().await
    }
}

/// Writes the site's configuration with `more` at its end.
pub(crate) fn configure(site: &ChainSite, more: &str) -> Result<()> {
    site.configure(&site.bucket, super::site::PREFIX)?;
    let path = site.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&path)?;
    std::fs::write(&path, format!("{text}{more}")).context("writing butler.yaml")
}
