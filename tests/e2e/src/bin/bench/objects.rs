//! Benchmark of the export of many custom resources, against the same pages fetched and thrown away.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::data::objects;
use e2e::etcd::Etcd;
use e2e::http::HttpClient;
use e2e::kube_apiserver::KubeApiserver;
use e2e::{Folder, butler, wait};
use serde::Deserialize;
use serde_json::json;

use crate::measure::{self, Took};
use crate::peers::{Peer, Repository};
use crate::report::{float, median, mib, table};

/// Kind of the objects.
const KIND: &str = "tenantaddons.butler.butlerlabs.dev";
/// Objects in a page, as every Kubernetes client requests them.
const PAGE: u32 = 500;
/// Seed of the objects; the same seed gives the same objects.
const SEED: u64 = 1;

/// Time limit for the server's cache. A hundred thousand objects that the server did not create itself take
/// it half a minute.
const SETTLED_WITHIN: Duration = Duration::from_secs(300);

/// Cost of a capture and the bytes that it stored.
struct Capture {
    took: Took,
    stored: u64,
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
    let server = KubeApiserver::start(scratch, "kube-apiserver", &etcd).await?;
    let bytes = fill(&server, &etcd, count, SEED).await?;

    let mut pages = Vec::new();
    let (mut first, mut same, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds.max(1) {
        say(&format!(
            "round {}: pages fetched and thrown away",
            round + 1
        ));
        pages.push(bare(&server, count).await?.0);
        let folder = scratch.make(format!("objects-{round}"))?;
        let repository = Repository::create(Peer::Ours, folder, programs)?;
        say("a first restore point");
        first.push(capture(&repository, &server)?);
        say("another, without a change");
        same.push(capture(&repository, &server)?);
        change(&server, count / 2, round).await?;
        say("another, after one change");
        changed.push(capture(&repository, &server)?);
    }
    let bare = median(pages).unwrap_or_default();
    let rows = vec![
        vec![
            format!("the same pages, {PAGE} objects each, thrown away"),
            seconds(bare),
            "1.00".to_owned(),
            String::new(),
            String::new(),
            String::new(),
        ],
        row("a first restore point", &first, bare),
        row("another, nothing changed", &same, bare),
        row("another, one object changed", &changed, bare),
    ];
    let header = ["", "s", "ratio", "processor s", "peak MiB", "KiB stored"];
    let title = format!(
        "{count} custom resources exported from a real API server on the same cores ({} MB as JSON)",
        bytes / 1_000_000
    );
    Ok(table(&title, header, rows))
}

/// Makes `count` objects, and waits until all can be listed; returns their bytes.
pub(crate) async fn fill(
    server: &KubeApiserver,
    etcd: &Etcd,
    count: usize,
    seed: u64,
) -> Result<usize> {
    butler::define(server, KIND).await?;
    objects::fill(server, etcd, count, seed).await?;
    // Until the server has read its etcd into its own cache, pages time out.
    let settled = wait::until("a list of everything", SETTLED_WITHIN, async || {
        bare(server, count).await
    });
    Ok(settled.await?.1)
}

fn row(words: &str, captures: &[Capture], bare: Duration) -> Vec<String> {
    let wall = median(captures.iter().map(|c| c.took.wall).collect()).unwrap_or_default();
    let cpu = median(captures.iter().map(|c| c.took.cpu).collect()).unwrap_or_default();
    let peak = median(captures.iter().map(|c| c.took.peak).collect()).unwrap_or_default();
    let stored = median(captures.iter().map(|c| c.stored).collect()).unwrap_or_default();
    vec![
        words.to_owned(),
        seconds(wall),
        format!("{:.2}", wall.as_secs_f64() / bare.as_secs_f64().max(1e-6)),
        format!("{:.2}", cpu.as_secs_f64()),
        mib(peak),
        format!("{:.1}", float(stored) / 1024.0),
    ]
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

/// Stores the cluster's definitions and objects; all bytes that the run left in the store count.
fn capture(repository: &Repository, server: &KubeApiserver) -> Result<Capture> {
    let before = repository.size()?;
    let took = measure::run(vec![repository.export(&server.kubeconfig())])?;
    let stored = repository.size()?.saturating_sub(before);
    Ok(Capture { took, stored })
}

/// Part of a page that its client must read to request the next one.
#[derive(Deserialize)]
struct Page {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// Fetches every page over one connection, one after another, and throws it away.
async fn bare(server: &KubeApiserver, count: usize) -> Result<(Duration, usize)> {
    let client = HttpClient::new(server.ca(), None)?;
    let list = format!("{}{}?limit={PAGE}", server.url(), objects::LIST);
    let began = Instant::now();
    let (mut pages, mut bytes, mut next) = (0_usize, 0, String::new());
    loop {
        let url = match next.as_str() {
            "" => list.clone(),
            token => format!("{list}&continue={token}"),
        };
        let (status, body) = client.get(&url, Some(server.token())).await?;
        ensure!(status.is_success(), "{url}: {status}");
        let page: Page = serde_json::from_slice(&body).context("reading a page")?;
        pages += 1;
        bytes += body.len();
        next = page.metadata.next;
        if next.is_empty() {
            break;
        }
    }
    let expected = count.div_ceil(usize::try_from(PAGE)?);
    ensure!(
        pages == expected,
        "{pages} pages of {count} objects instead of {expected}"
    );
    Ok((began.elapsed(), bytes))
}

/// Changes object `number` as its controller would.
pub(crate) async fn change(server: &KubeApiserver, number: usize, round: usize) -> Result<()> {
    let path = objects::path(number);
    let mut object = server.read(&path).await?;
    let version = object.pointer_mut("/spec/version").context("no version")?;
    *version = json!(format!("1.17.{}", round + 1));
    server.replace(&path, &object).await?;
    Ok(())
}
