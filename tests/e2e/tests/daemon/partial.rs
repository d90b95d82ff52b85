//! Tests that a component which lacks an object is not a success: in status, metrics and retries, until it is
//! whole again.

use anyhow::Result;
use serde_json::json;

use super::api::Cluster;
use super::running::Daemon;

const SECRETS: &str = "/api/v1/namespaces/butler-system/secrets";
const LOST: &str = "/registry/secrets/default/lost-key";
const OF_LAST_YEAR: &str = "k8s:enc:aescbc:v1:key-of-last-year:0123456789abcdef0123456789abcdef";
const GAPS: &str = "butler_backup_component_gaps{cluster=\"mgmt\",component=\"secrets\"}";

async fn secret(cluster: &Cluster, name: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": name, "namespace": "butler-system" },
        "stringData": { "password": "hunter2" },
    });
    cluster.server.create(SECRETS, &object).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_lacks_an_object_is_no_success() -> Result<()> {
    let cluster = Cluster::start(&["teams.butler.butlerlabs.dev"]).await?;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
    });
    cluster
        .server
        .create("/api/v1/namespaces", &namespace)
        .await?;
    secret(&cluster, "one").await?;
    let config = format!(
        "kubernetes: {{ kubeconfig: {} }}\n\
         runs: {{ on-change: {{ quiet: 1s, longest: 5s }} }}\n\
         components:\n  secrets: {{ on-change: true }}\n",
        cluster.server.kubeconfig().display()
    );
    let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
    let before = daemon
        .until("a restore point that is whole", |status| {
            let secrets = &status["components"]["secrets"];
            secrets["lastSuccess"].is_string() && status["run"].is_null()
        })
        .await?;
    let name = before["cluster"].as_str().unwrap_or_default();
    let gaps = GAPS.replace("mgmt", name);
    let none = daemon.metric(&gaps).await?;
    assert!(none.abs() < f64::EPSILON, "{none}");

    // The following run for the change uses the kept Secrets, and cannot.
    cluster.etcd.client().await?.put(LOST, OF_LAST_YEAR).await?;
    secret(&cluster, "two").await?;
    let (status, body) = daemon
        .post("", &[], r#"{"components":["secrets"]}"#)
        .await?;
    assert!(status.is_success(), "{body}");
    let partial = daemon
        .until("one that is not", |status| {
            status["components"]["secrets"]["failuresInARow"].as_u64() > Some(0)
        })
        .await?;
    let secrets = &partial["components"]["secrets"];
    let cause = secrets["lastFailure"]["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("secrets default/lost-key"), "{partial:#}");
    assert!(secrets["nextRun"].is_string(), "it is tried again");
    assert_eq!(
        secrets["lastRestorePoint"],
        before["components"]["secrets"]["lastRestorePoint"]
    );
    assert!(
        partial["totals"]["partial"].as_u64() > Some(0),
        "{partial:#}"
    );
    let recent = &partial["recent"];
    assert!(
        recent.to_string().contains("\"notWhole\":[\"secrets\"]"),
        "{recent:#}"
    );
    let one = daemon.metric(&gaps).await?;
    assert!((one - 1.0).abs() < f64::EPSILON, "{one}");
    daemon.stop().await?;

    // Another daemon reads it from the store, and makes up for it.
    cluster.etcd.client().await?.remove(LOST).await?;
    let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
    daemon
        .until("one that is whole again", |status| {
            let secrets = &status["components"]["secrets"];
            let last = &secrets["lastRestorePoint"];
            last.is_string() && *last != before["components"]["secrets"]["lastRestorePoint"]
        })
        .await?;
    let none = daemon.metric(&gaps).await?;
    assert!(none.abs() < f64::EPSILON, "{none}");
    daemon.stop().await?;
    Ok(())
}
