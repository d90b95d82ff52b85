//! Tests of one object that the API server cannot decrypt: it costs only itself, and nothing stays stopped.

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared};
use e2e::kube_apiserver::{KubeApiserver, Storage};
use e2e::site::ButlerSite;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_cannot_be_decrypted_costs_itself_alone_in_place() -> Result<()> {
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    let secrets = format!("/api/v1/namespaces/{SYSTEM}/secrets");
    for name in ["lost-key", "gone"] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": name }, "data": { "word": "d29yZA==" },
        });
        server.create(&secrets, &secret).await?;
    }
    let site = ButlerSite::saved_on(shared, "unreadable").await?;
    let butler = &site.shared.butler;
    let server = &butler.kube_apiserver;
    server.delete(&format!("{secrets}/gone")).await?;
    let key = format!("/registry/secrets/{SYSTEM}/lost-key");
    let etcd = butler.etcd.client().await?;
    let value = "k8s:enc:aescbc:v1:key-of-last-year:0123456789abcdef";
    etcd.put(&key, value).await?;

    let kubeconfig = butler.kubeconfig();
    let only = ["--mode", "in-place", "--only", "resources"];
    let plan = site.plan(&kubeconfig, &only).await?.ended_with(0)?.json()?;
    let path = format!("resources/secrets/namespaces/{SYSTEM}/lost-key.json");
    let objects = plan["plan"]["objects"].as_array().context("no objects")?;
    let planned = objects.iter().find(|o| o["object"] == path.as_str());
    let planned = planned.context("it is not in the plan")?;
    assert_eq!(planned["outcome"], "failed", "{planned:#}");
    let way = format!("--replace-unreadable secrets/{SYSTEM}/lost-key");
    assert!(planned["why"].to_string().contains(&way), "{planned:#}");

    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.ended_with(7).await?.json()?;
    assert_eq!(ran["objects"]["failed"], 1, "{ran:#}");
    assert_eq!(ran["stillStopped"], json!([]), "{ran:#}");
    let back = server.read(&format!("{secrets}/gone")).await?;
    assert_eq!(back["data"]["word"], "d29yZA==");

    // With the flag it is deleted where the API server supports that; here the remedy is printed.
    let named = format!("secrets/{SYSTEM}/lost-key");
    let named = [&only[..], &["--replace-unreadable", &named]].concat();
    site.plan(&kubeconfig, &named).await?.ended_with(0)?;
    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.ended_with(7).await?.json()?;
    let told = ran["findings"].to_string();
    assert!(told.contains(&format!("etcdctl del {key}")), "{ran:#}");
    etcd.remove(&key).await?;
    let journal = ran["journal"].as_str().context("no journal")?;
    let resume = site.restore_cli("resume").arg(journal);
    let resume = resume.args(["--yes", "--target", "butler-mgmt", "--output", "json"]);
    let resume = resume.args(["--settle", "1", "--kubeconfig"]);
    let ran = resume.arg(&kubeconfig).json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    let back = server.read(&format!("{secrets}/lost-key")).await?;
    assert_eq!(back["data"]["word"], "d29yZA==");
    assert_eq!(back["metadata"]["deletionTimestamp"], Value::Null);

    // An API server that deletes what it cannot read needs no manual change in etcd. It starts first: with
    // such a Secret it is never ready.
    let storage = Storage {
        features: vec!["AllowUnsafeMalformedObjectDeletion".to_owned()],
        ..Storage::whole(&butler.etcd)
    };
    let willing = KubeApiserver::start_with(&site.folder, "willing", &storage).await?;
    let kubeconfig = willing.kubeconfig();
    etcd.put(&key, value).await?;
    let plan = site
        .plan(&kubeconfig, &named)
        .await?
        .ended_with(0)?
        .json()?;
    let objects = plan["plan"]["objects"].as_array().context("no objects")?;
    let planned = objects.iter().find(|o| o["object"] == path.as_str());
    assert_eq!(planned.context("not planned")?["outcome"], "changed");
    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    let back = server.read(&format!("{secrets}/lost-key")).await?;
    assert_eq!(back["data"]["word"], "d29yZA==");
    Ok(())
}
