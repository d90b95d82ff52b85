//! Steps of the show with the daemon: started, asked, checked, ended.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use e2e::port::Port;
use e2e::wait::until;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::screen::Screen;
use super::stage::{CONFIG, Stage};

/// Configuration with a schedule.
const SCHEDULE: &str = "daemon.yaml";
/// Time limit. A daemon answers in some milliseconds, and makes up for missed runs within seconds.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) async fn get(url: &str) -> Result<String> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client
        .request(Request::get(url).body(Full::default())?)
        .await?;
    ensure!(
        answer.status() == StatusCode::OK,
        "{url}: {}",
        answer.status()
    );
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8_lossy(&body).into_owned())
}

pub(super) async fn runs(screen: &mut Screen, stage: &Stage) -> Result<()> {
    screen.step(
        "Let it run by itself",
        "The daemon backs up by schedule, takes restore points on demand, and serves status and \
         metrics. It keeps nothing on disk: what was done before, the bucket tells.",
    )?;
    let folder = stage.core.folder.path();
    let text = std::fs::read_to_string(folder.join(CONFIG)).context("reading the configuration")?;
    let schedule = "runs: { time-zone: Europe/Zurich }\n\
                    components:\n  etcd: { cron: \"0 3 * * *\" }   # each night at three\n";
    std::fs::write(folder.join(SCHEDULE), text + schedule).context("writing the schedule")?;
    let port = Port::reserve()?;
    let listen = format!("127.0.0.1:{port}");
    let url = format!("http://{listen}");
    let run = stage
        .backupd("run")
        .args(["--config", SCHEDULE, "--listen", &listen])
        .args(["--health-listen", "127.0.0.1:0"]);
    crate::print(&format!("\n$ {} &", run.shown()))?;
    let daemon = run.start()?;
    let page = format!("{url}/readyz");
    until("a daemon that is ready", LIMIT, || get(&page)).await?;
    let snapshot = stage.backupd("snapshot").args(["--daemon", &url]);
    let snapshot = snapshot.args(["--component", "etcd", "--reason", "asked of the daemon"]);
    screen.run(&snapshot).await?;
    crate::print(&format!("\n$ curl {url}/v1/status"))?;
    let status: Value = serde_json::from_str(&get(&format!("{url}/v1/status")).await?)?;
    for (name, pointer) in [
        ("last success", "/components/etcd/lastSuccess"),
        ("restore point", "/components/etcd/lastRestorePoint"),
        ("next run", "/components/etcd/nextRun"),
        ("restore points", "/restorePoints/count"),
        ("objects checked after the commit", "/totals/checkedObjects"),
    ] {
        let value = status.pointer(&format!("/clusters/0{pointer}"));
        let value = value.with_context(|| format!("no {pointer} in {status}"))?;
        screen.line(&format!("{name}: {value}"))?;
    }
    crate::print(&format!(
        "\n$ curl {url}/metrics | grep -e last_run -e restore_points"
    ))?;
    let metrics = get(&format!("{url}/metrics")).await?;
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        if line.contains("_last_run_") || line.contains("_restore_points{") {
            screen.line(line)?;
        }
    }
    let told = metrics.contains("butler_backup_restore_points{cluster=\"butler-demo\"} 3.0");
    screen.holds(
        told,
        "the metrics count the restore points of before it was started, too",
    )?;
    daemon.signal("TERM").await?;
    daemon.ended().await?.ended_with(0)?;
    screen.line("SIGTERM: it ends, with nothing half-done")
}
