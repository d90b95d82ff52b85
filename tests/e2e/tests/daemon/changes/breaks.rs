//! Tests of watches that break.

use anyhow::Result;
use e2e::run::tells;
use serde_json::Value;

use super::super::election::{Line, kubeconfig};
use super::{Cluster, TEAMS, settled, team};

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_goes_on_and_misses_nothing() -> Result<()> {
    let mut cluster = Cluster::audited().await?;
    let line = Line::to(&cluster.server.url()).await?;
    let kubeconfig = kubeconfig(&cluster.server, cluster.folder.path(), &line)?;
    let daemon = cluster.daemon(&kubeconfig, &["resources"]).await?;
    settled(&daemon).await?;
    let path = |name: &str| format!("resources/teams.butler.butlerlabs.dev/cluster/{name}.json");
    let broken = |c: &Value| c["watches"]["teams.butler.butlerlabs.dev"]["state"] == "broken";

    // The line is cut, and changes meanwhile are noticed after its return.
    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster.server.create(TEAMS, &team("meanwhile")).await?;
    line.up.send_replace(true);
    let point = cluster.has("resources", &path("meanwhile")).await?;
    let reason = point["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("teams.butler.butlerlabs.dev meanwhile was made"),
        "{reason}"
    );
    let healed = settled(&daemon).await?;
    assert_eq!(healed["totals"]["watchesLost"], 0, "{healed}");
    assert!(healed["totals"]["watchBreaks"].as_u64() > Some(0));

    // The API server is killed while the line is cut, and remembers nothing of its earlier events.
    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster
        .server
        .create(TEAMS, &team("before-the-end"))
        .await?;
    cluster.server.restart().await?;
    line.up.send_replace(true);
    cluster.has("resources", &path("before-the-end")).await?;
    let healed = settled(&daemon).await?;
    println!("after a restart: {}", healed["totals"]);
    // Objects that the server cannot report on count as changed.
    assert!(healed["totals"]["watchesLost"].as_u64() > Some(0));
    cluster.server.create(TEAMS, &team("after")).await?;
    cluster.has("resources", &path("after")).await?;
    let output = daemon.stop().await?.ended_with(0)?;
    tells(&output, &["the watch broke; trying again"]);
    cluster.one_after_the_other().await?;
    Ok(())
}
