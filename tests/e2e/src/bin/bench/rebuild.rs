//! Benchmark of a restore of many custom resources into a fresh cluster, in objects per second.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::data::objects;
use e2e::etcd::Etcd;
use e2e::fresh::Fresh;
use e2e::kube_apiserver::KubeApiserver;
use e2e::{Folder, butler};

use crate::measure;
use crate::peers::{Peer, Repository};
use crate::report::{mib, table};

/// Kind of the objects.
const KIND: &str = "tenantaddons.butler.butlerlabs.dev";
/// Seed of the objects; the same seed gives the same objects.
const SEED: u64 = 2;

/// Measures with `count` objects, each with a status that is written separately.
pub(crate) async fn measure(
    count: usize,
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<String> {
    say(&format!("filling a cluster with {count} custom resources"));
    let repository = {
        let etcd = Etcd::start(scratch, "etcd").await?;
        let server = KubeApiserver::start(scratch, "kube-apiserver", &etcd).await?;
        butler::define(&server, KIND).await?;
        objects::fill(&server, &etcd, count, SEED).await?;
        let repository = Repository::create(Peer::Ours, scratch.make("rebuild")?, programs)?;
        say("a restore point of them");
        measure::run(vec![repository.export(&server.kubeconfig())])?;
        repository
    };
    say("a fresh cluster");
    let fresh = Fresh::start(scratch, "fresh").await?;
    measure::run(vec![repository.rebuild(&fresh.kubeconfig(), "crds")])?;
    say("restoring them");
    let took = measure::run(vec![repository.rebuild(&fresh.kubeconfig(), "resources")])?;
    let list = format!("{}?limit=1", objects::LIST);
    let page = fresh.kube_apiserver.read(&list).await?;
    let left = page
        .pointer("/metadata/remainingItemCount")
        .and_then(serde_json::Value::as_u64);
    let there = left.context("a list without a count")?.saturating_add(1);
    ensure!(
        there == u64::try_from(count)?,
        "{there} of {count} objects came back"
    );
    let seconds = took.wall.as_secs_f64();
    #[expect(
        clippy::as_conversions,
        clippy::cast_precision_loss,
        reason = "a figure to look at"
    )]
    let speed = count as f64 / seconds.max(1e-6);
    let header = ["objects", "s", "objects/s", "peak MiB"];
    let row = vec![
        count.to_string(),
        format!("{seconds:.1}"),
        format!("{speed:.0}"),
        mib(took.peak),
    ];
    let title = "Custom resources with status restored into a fresh cluster on the same cores: plan \
                 with a dry run of each, then each made, its status written, both in the journal";
    Ok(table(title, header, vec![row]))
}
