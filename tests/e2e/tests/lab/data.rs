//! Tests of the sample data: the same for the same seed, and changing over time.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use e2e::Folder;
use e2e::data::{Cluster, Shape};
use e2e::etcd::{Etcd, EtcdClient, Options, rpc};
use e2e::etcdutl;

const SHAPE: Shape = Shape {
    objects: 600,
    nodes: 3,
    seed: 7,
};

async fn everything(client: &EtcdClient) -> Result<BTreeMap<String, Vec<u8>>> {
    let request = rpc::RangeRequest {
        key: b"/registry/".to_vec(),
        range_end: b"/registry0".to_vec(),
        ..Default::default()
    };
    let kvs = client.kv().range(request).await?.into_inner().kvs;
    kvs.into_iter()
        .map(|kv| Ok((String::from_utf8(kv.key)?, kv.value)))
        .collect()
}

async fn etcd(folder: &Folder, name: &str) -> Result<Etcd> {
    let options = Options {
        tls: false,
        members: 1,
        ..Options::default()
    };
    Etcd::start_with(folder, name, options)
        .await?
        .pop()
        .context("no member")
}

#[tokio::test]
async fn the_same_seed_gives_the_same_cluster() -> Result<()> {
    let folder = Folder::new()?;
    let mut contents = Vec::new();
    for (name, seed) in [("one", 7), ("two", 7), ("other", 8)] {
        let etcd = etcd(&folder, name).await?;
        let client = etcd.client().await?;
        let mut cluster = Cluster::fill(&client, Shape { seed, ..SHAPE }).await?;
        cluster.churn(&client, 70).await?;
        contents.push(everything(&client).await?);
    }
    assert_eq!(contents[0], contents[1]);
    assert_ne!(contents[0], contents[2]);
    Ok(())
}

#[tokio::test]
async fn values_look_like_those_of_a_real_cluster() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = etcd(&folder, "etcd").await?;
    let client = etcd.client().await?;
    Cluster::fill(&client, SHAPE).await?;
    let all = everything(&client).await?;
    assert!(all.len() > SHAPE.objects);
    for (key, value) in &all {
        let start: &[u8] = match key.split('/').nth(2).context("a short key")? {
            "secrets" => b"k8s:enc:secretbox:v1:key2:",
            group if group.contains('.') => b"{\"apiVersion\":",
            _ => b"k8s\0",
        };
        assert!(value.starts_with(start), "{key}");
        assert!(value.len() < 16_000, "{key} has {} bytes", value.len());
    }
    Ok(())
}

#[tokio::test]
async fn hours_pass_and_the_file_stays_valid() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = etcd(&folder, "etcd").await?;
    let client = etcd.client().await?;
    let mut cluster = Cluster::fill(&client, SHAPE).await?;
    let objects =
        client.count("/registry/pods/").await? + client.count("/registry/secrets/").await?;
    assert!(objects > 0);

    let done = cluster.churn(&client, 150).await?;
    assert!(
        done.renewals > 0 && done.events > 0 && done.updates > 0,
        "{done:?}"
    );
    assert!(done.changes > 0 && done.replaced > 0, "{done:?}");
    assert_eq!(done.compactions, 150 / 5 - 1);
    let events = client.count("/registry/events/").await?;
    assert!(
        events > 0 && u64::try_from(events)? < done.events,
        "old events are gone: {events}"
    );

    let file = folder.join("churned.db");
    client.snapshot(&file).await?;
    let status = etcdutl::status(&file).await?;
    assert_eq!(status.revision, done.revision);

    client.defragment().await?;
    client.snapshot(&file).await?;
    let after = etcdutl::status(&file).await?;
    assert_eq!(
        (after.revision, after.total_key),
        (status.revision, status.total_key)
    );
    assert!(
        after.total_size < status.total_size,
        "a defragmentation leaves no free pages"
    );
    Ok(())
}
