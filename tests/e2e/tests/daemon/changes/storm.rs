//! Tests of changes that do not end.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::json;

use super::{Cluster, LONGEST, MAPS, settled};

/// Number of updates: 10 000 in about a minute, if the machine can; ten objects take them in turns.
const UPDATES: u32 = 10_000;
const AT_ONCE: usize = 10;
const PAUSE: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_makes_few_restore_points_and_the_last_has_its_end() -> Result<()> {
    let cluster = Cluster::audited().await?;
    let server = &cluster.server;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
    });
    server.create("/api/v1/namespaces", &namespace).await?;
    let map = |name: u32, round: u32| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("storm-{name}"), "namespace": "butler-system" },
            "data": { "round": round.to_string() },
        })
    };
    for name in 0..10 {
        server.create(MAPS, &map(name, 0)).await?;
    }
    let daemon = cluster.daemon(&server.kubeconfig(), &["secrets"]).await?;
    settled(&daemon).await?;
    let before = cluster.points().await?.len();
    let began = tokio::time::Instant::now();
    futures::stream::iter(0..UPDATES)
        .map(|number| {
            let (name, round) = (number % 10, number / 10 + 1);
            let path = format!("{MAPS}/storm-{name}");
            async move {
                tokio::time::sleep(PAUSE).await;
                server.replace(&path, &map(name, round)).await
            }
        })
        .buffered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let storm = began.elapsed();
    assert!(storm > Duration::from_secs(40), "no storm: {storm:?}");
    let end = map(11, 1);
    server.create(MAPS, &end).await?;
    let path = "resources/configmaps/namespaces/butler-system/storm-11.json";
    cluster.has("secrets", path).await?;
    daemon
        .until("quiet", |c| {
            c["run"].is_null() && c["totals"]["changes"].as_u64() > Some(u64::from(UPDATES))
        })
        .await?;
    daemon.stop().await?.ended_with(0)?;
    let taken = cluster.one_after_the_other().await? - before;
    println!("{UPDATES} updates in {storm:?} made {taken} restore points");
    // One for each longest wait, and those of its end.
    let most = storm.as_secs() / u64::try_from(LONGEST)? + 3;
    assert!(u64::try_from(taken)? <= most, "{taken} in {storm:?}");
    let newest = cluster.points().await?.pop().context("no restore point")?;
    let id = newest["id"].as_str().context("no id")?;
    cluster.paths(id, "secrets").await?;
    let file = cluster.site.folder.join("secrets.tar");
    for name in 0..10 {
        let path = format!("resources/configmaps/namespaces/butler-system/storm-{name}.json");
        let object = e2e::run::Command::new("tar")
            .arg("-xOf")
            .arg(&file)
            .arg(path);
        let object = object.json().await?;
        assert_eq!(object["data"]["round"], (UPDATES / 10).to_string());
    }
    Ok(())
}
