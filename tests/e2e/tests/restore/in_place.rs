//! Tests in place: the cluster's etcd is gone, everything comes back through the Talos API, and objects are
//! brought forward to the last capture.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared, TENANTS};
use e2e::site::ButlerSite;
use serde_json::{Value, json};

use super::compare::same;

const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";
const CLUSTERS: &str =
    "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/butler-tenants/tenantclusters";

/// Returns the id of the newest restore point.
pub(crate) async fn newest(site: &ButlerSite) -> Result<String> {
    let list = site
        .restore_cli("list")
        .args(["--output", "json"])
        .json()
        .await?;
    let id = list["restorePoints"][0]["id"].as_str();
    Ok(id.context("no restore point")?.to_owned())
}

/// Makes changes after the snapshot: a new object, a changed spec, a changed status, a new Secret.
pub(crate) async fn changes(site: &ButlerSite) -> Result<()> {
    let server = &site.shared.butler.kube_apiserver;
    let team = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "search", "finalizers": ["butler.butlerlabs.dev/team"] },
        "spec": { "displayName": "Search", "access": {} },
    });
    let mut made = server.create(TEAMS, &team).await?;
    made["status"] = json!({ "phase": "Ready", "namespace": "search" });
    server
        .replace(&format!("{TEAMS}/search/status"), &made)
        .await?;
    let path = format!("{CLUSTERS}/alpha");
    let mut cluster = server.read(&path).await?;
    cluster["spec"]["workers"]["replicas"] = json!(5);
    let mut cluster = server.replace(&path, &cluster).await?;
    cluster["status"]["workerNodesDesired"] = json!(5);
    server.replace(&format!("{path}/status"), &cluster).await?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": { "name": "later", "namespace": SYSTEM },
        "data": { "word": "bGF0ZXI=" },
    });
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets");
    server.create(&path, &secret).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_etcd_comes_back_and_forward() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "in-place").await?;
    let first = newest(&site).await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let uids = uids(&site).await?;
    changes(&site).await?;
    let later = [
        "--component",
        "crds,resources,sealed-secrets,kubeconfigs,secrets",
    ];
    site.backupd("snapshot").args(later).ended_with(0).await?;
    let last = newest(&site).await?;
    assert_ne!(first, last);

    // The disaster.
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let plan = site
        .restore_cli("plan")
        .args([&first, "--forward-to", "latest"]);
    let plan = plan.args(["--output", "json"]).json().await?;
    let planned = &plan["plan"];
    assert_eq!(
        planned["steps"],
        json!(["etcd", "crds", "resources", "verify"]),
        "{planned:#}"
    );
    let objects = planned["objects"].as_array().context("no objects")?;
    let outcome = |path: &str| {
        let found = objects
            .iter()
            .find(|o| o["object"] == format!("resources/{path}.json"));
        found.map_or(Value::Null, |o| o["outcome"].clone())
    };
    assert_eq!(
        outcome("teams.butler.butlerlabs.dev/cluster/search"),
        "created"
    );
    let alpha = format!("tenantclusters.butler.butlerlabs.dev/namespaces/{TENANTS}/alpha");
    assert_eq!(outcome(&alpha), "changed");
    assert_eq!(
        outcome("teams.butler.butlerlabs.dev/cluster/payments"),
        Value::Null
    );

    // The way back. The API server comes when etcd does, as a node's does.
    let running = site.restore(&kubeconfig).args(["--settle", "1"]).start()?;
    let ran = site.brought_back(running).await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    assert_eq!(ran["tenants"]["connected"], 2, "{ran:#}");
    assert_eq!(ran["objects"]["created"], 2, "{ran:#}");
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");

    let skipped: BTreeSet<String> = super::rebuild::skipped(&plan);
    same(&site, &kubeconfig, &skipped).await?;
    // It is the same cluster: objects from before the snapshot have their UIDs.
    let now = self::uids(&site).await?;
    assert!(uids.is_subset(&now), "{:?}", uids.difference(&now));
    let status = site.restore_cli("status").args(["--output", "json"]);
    let status = status.json().await?;
    let told = status["etcd"].to_string();
    assert!(told.contains("etcd is healthy"), "{status:#}");
    Ok(())
}

/// Returns the UIDs of all objects of tenants.
async fn uids(site: &ButlerSite) -> Result<BTreeSet<String>> {
    let kubeconfig = site.shared.butler.kubeconfig();
    let mut uids = BTreeSet::new();
    for kind in [
        "tenantclusters.butler.butlerlabs.dev",
        "tenantcontrolplanes.steward.butlerlabs.dev",
        "ipallocations.butler.butlerlabs.dev",
        "teams.butler.butlerlabs.dev",
    ] {
        for object in site.listed(&kubeconfig, kind).await? {
            uids.insert(
                object["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    Ok(uids)
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_were_damaged_by_hand_are_mended_and_others_left() -> Result<()> {
    let site = ButlerSite::saved_on(Shared::own().await?, "mended").await?;
    let server = &site.shared.butler.kube_apiserver;
    let kubeconfig = site.shared.butler.kubeconfig();
    let path = format!("{CLUSTERS}/alpha");
    let mut cluster = server.read(&path).await?;
    cluster["spec"]["workers"]["replicas"] = json!(1);
    server.replace(&path, &cluster).await?;
    let secret = format!("/api/v1/namespaces/{SYSTEM}/secrets/image-factory-key");
    server.delete(&secret).await?;
    let extra = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "extra", "namespace": SYSTEM }, "data": { "a": "b" },
    });
    let maps = format!("/api/v1/namespaces/{SYSTEM}/configmaps");
    server.create(&maps, &extra).await?;
    // Somebody stops one since.
    let clusters = site
        .listed(&kubeconfig, "clusters.cluster.x-k8s.io")
        .await?;
    let stopped = clusters.first().context("no Cluster")?;
    let text = |pointer: &str| stopped.pointer(pointer).and_then(Value::as_str);
    let stopped = format!(
        "/apis/{}/namespaces/{}/clusters/{}",
        text("/apiVersion").context("no version")?,
        text("/metadata/namespace").context("no namespace")?,
        text("/metadata/name").context("no name")?,
    );
    let mut cluster = server.read(&stopped).await?;
    assert_ne!(cluster["spec"]["paused"], true);
    cluster["spec"]["paused"] = json!(true);
    server.replace(&stopped, &cluster).await?;
    let planned = site.plan(&kubeconfig, &["--only", "resources"]).await?;
    let planned = planned.ended_with(0)?.json()?;
    let findings = planned["plan"]["findings"].to_string();
    assert!(
        findings.contains("by spec.paused and stays paused"),
        "{findings}"
    );

    let restore = site
        .restore_cli("restore")
        .args(["resources", "latest", "--settle", "1"]);
    let restore = restore.args(["--yes", "--target", "butler-mgmt", "--output", "json"]);
    let ran = restore.arg("--kubeconfig").arg(&kubeconfig).json().await?;
    let journal = site
        .folder
        .path()
        .join(ran["journal"].as_str().context("no journal")?);
    let journal = std::fs::read_to_string(journal)?;
    let changed = journal
        .lines()
        .filter(|line| line.contains("\"outcome\":\"changed\""));
    let changed: Vec<&str> = changed.collect();
    assert_eq!(changed.len(), 1, "{changed:#?}");
    assert_eq!(ran["objects"]["created"], 1, "{ran:#}");
    assert_eq!(ran["objects"]["changed"], 1, "{ran:#}");
    let findings = ran["findings"].to_string();
    assert!(
        findings.contains("by spec.paused and stays paused"),
        "{findings}"
    );
    assert_eq!(server.read(&stopped).await?["spec"]["paused"], true);
    assert_eq!(server.read(&path).await?["spec"]["workers"]["replicas"], 2);
    assert!(server.read(&secret).await.is_ok());
    // Objects that the archive does not have stay.
    assert!(server.read(&format!("{maps}/extra")).await.is_ok());
    Ok(())
}
