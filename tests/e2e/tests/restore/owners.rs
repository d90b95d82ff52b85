//! Tests of owner references in place: an object that names a recreated owner stays, with a real garbage
//! collector at work.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared};
use e2e::kube_apiserver::KubeApiserver;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

const PLANES: &str = "/apis/steward.butlerlabs.dev/v1alpha1/namespaces";
const STEWARDS: &str = "/apis/controlplane.cluster.x-k8s.io/v1alpha1/namespaces";

fn map(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/{name}")
}

fn owned_by(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"], "kind": owner["kind"],
        "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"],
    })
}

async fn made(
    server: &KubeApiserver,
    namespace: &str,
    name: &str,
    owner: Option<&Value>,
) -> Result<Value> {
    let body = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "ownerReferences": owner.map(|o| [owned_by(o)]) },
    });
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    server.create(&path, &body).await
}

fn uid_of(object: &Value) -> &Value {
    &object["metadata"]["uid"]
}

fn owner_of(object: &Value) -> &Value {
    &object["metadata"]["ownerReferences"][0]["uid"]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_an_owner_that_is_made_anew_in_place_stays() -> Result<()> {
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    // Owners of one rank, and a circle of them.
    let chain = made(server, SYSTEM, "chain-a", None).await?;
    made(server, SYSTEM, "chain-b", Some(&chain)).await?;
    let mut first = made(server, SYSTEM, "ring-a", None).await?;
    let second = made(server, SYSTEM, "ring-b", Some(&first)).await?;
    first["metadata"]["ownerReferences"] = json!([owned_by(&second)]);
    server.replace(&map(SYSTEM, "ring-a"), &first).await?;
    let mut site = ButlerSite::saved_on(shared, "in-place-owners").await?;
    let place = |name: &str| {
        let tenants = site.shared.butler.tenants().iter();
        let mut found = tenants.filter(|tenant| tenant.name == name);
        found.next().map(|tenant| tenant.tenant_namespace.clone())
    };
    let alpha = place("alpha").context("no alpha")?;
    let beta = place("beta").context("no beta")?;

    // The collector is behind. A dependant that no restore point has is made; owners are deleted.
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.controllers.kill();
    let server = &shared.butler.kube_apiserver;
    let steward = format!("{STEWARDS}/{alpha}/stewardcontrolplanes/alpha");
    let old = server.read(&steward).await?;
    made(server, &alpha, "later", Some(&old)).await?;
    server.delete(&steward).await?;
    for name in ["chain-a", "ring-a", "ring-b"] {
        server.delete(&map(SYSTEM, name)).await?;
    }
    // As `--cascade=orphan` leaves it.
    let path = format!("{PLANES}/{beta}/tenantcontrolplanes/beta");
    let mut orphan = server.read(&path).await?;
    orphan["metadata"]["ownerReferences"] = json!([]);
    server.replace(&path, &orphan).await?;
    let other = format!("{STEWARDS}/{beta}/stewardcontrolplanes/beta");
    server.delete(&other).await?;

    let kubeconfig = site.shared.butler.kubeconfig();
    let only = ["--mode", "in-place", "--only", "resources"];
    let plan = site.plan(&kubeconfig, &only).await?.ended_with(0)?.json()?;
    let objects = plan["plan"]["objects"].as_array().context("no objects")?;
    let planned = |path: String| {
        let path = format!("resources/{path}.json");
        let found = objects.iter().find(|o| o["object"] == path.as_str());
        let text = |o: &Value, field: &str| o[field].as_str().unwrap_or_default().to_owned();
        found.map(|o| (text(o, "outcome"), text(o, "why")))
    };
    let kind = "tenantcontrolplanes.steward.butlerlabs.dev/namespaces";
    for (path, why) in [
        (
            format!("{kind}/{alpha}/alpha"),
            "owner StewardControlPlane alpha by its new UID",
        ),
        (
            format!("{kind}/{beta}/beta"),
            "owner StewardControlPlane beta named again",
        ),
        (
            format!("configmaps/namespaces/{alpha}/later"),
            "owner StewardControlPlane alpha by its new UID",
        ),
        (
            format!("configmaps/namespaces/{SYSTEM}/chain-b"),
            "owner ConfigMap chain-a by its new UID",
        ),
    ] {
        let changed = ("changed".to_owned(), why.to_owned());
        assert_eq!(planned(path.clone()), Some(changed), "{path}");
    }

    let restore = site.restore(&kubeconfig).args(["--settle", "3"]);
    let ran = restore.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");

    // The collector checks everything.
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.controllers.restart().await?;
    tokio::time::sleep(Duration::from_secs(45)).await;
    let server = &shared.butler.kube_apiserver;
    for (owner, held, before) in [
        (
            steward.clone(),
            format!("{PLANES}/{alpha}/tenantcontrolplanes/alpha"),
            Some(&old),
        ),
        (steward, map(&alpha, "later"), Some(&old)),
        (other, path, None),
        (map(SYSTEM, "chain-a"), map(SYSTEM, "chain-b"), Some(&chain)),
        (map(SYSTEM, "ring-a"), map(SYSTEM, "ring-b"), Some(&first)),
        (map(SYSTEM, "ring-b"), map(SYSTEM, "ring-a"), Some(&second)),
    ] {
        let owner = server.read(&owner).await?;
        let held = server.read(&held).await?;
        assert_ne!(Some(uid_of(&owner)), before.map(uid_of), "{owner:#}");
        assert_eq!(owner_of(&held), uid_of(&owner), "{held:#}");
        assert_eq!(held["metadata"]["deletionTimestamp"], Value::Null);
    }
    // At the same place with the same flags: a second controller would have been refused.
    let plane = format!("{PLANES}/{alpha}/tenantcontrolplanes/alpha");
    let plane = server.read(&plane).await?;
    let owners = plane["metadata"]["ownerReferences"].as_array().cloned();
    let owners = owners.unwrap_or_default();
    assert_eq!(owners.len(), 1, "{owners:#?}");
    assert_eq!(owners[0]["controller"], true);
    beside_a_collector(&mut site, &alpha).await
}

/// Does the same with a collector at work while the restore writes the rest.
async fn beside_a_collector(site: &mut ButlerSite, alpha: &str) -> Result<()> {
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.controllers.kill();
    let server = &shared.butler.kube_apiserver;
    let steward = format!("{STEWARDS}/{alpha}/stewardcontrolplanes/alpha");
    server.delete(&steward).await?;
    for name in ["chain-a", "ring-a", "ring-b"] {
        server.delete(&map(SYSTEM, name)).await?;
    }
    let kubeconfig = site.shared.butler.kubeconfig();
    let only = ["--mode", "in-place", "--only", "resources"];
    site.plan(&kubeconfig, &only).await?.ended_with(0)?;
    let restore = site.restore(&kubeconfig).args(["--settle", "20"]).start()?;
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    // A collector that runs before the owners exist deletes objects that name them, which the plan or the end
    // reports. Owners come first, and objects that name them with them: from then on it may run.
    let plane = format!("{PLANES}/{alpha}/tenantcontrolplanes/alpha");
    let linked = [
        (steward.clone(), plane.clone()),
        (map(SYSTEM, "chain-a"), map(SYSTEM, "chain-b")),
    ];
    e2e::wait::until("owners to be named", Duration::from_secs(120), async || {
        for (owner, held) in &linked {
            let owner = shared.butler.kube_apiserver.read(owner).await?;
            let held = shared.butler.kube_apiserver.read(held).await?;
            anyhow::ensure!(owner_of(&held) == uid_of(&owner), "not yet");
        }
        Ok(())
    })
    .await?;
    shared.butler.controllers.restart().await?;
    let ran = restore.ended().await?.ended_with(0)?.json()?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    tokio::time::sleep(Duration::from_secs(30)).await;
    let server = &site.shared.butler.kube_apiserver;
    for (owner, held) in [
        (steward, plane),
        (map(SYSTEM, "chain-a"), map(SYSTEM, "chain-b")),
        (map(SYSTEM, "ring-a"), map(SYSTEM, "ring-b")),
        (map(SYSTEM, "ring-b"), map(SYSTEM, "ring-a")),
    ] {
        let owner = server.read(&owner).await?;
        let held = server.read(&held).await?;
        assert_eq!(owner_of(&held), uid_of(&owner), "{held:#}");
        assert_eq!(held["metadata"]["deletionTimestamp"], Value::Null);
    }
    Ok(())
}
