//! Benchmark of a daemon that watches many custom resources: its memory, and the cost of one changed object.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::etcd::Etcd;
use e2e::http::HttpClient;
use e2e::kube_apiserver::{KubeApiserver, Request};
use e2e::port::Port;
use e2e::{Folder, wait};
use serde_json::Value;

use crate::measure;
use crate::objects::{change, fill};
use crate::peers::{Peer, Repository};
use crate::report::{float, median, mib, table};

/// Seed of the objects; the same seed gives the same objects.
const SEED: u64 = 3;
/// User name of the daemon at the API server, whose audit log records its requests.
const DAEMON: &str = "the-daemon";
/// Debounce of the daemon: a change waits for two seconds of quiet.
const DEBOUNCE: &str = "runs: { on-change: { quiet: 2s, longest: 10s } }\n";
/// Pause after which a change is the first of its row again and freed memory is returned.
const REST: Duration = Duration::from_secs(15);
/// Time limit for a first restore point of everything, in an unoptimised build on a busy machine.
const CAPTURED_WITHIN: Duration = Duration::from_secs(600);
/// Pause between two queries.
const PAUSE: Duration = Duration::from_millis(100);

/// Running daemon, ended when this is dropped.
struct Running {
    child: Child,
    page: String,
    client: HttpClient,
}

/// Cost of one changed object.
struct Cost {
    /// Time from the change to the restore point.
    wall: Duration,
    /// Time of the run alone.
    run: Duration,
    /// Processor time of the daemon.
    cpu: Duration,
    peak: u64,
    bytes: u64,
    lists: usize,
    requests: usize,
}

/// Measures with `count` objects; reports medians of `rounds`.
pub(crate) async fn measure(
    count: usize,
    rounds: usize,
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<String> {
    say(&format!("filling a cluster with {count} custom resources"));
    let etcd = Etcd::start(scratch, "etcd").await?;
    let server = KubeApiserver::start_audited(scratch, "kube-apiserver", &etcd, DAEMON).await?;
    fill(&server, &etcd, count, SEED).await?;

    say("a daemon begins to watch them, and takes its first restore point");
    let repository = Repository::create(Peer::Ours, scratch.make("daemon")?, programs)?;
    let kubeconfig = server.kubeconfig_for(DAEMON, Some("system:masters"))?;
    let daemon = Running::start(&repository, &kubeconfig, server.ca())?;
    let began = Instant::now();
    let all = u64::try_from(count)?;
    let captured = wait::until("a restore point", CAPTURED_WITHIN, async || {
        let status = daemon.status().await?;
        let kept = status.pointer("/kept/objects").and_then(Value::as_u64);
        ensure!(kept >= Some(all), "{kept:?} objects are kept");
        ensure!(
            status.get("run").is_some_and(Value::is_null),
            "a run is at work"
        );
        Ok(status)
    });
    let status = captured.await?;
    let first = began.elapsed();
    let watches = status.pointer("/watches").and_then(Value::as_object);
    let watches = watches.map_or(0, serde_json::Map::len);
    tokio::time::sleep(REST).await;
    let id = daemon.child.id();
    let (rest, peak) = measure::resident(id).context("the daemon is gone")?;

    let mut costs = Vec::new();
    for round in 0..rounds.max(1) {
        say(&format!("round {}: one object changes", round + 1));
        costs.push(one(&daemon, &repository, &server, count, round).await?);
        tokio::time::sleep(REST).await;
    }
    let (rest_after, _) = measure::resident(id).context("the daemon is gone")?;
    let status = daemon.status().await?;
    let scratch_bytes = status.pointer("/kept/bytes").and_then(Value::as_u64);
    drop(daemon);

    let header = ["", "resident MiB", "peak MiB"];
    let rows = vec![
        vec![
            format!(
                "after the first restore point, {:.1} s",
                first.as_secs_f64()
            ),
            mib(rest),
            mib(peak),
        ],
        vec![
            "after the last change".to_owned(),
            mib(rest_after),
            mib(costs.iter().map(|c| c.peak).max().unwrap_or_default()),
        ],
    ];
    let title = format!(
        "A daemon that watches {count} custom resources ({watches} watches, scratch file of {} MiB)",
        mib(scratch_bytes.unwrap_or_default())
    );
    let memory = table(&title, header, rows);
    let middle = |of: &dyn Fn(&Cost) -> Duration| {
        let time = median(costs.iter().map(of).collect()).unwrap_or_default();
        format!("{:.2}", time.as_secs_f64())
    };
    let bytes = median(costs.iter().map(|c| c.bytes).collect()).unwrap_or_default();
    let header = [
        "s",
        "of it the run",
        "processor s",
        "KiB stored",
        "requests",
        "of them lists",
    ];
    let row = vec![
        middle(&|c| c.wall),
        middle(&|c| c.run),
        middle(&|c| c.cpu),
        format!("{:.1}", float(bytes) / 1024.0),
        median(costs.iter().map(|c| c.requests).collect())
            .unwrap_or_default()
            .to_string(),
        costs
            .iter()
            .map(|c| c.lists)
            .max()
            .unwrap_or_default()
            .to_string(),
    ];
    let title =
        "One of them changes: from the change to its restore point, two seconds of quiet in it";
    let cost = table(title, header, vec![row]);
    Ok(format!("{memory}\n{cost}"))
}

async fn one(
    daemon: &Running,
    repository: &Repository,
    server: &KubeApiserver,
    count: usize,
    round: usize,
) -> Result<Cost> {
    let id = daemon.child.id();
    let committed = |status: &Value| {
        let totals = status.pointer("/totals/committed").and_then(Value::as_u64);
        totals.context("no totals")
    };
    let before = committed(&daemon.status().await?)?;
    let stored = repository.size()?;
    let asked = server.audited()?.len();
    let cpu = measure::cpu(id).context("the daemon is gone")?;
    measure::forget_peak(id)?;
    change(server, count / 2, round).await?;
    let began = Instant::now();
    let status = loop {
        let status = daemon.status().await?;
        if committed(&status)? > before {
            break status;
        }
        ensure!(
            began.elapsed() < CAPTURED_WITHIN,
            "no restore point: {status}"
        );
        tokio::time::sleep(PAUSE).await;
    };
    let wall = began.elapsed();
    let after = measure::cpu(id).context("the daemon is gone")?;
    let (_, peak) = measure::resident(id).context("the daemon is gone")?;
    let requests = server.audited()?.split_off(asked);
    let lists: Vec<&Request> = requests.iter().filter(|r| r.verb == "list").collect();
    let time = |pointer: &str| -> Result<jiff::Timestamp> {
        let text = status.pointer(pointer).and_then(Value::as_str);
        text.with_context(|| format!("no {pointer}"))?
            .parse()
            .context("reading a time")
    };
    let run = time("/recent/0/ended")?.duration_since(time("/recent/0/began")?);
    Ok(Cost {
        wall,
        run: run.unsigned_abs(),
        cpu: after.saturating_sub(cpu),
        peak,
        bytes: repository.size()?.saturating_sub(stored),
        lists: lists.len(),
        requests: requests.len(),
    })
}

impl Running {
    fn start(repository: &Repository, kubeconfig: &Path, ca: &str) -> Result<Self> {
        let port = Port::reserve()?;
        let listen = format!("127.0.0.1:{port}");
        let mut command = repository.daemon(kubeconfig, DEBOUNCE, &listen)?;
        command.env("LOG_LEVEL", "warn");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Self {
            child: command.spawn().context("starting the daemon")?,
            page: format!("http://{listen}/v1/status"),
            client: HttpClient::new(ca, None)?,
        })
    }

    async fn status(&self) -> Result<Value> {
        let (status, body) = self.client.get(&self.page, None).await?;
        ensure!(status.is_success(), "{}: {status}", self.page);
        let whole: Value = serde_json::from_slice(&body).context("reading the status")?;
        let cluster = whole.pointer("/clusters/0").cloned();
        cluster.context("no cluster is told")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // This is our own child; it is fine if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
