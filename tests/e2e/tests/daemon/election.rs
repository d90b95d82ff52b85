//! Tests of several daemons and one lease.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::wait::until;
use http::StatusCode;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::running::{Daemon, SELDOM, configure};
use super::site::ChainSite;

const ETCD: &str = "{\"components\":[\"etcd\"]}";

/// Line to the API server that can be cut.
pub(crate) struct Line {
    pub(crate) port: u16,
    pub(crate) up: watch::Sender<bool>,
    _tasks: Arc<tokio::sync::Mutex<JoinSet<()>>>,
}

impl Line {
    pub(crate) async fn to(url: &str) -> Result<Self> {
        let target = url.rsplit("//").next().context("no address")?.to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let (up, is_up) = watch::channel(true);
        let tasks = Arc::new(tokio::sync::Mutex::new(JoinSet::new()));
        let inner = Arc::clone(&tasks);
        tasks.lock().await.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut is_up) = (target.clone(), is_up.clone());
                inner.lock().await.spawn(async move {
                    if *is_up.borrow() {
                        tokio::select! {
                            () = pass(near, &target) => {}
                            _ = is_up.wait_for(|up| !up) => {}
                        }
                    }
                });
            }
        });
        Ok(Self {
            port,
            up,
            _tasks: tasks,
        })
    }
}

async fn pass(mut near: TcpStream, target: &str) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        // The result does not matter: its end is the end of the connection.
        drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
    }
}

async fn lead(daemon: &Daemon) -> Result<String> {
    let status = daemon.status().await?;
    Ok(status["lead"]["state"]
        .as_str()
        .context("no lead")?
        .to_owned())
}

async fn leading(daemon: &Daemon) -> Result<()> {
    let lead = lead(daemon).await?;
    ensure!(lead == "leading", "it is {lead}");
    Ok(())
}

/// Waits until the lead of `daemon` is `wanted`, and checks that the two never lead together.
async fn becomes(daemon: &Daemon, other: &Daemon, wanted: &str, seconds: u64) -> Result<()> {
    let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let (own, others) = (lead(daemon).await?, lead(other).await?);
        ensure!(own != "leading" || others != "leading", "both lead");
        if own == wanted {
            return Ok(());
        }
        ensure!(
            tokio::time::Instant::now() < end,
            "it is {own}, not {wanted}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn kubeconfig(server: &KubeApiserver, folder: &Path, line: &Line) -> Result<PathBuf> {
    let text = std::fs::read_to_string(server.kubeconfig())?;
    let text = text.replace(&server.url(), &format!("https://127.0.0.1:{}", line.port));
    let path = folder.join(format!("kubeconfig-{}", line.port));
    std::fs::write(&path, text)?;
    Ok(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_and_one_that_is_cut_off_from_the_api_stops_at_once() -> Result<()> {
    let site = ChainSite::new().await?;
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd-of-the-lease").await?;
    let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
    configure(&site, SELDOM)?;
    let start = |line: &Line| {
        let kubeconfig = kubeconfig(&server, folder.path(), line);
        let run =
            site.backupd("run")
                .args(["--lease", "default/butler-backup", "--lease-kubeconfig"]);
        async { Daemon::start_with(run.arg(kubeconfig?)).await }
    };
    let (line_a, line_b) = (
        Line::to(&server.url()).await?,
        Line::to(&server.url()).await?,
    );
    let a = start(&line_a).await?;
    let b = start(&line_b).await?;
    becomes(&a, &b, "leading", 30).await?;
    becomes(&b, &a, "following", 30).await?;
    a.committed(1).await?;
    let (status, text) = b.post("", &[], ETCD).await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert_eq!(b.metric("butler_backup_leading").await?, 0.0);
    // It reports restore points of the other daemon, also without making runs.
    b.until("a restore point of the other's", |c| {
        c["restorePoints"].is_object()
    })
    .await?;

    // The leader is cut off from the API server, and not from the store.
    line_a.up.send_replace(false);
    becomes(&a, &b, "following", 20).await?;
    let (status, text) = a.post("", &[], ETCD).await?;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    becomes(&b, &a, "leading", 40).await?;
    let transitions = b.status().await?["lead"]["transitions"].clone();
    assert_eq!(transitions, 1);
    assert_eq!(b.post("", &[], ETCD).await?.0, StatusCode::OK);

    // The line is back: it follows. The leader dies: it leads again.
    line_a.up.send_replace(true);
    b.kill().await?;
    let leads = || async { leading(&a).await };
    until("the first leads again", Duration::from_secs(60), leads).await?;
    assert_eq!(a.post("", &[], ETCD).await?.0, StatusCode::OK);
    a.stop().await?.ended_with(0)?;
    let lease = server
        .read("/apis/coordination.k8s.io/v1/namespaces/default/leases/butler-backup")
        .await?;
    assert!(
        lease["spec"]["holderIdentity"].is_null(),
        "it was not given back: {lease}"
    );
    let points = site.listed().await?;
    assert_eq!(points.len(), 3);
    for point in points {
        site.verified(&point).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_is_away_for_long_does_not_stop_etcd() -> Result<()> {
    let site = ChainSite::new().await?;
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd-of-the-lease").await?;
    let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
    let line = Line::to(&server.url()).await?;
    line.up.send_replace(false);
    configure(&site, SELDOM)?;
    let run = site
        .backupd("run")
        .args(["--lease", "default/butler-backup", "--alone-after", "5"]);
    let run = run
        .arg("--lease-kubeconfig")
        .arg(kubeconfig(&server, folder.path(), &line)?);
    let daemon = Daemon::start_with(run).await?;
    assert_eq!(lead(&daemon).await?, "following");
    let cluster = daemon.committed(1).await?;
    assert_eq!(
        cluster["recent"][0]["components"],
        Value::from(vec!["etcd"])
    );
    assert_eq!(lead(&daemon).await?, "alone");
    line.up.send_replace(true);
    let leads = || async { leading(&daemon).await };
    until("it leads", Duration::from_secs(30), leads).await?;
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_without_an_election_break_nothing() -> Result<()> {
    let site = ChainSite::new().await?;
    let a = Daemon::start(&site, SELDOM, &[]).await?;
    let b = Daemon::start_with(site.backupd("run")).await?;
    let (one, two) = tokio::join!(a.post("", &[], ETCD), b.post("", &[], ETCD));
    assert_eq!((one?.0, two?.0), (StatusCode::OK, StatusCode::OK));
    a.stop().await?.ended_with(0)?;
    b.stop().await?.ended_with(0)?;
    let points = site.listed().await?;
    assert!(points.len() >= 3, "{points:?}");
    for point in points {
        site.verified(&point).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_share_the_clusters_without_a_word() -> Result<()> {
    let site = ChainSite::new().await?;
    configure(&site, SELDOM)?;
    let text = std::fs::read_to_string(site.folder.join("butler.yaml"))?;
    let text = text.replace("config: talosconfig", "config: ../talosconfig");
    std::fs::create_dir(site.folder.join("schedules"))?;
    for number in 0..6 {
        let own = text.replace("cluster: test", &format!("cluster: c-{number}"));
        let own = own.replace(super::site::PREFIX, &format!("clusters/c-{number}"));
        std::fs::write(site.folder.join(format!("schedules/c-{number}.yaml")), own)?;
    }
    let mut all = Vec::new();
    for shard in ["0/2", "1/2"] {
        let run = site
            .backupd("run")
            .args(["--config", "schedules", "--shard", shard]);
        let daemon = Daemon::start_with(run).await?;
        let status = daemon.status().await?;
        let names = status["clusters"].as_array().into_iter().flatten();
        all.extend(names.filter_map(|c| c["cluster"].as_str().map(ToOwned::to_owned)));
        daemon.stop().await?.ended_with(0)?;
    }
    all.sort();
    assert_eq!(all, ["c-0", "c-1", "c-2", "c-3", "c-4", "c-5"]);
    Ok(())
}
