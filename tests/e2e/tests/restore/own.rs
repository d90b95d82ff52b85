//! Tests of objects that a fresh cluster already has, and of objects that are restored in special ways: each
//! is as captured, or the plan says why not.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared, TENANTS};
use e2e::fresh::Fresh;
use e2e::kube_apiserver::KubeApiserver;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

use super::compare::nothing_to_do;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
const GADGETS: &str = "/apis/example.org/v1/namespaces/butler-system/gadgets";
const MACHINES: &str = "/apis/cluster.x-k8s.io/v1beta1/namespaces/butler-system/machines";
const WORKSPACES: &str =
    "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/butler-tenants/workspaces";
const SPACES: &str = "/apis/example.org/v1/namespaces";
const JOBS: &str = "/apis/batch/v1/namespaces/butler-system/jobs";
/// Largest total size of an object's annotations.
const LIMIT: usize = 256 << 10;

async fn define(
    server: &KubeApiserver,
    (kind, plural, group, version): (&str, &str, &str, &str),
    scope: &str,
) -> Result<()> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}"), "finalizers": ["example.org/keep"] },
        "spec": {
            "group": group, "scope": scope,
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{
                "name": version, "served": true, "storage": true, "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                    "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                } } },
            }],
        },
    });
    server.create(DEFINITIONS, &definition).await?;
    let list = format!("/apis/{group}/{version}/{plural}");
    served(server, &list).await
}

async fn served(server: &KubeApiserver, list: &str) -> Result<()> {
    e2e::wait::until(list, Duration::from_secs(60), async || {
        server.read(list).await.map(drop)
    })
    .await
}

/// Merges `more` into the object at `path`.
async fn change(server: &KubeApiserver, path: &str, more: &Value) -> Result<Value> {
    fn lay(value: &mut Value, more: &Value) {
        match (value, more) {
            (Value::Object(fields), Value::Object(more)) => {
                for (name, more) in more {
                    lay(fields.entry(name.clone()).or_insert(Value::Null), more);
                }
            }
            (value, more) => *value = more.clone(),
        }
    }
    let mut object = server.read(path).await?;
    lay(&mut object, more);
    server.replace(path, &object).await
}

fn rule() -> Value {
    json!({ "apiGroups": ["example.org"], "resources": ["gadgets"], "verbs": ["get"] })
}

/// Makes people's changes to objects that a cluster has on its own.
async fn people(server: &KubeApiserver) -> Result<()> {
    let mut discovery = server.read(&format!("{ROLES}/system:discovery")).await?;
    let rules = discovery["rules"].as_array_mut().context("no rules")?;
    rules.push(rule());
    server
        .replace(&format!("{ROLES}/system:discovery"), &discovery)
        .await?;
    let own = json!({
        "metadata": { "annotations": { "rbac.authorization.kubernetes.io/autoupdate": "false" } },
        "rules": [rule()],
    });
    change(server, &format!("{ROLES}/system:public-info-viewer"), &own).await?;
    let copied = json!({
        "metadata": { "name": "copied", "labels": { "kubernetes.io/bootstrapping": "rbac-defaults" } },
        "rules": [rule()],
    });
    server.create(ROLES, &copied).await?;
    let enforced = json!({ "metadata": { "labels": {
        "pod-security.kubernetes.io/enforce": "baseline",
    } } });
    change(server, "/api/v1/namespaces/default", &enforced).await?;
    let noted = json!({ "metadata": { "annotations": { "example.org/note": "ours" } } });
    change(server, "/api/v1/namespaces/kube-system", &noted).await?;
    let account = json!({ "automountServiceAccountToken": false, "secrets": [{ "name": "pull" }] });
    change(
        server,
        "/api/v1/namespaces/default/serviceaccounts/default",
        &account,
    )
    .await?;
    let pull = json!({ "imagePullSecrets": [{ "name": "pull" }], "metadata": { "annotations": { "a": "b" } } });
    let path = format!("/api/v1/namespaces/{TENANTS}/serviceaccounts/default");
    change(server, &path, &pull).await?;
    let account = json!({
        "metadata": { "name": "robot" },
        "secrets": [{ "name": "pull" }, { "name": "robot-token-x7k2p" }],
    });
    let path = format!("/api/v1/namespaces/{SYSTEM}/serviceaccounts");
    server.create(&path, &account).await?;
    Ok(())
}

/// Makes objects that do not come back on their own.
async fn odd(server: &KubeApiserver) -> Result<()> {
    define(
        server,
        ("Gadget", "gadgets", "example.org", "v1"),
        "Namespaced",
    )
    .await?;
    define(
        server,
        ("Namespace", "namespaces", "example.org", "v1"),
        "Cluster",
    )
    .await?;
    define(
        server,
        ("Machine", "machines", "cluster.x-k8s.io", "v1beta1"),
        "Namespaced",
    )
    .await?;
    let workspaces = (
        "Workspace",
        "workspaces",
        "butler.butlerlabs.dev",
        "v1alpha1",
    );
    define(server, workspaces, "Namespaced").await?;
    let object = |version: &str, kind: &str, name: &str| {
        json!({
            "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": { "a": 1 },
        })
    };
    let mut empty = server
        .create(GADGETS, &object("example.org/v1", "Gadget", "empty"))
        .await?;
    empty["status"] = json!({});
    server
        .replace(&format!("{GADGETS}/empty/status"), &empty)
        .await?;
    server
        .create(SPACES, &object("example.org/v1", "Namespace", "space"))
        .await?;
    let mut machine = object("cluster.x-k8s.io/v1beta1", "Machine", "full");
    machine["metadata"]["annotations"] = json!({ "a": "b".repeat(LIMIT - 1) });
    server.create(MACHINES, &machine).await?;
    let workspace = object("butler.butlerlabs.dev/v1alpha1", "Workspace", "left");
    let mut workspace = server.create(WORKSPACES, &workspace).await?;
    workspace["status"] =
        json!({ "phase": "Running", "lastDisconnectTime": "2020-01-01T00:00:00Z" });
    server
        .replace(&format!("{WORKSPACES}/left/status"), &workspace)
        .await?;
    let job = json!({
        "metadata": { "name": "waits" },
        "spec": { "suspend": true, "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "a", "image": "a" }],
        } } },
    });
    server.create(JOBS, &job).await?;
    Ok(())
}

/// Writes a definition into etcd as `v1beta1` could make it.
async fn in_the_old_way(site: &ButlerSite, server: &KubeApiserver) -> Result<()> {
    let etcd = site.shared.butler.etcd.client().await?;
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/gadgets.example.org";
    let held = etcd.get(key).await?.context("no definition in etcd")?;
    let mut definition: Value = serde_json::from_slice(&held)?;
    definition["spec"]["preserveUnknownFields"] = json!(true);
    etcd.put(key, definition.to_string()).await?;
    let path = format!("{DEFINITIONS}/gadgets.example.org");
    e2e::wait::until("the old way", Duration::from_secs(60), async || {
        let read = server.read(&path).await?;
        anyhow::ensure!(read["spec"]["preserveUnknownFields"] == true, "not yet");
        let loose = json!({
            "apiVersion": "example.org/v1", "kind": "Gadget", "metadata": { "name": "loose" },
            "beside": { "deep": [1] }, "spec": { "a": 1 },
        });
        let made = match server.read(&format!("{GADGETS}/loose")).await {
            Ok(made) => made,
            Err(_) => server.create(GADGETS, &loose).await?,
        };
        if made.get("beside").is_none() {
            server.delete(&format!("{GADGETS}/loose")).await?;
            anyhow::bail!("it does not keep what it does not know yet");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fresh_cluster_has_becomes_as_it_was() -> Result<()> {
    let site = ButlerSite::saved_on(Shared::own().await?, "own").await?;
    let server = &site.shared.butler.kube_apiserver;
    people(server).await?;
    odd(server).await?;
    in_the_old_way(&site, server).await?;
    let all = ["--include-resources", "*"];
    site.backupd("snapshot").args(all).ended_with(0).await?;

    // In place: nothing was changed, so there is nothing to do.
    let mine = site.shared.butler.kubeconfig();
    let only = ["--only", "crds,resources"];
    let planned = site.plan(&mine, &only).await?.ended_with(0)?.json()?;
    nothing_to_do(&planned)?;

    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let rebuild = ["--mode", "rebuild"];
    let planned = site
        .plan(&kubeconfig, &rebuild)
        .await?
        .ended_with(0)?
        .json()?;
    let objects = planned["plan"]["objects"]
        .as_array()
        .context("no objects")?;
    let told = |path: &str| {
        let place = format!("resources/{path}.json");
        let found = objects.iter().find(|o| o["object"] == place);
        found.map_or(String::new(), |o| format!("{} {}", o["outcome"], o["why"]))
    };
    for (path, said) in [
        (
            "clusterroles.rbac.authorization.k8s.io/cluster/system:discovery",
            "changed",
        ),
        (
            "clusterroles.rbac.authorization.k8s.io/cluster/system:public-info-viewer",
            "changed",
        ),
        (
            "clusterroles.rbac.authorization.k8s.io/cluster/copied",
            "created",
        ),
        (
            "clusterroles.rbac.authorization.k8s.io/cluster/system:basic-user",
            "skipped",
        ),
        ("namespaces/cluster/default", "changed"),
        ("namespaces/cluster/kube-system", "changed"),
        ("namespaces/cluster/kube-public", "skipped"),
        ("serviceaccounts/namespaces/default/default", "changed"),
        (
            "customresourcedefinitions.apiextensions.k8s.io/cluster/gadgets.example.org",
            "x-kubernetes-preserve-unknown-fields",
        ),
        (
            "workspaces.butler.butlerlabs.dev/namespaces/butler-tenants/left",
            "lastDisconnectTime",
        ),
    ] {
        assert!(
            told(path).contains(said),
            "{path}: {} {objects:#?}",
            told(path)
        );
    }

    let ran = site.restored(&kubeconfig).await?;
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");
    let fresh = &fresh.kube_apiserver;
    let discovery = fresh.read(&format!("{ROLES}/system:discovery")).await?;
    let rules = discovery["rules"].as_array().context("no rules")?;
    assert!(rules.contains(&rule()) && rules.len() > 1, "{discovery:#}");
    let viewer = fresh
        .read(&format!("{ROLES}/system:public-info-viewer"))
        .await?;
    assert_eq!(viewer["rules"], json!([rule()]));
    for (path, pointer) in [
        ("/api/v1/namespaces/default", "/metadata/labels"),
        ("/api/v1/namespaces/kube-system", "/metadata/annotations"),
        (
            "/api/v1/namespaces/default/serviceaccounts/default",
            "/automountServiceAccountToken",
        ),
        (
            "/api/v1/namespaces/default/serviceaccounts/default",
            "/secrets",
        ),
        (
            "/api/v1/namespaces/butler-tenants/serviceaccounts/default",
            "/imagePullSecrets",
        ),
        (
            "/api/v1/namespaces/butler-tenants/serviceaccounts/default",
            "/metadata/annotations",
        ),
        (&format!("{ROLES}/copied"), "/rules"),
        (&format!("{GADGETS}/empty"), "/status"),
        (&format!("{GADGETS}/loose"), "/beside"),
        (&format!("{MACHINES}/full"), "/metadata/annotations"),
        (&format!("{WORKSPACES}/left"), "/status/phase"),
        (
            &format!("{DEFINITIONS}/gadgets.example.org"),
            "/metadata/finalizers",
        ),
        (&format!("{JOBS}/waits"), "/spec/suspend"),
    ] {
        let (was, is) = (server.read(path).await?, fresh.read(path).await?);
        assert!(was.pointer(pointer).is_some(), "{path} {pointer}");
        assert_eq!(
            was.pointer(pointer),
            is.pointer(pointer),
            "{path} {pointer}"
        );
    }
    let robot = format!("/api/v1/namespaces/{SYSTEM}/serviceaccounts/robot");
    assert_eq!(
        fresh.read(&robot).await?["secrets"],
        json!([{ "name": "pull" }])
    );
    let spaces = fresh.read(SPACES).await?;
    assert_eq!(
        spaces["items"][0]["metadata"]["name"], "space",
        "{spaces:#}"
    );
    let gadgets = fresh
        .read(&format!("{DEFINITIONS}/gadgets.example.org"))
        .await?;
    assert_eq!(
        gadgets["spec"].get("preserveUnknownFields"),
        None,
        "{gadgets:#}"
    );

    let again = site
        .plan(&kubeconfig, &rebuild)
        .await?
        .ended_with(0)?
        .json()?;
    nothing_to_do(&again)
}
