//! Tests that watched changes are taken soon enough.

use std::time::Duration;

use anyhow::{Context as _, Result};
use backup_core::clock::{Clock as _, SystemClock};
use e2e::butler::define;
use e2e::sealed_secrets::SealedSecrets;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::{Cluster, LONGEST, TEAMS, settled, team};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sealing_key_is_in_the_bucket_within_ten_seconds_of_its_birth() -> Result<()> {
    let cluster = Cluster::audited().await?;
    define(&cluster.server, "sealedsecrets.bitnami.com").await?;
    let mut controller = SealedSecrets::start(
        &cluster.folder,
        "sealed-secrets",
        &cluster.server,
        "kube-system",
    )
    .await?;
    let components = ["crds", "resources", "sealed-secrets", "secrets"];
    let daemon = cluster
        .daemon(&cluster.server.kubeconfig(), &components)
        .await?;
    let before = settled(&daemon).await?;
    let watched = before["watches"]["secrets"].clone();
    let concerned = watched["components"].as_array().context("no components")?;
    assert!(concerned.iter().any(|c| c == "sealed-secrets"), "{watched}");

    let key = controller.renew(&cluster.server).await?;
    let name = key["metadata"]["name"].as_str().context("no name")?;
    // The time has whole seconds, so it may be too early, and never too late.
    let born = key["metadata"]["creationTimestamp"].as_str();
    let born: Timestamp = born.context("no birth")?.parse()?;
    let path = format!("resources/secrets/namespaces/kube-system/{name}.json");
    let point = cluster.has("sealed-secrets", &path).await?;
    let ended: Timestamp = point["ended"].as_str().context("no end")?.parse()?;
    let took = ended.duration_since(born);
    println!("a new sealing key was in the bucket {took:#} after its birth");
    assert!(took <= SignedDuration::from_secs(10), "{took:#}");
    let reason = point["reason"].as_str().context("no reason")?;
    let told = format!("change: secrets kube-system/{name} was made");
    assert!(reason.starts_with(&told), "{reason}");
    daemon.stop().await?.ended_with(0)?;
    cluster.one_after_the_other().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_resource_and_a_new_kind_are_taken_within_the_longest_wait() -> Result<()> {
    let cluster = Cluster::audited().await?;
    let daemon = cluster
        .daemon(&cluster.server.kubeconfig(), &["crds", "resources"])
        .await?;
    settled(&daemon).await?;
    let began = SystemClock.now();
    cluster.server.create(TEAMS, &team("payments")).await?;
    let path = "resources/teams.butler.butlerlabs.dev/cluster/payments.json";
    let point = cluster.has("resources", path).await?;
    let begun: Timestamp = point["began"].as_str().context("no begin")?.parse()?;
    let waited = begun.duration_since(began);
    println!("a run began {waited:#} after the change");
    assert!(
        waited <= SignedDuration::from_secs(LONGEST + 1),
        "{waited:#}"
    );
    let reason = point["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("teams.butler.butlerlabs.dev payments was made"),
        "{reason}"
    );

    // Objects of a kind that was just made, before it is watched.
    define(&cluster.server, "users.butler.butlerlabs.dev").await?;
    let users = "/apis/butler.butlerlabs.dev/v1alpha1/users";
    let user = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "User",
        "metadata": { "name": "ada" }, "spec": { "email": "ada@example.org" },
    });
    cluster.server.create(users, &user).await?;
    let path = "resources/users.butler.butlerlabs.dev/cluster/ada.json";
    cluster.has("resources", path).await?;
    let path = "resources/customresourcedefinitions.apiextensions.k8s.io/cluster/users.butler.butlerlabs.dev.json";
    cluster.has("crds", path).await?;
    let watched = |c: &Value| c["watches"]["users.butler.butlerlabs.dev"]["state"] == "watching";
    daemon.until("a watch on the new kind", watched).await?;

    // A daemon at rest: nothing changes, so nothing is taken, and the lag is that of bookmarks.
    let count = cluster.points().await?.len();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(cluster.points().await?.len(), count);
    let lag = daemon
        .metric("butler_backup_watch_lag_seconds{cluster=\"test\"}")
        .await?;
    assert!(lag < 150.0, "{lag}");
    daemon.stop().await?.ended_with(0)?;
    cluster.one_after_the_other().await?;
    Ok(())
}
