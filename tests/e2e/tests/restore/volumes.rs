//! Tests of PersistentVolumes on a fresh cluster, with the real controller that binds them: no other claim
//! gets their data.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared};
use e2e::fresh::Fresh;
use e2e::kube_controller_manager::KubeControllerManager;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

const VOLUME: &str = "/api/v1/persistentvolumes/data";

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_is_bound_anew_and_gets_its_policy_back() -> Result<()> {
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    let claims = format!("/api/v1/namespaces/{SYSTEM}/persistentvolumeclaims");
    let capacity = json!({ "storage": "1Gi" });
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data", "annotations": { "pv.kubernetes.io/bind-completed": "yes" },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "data",
            "resources": { "requests": &capacity },
        },
    });
    let claim = server.create(&claims, &claim).await?;
    let uid = claim["metadata"]["uid"].clone();
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": "data", "annotations": { "pv.kubernetes.io/bound-by-controller": "yes" },
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"], "capacity": &capacity, "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Delete",
            "hostPath": { "path": "/tmp/butler-lab-no-such-data" },
            "claimRef": {
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "namespace": SYSTEM, "name": "data", "uid": &uid,
            },
        },
    });
    let mut volume = server.create("/api/v1/persistentvolumes", &volume).await?;
    volume["status"] = json!({ "phase": "Bound" });
    server.replace(&format!("{VOLUME}/status"), &volume).await?;
    // Another object that contains the claim's UID.
    let note = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "knows-a-uid" }, "data": { "claim": &uid },
    });
    let maps = format!("/api/v1/namespaces/{SYSTEM}/configmaps");
    server.create(&maps, &note).await?;

    let site = ButlerSite::saved_on(shared, "volumes").await?;
    let file = site.folder.join("butler.yaml");
    let config = std::fs::read_to_string(&file)?;
    let wider = config.replace(
        "kubernetes: { kubeconfig:",
        "kubernetes: { include-resources: [\"*\"], kubeconfig:",
    );
    anyhow::ensure!(wider != config, "{config}");
    std::fs::write(&file, wider)?;
    site.backupd("snapshot").ended_with(0).await?;

    let mut fresh = Fresh::start(&site.folder, "fresh").await?;
    fresh.controllers.stop().await?;
    let binder = ["persistentvolume-binder-controller"];
    let server = &fresh.kube_apiserver;
    let mut binder =
        KubeControllerManager::start_with(&site.folder, "fresh-binder", server, &binder).await?;
    let kubeconfig = fresh.kubeconfig();
    let plan = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    let plan = plan.ended_with(0)?.json()?;
    let told = plan["plan"]["findings"].to_string();
    assert!(told.contains("made with reclaim policy Retain"), "{told}");
    assert!(told.contains("field data.claim of 1 object(s)"), "{told}");
    let restore = site.restore(&kubeconfig).args(["--settle", "5"]);
    let ran = restore.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    tokio::time::sleep(Duration::from_secs(10)).await;

    let volume = server.read(VOLUME).await?;
    let claim = server.read(&format!("{claims}/data")).await?;
    assert_eq!(volume["status"]["phase"], "Bound", "{volume:#}");
    assert_eq!(claim["status"]["phase"], "Bound", "{claim:#}");
    let bound = &volume["spec"]["claimRef"]["uid"];
    assert_eq!(bound, &claim["metadata"]["uid"]);
    assert_ne!(bound, &uid);
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Delete");
    assert_eq!(volume["metadata"]["deletionTimestamp"], Value::Null);
    binder.stop().await.context("stopping the binder")?;
    Ok(())
}
