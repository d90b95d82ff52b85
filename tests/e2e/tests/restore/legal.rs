//! Tests that everything that the API server accepts comes back: odd names, deep objects, each number
//! unchanged.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use e2e::butler::Shared;
use e2e::fresh::Fresh;
use e2e::kube_apiserver::KubeApiserver;
use e2e::run::Command;
use e2e::site::ButlerSite;
use e2e::tools::{self, Tool};
use serde_json::{Value, json};

use super::compare::nothing_to_do;
use super::sources::git;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SAMPLES: &str = "/apis/example.org/v1/namespaces/butler-system/samples";
const BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/butler-system/rolebindings";
/// Levels that a person may nest, and levels that no restore reads.
const LEVELS: usize = 900;
const TOO_DEEP: usize = 1500;
const NUMBERS: usize = 400;

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "samples.example.org" },
        "spec": {
            "group": "example.org", "scope": "Namespaced",
            "names": { "plural": "samples", "singular": "sample", "kind": "Sample", "listKind": "SampleList" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                } },
            }],
        },
    })
}

fn sample(name: &str, spec: &Value) -> Value {
    json!({ "apiVersion": "example.org/v1", "kind": "Sample", "metadata": { "name": name }, "spec": spec })
}

/// Returns doubles of all sizes, the same ones each time, and integers at the limits.
fn numbers() -> Result<Value> {
    let mut numbers = Vec::new();
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    while numbers.len() < NUMBERS {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let float = f64::from_bits(bits ^ (bits >> 29));
        numbers.extend(float.is_finite().then(|| json!(float)));
    }
    for text in [
        "0.40581938396535333",
        "9007199254740993",
        "9223372036854775807",
        "-9223372036854775808",
        "12345678901234567890",
        "1.0",
        "1",
        "1e21",
        "1e-7",
        "100000000000000000000",
    ] {
        numbers.push(serde_json::from_str(text)?);
    }
    Ok(json!({ "numbers": numbers }))
}

fn names() -> Vec<String> {
    vec![
        "DOM\\user".to_owned(),
        "new\nline\ttab\u{7f}\u{85}end".to_owned(),
        "x".repeat(600),
        "\u{540d}".repeat(200),
    ]
}

fn nested(levels: usize) -> String {
    let mut text = "{\"a\":".repeat(levels);
    text.push('1');
    text.push_str(&"}".repeat(levels));
    text
}

/// Makes an object that is too deep for this test's own types.
async fn make_deep(
    site: &ButlerSite,
    server: &KubeApiserver,
    name: &str,
    levels: usize,
) -> Result<()> {
    let text = sample(name, &json!("SPEC")).to_string();
    let text = text.replace("\"SPEC\"", &nested(levels));
    let file = site.folder.join(format!("{name}.json"));
    std::fs::write(&file, text)?;
    let kubectl = Command::new(tools::path(Tool::Kubectl).await?);
    let kubectl = kubectl.arg("--kubeconfig").arg(server.kubeconfig());
    let create = kubectl.args(["create", "--raw", SAMPLES, "-f"]).arg(&file);
    create.ended_with(0).await?;
    Ok(())
}

/// Returns the restored depth of one object, the numbers of another, and the names of bindings.
async fn seen(server: &KubeApiserver) -> Result<(usize, Value, Vec<String>)> {
    let (_, deep) = server.get(&format!("{SAMPLES}/deep")).await?;
    let deep = String::from_utf8(deep.to_vec())?;
    let numbers = server.read(&format!("{SAMPLES}/numbers")).await?;
    let bindings = server.read(BINDINGS).await?;
    let items = bindings["items"].as_array().context("no list")?;
    let names = items.iter().filter_map(|b| b["metadata"]["name"].as_str());
    Ok((
        deep.matches("{\"a\":").count(),
        numbers["spec"].clone(),
        names.map(str::to_owned).collect(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_takes_comes_back() -> Result<()> {
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    server.create(CRDS, &definition()).await?;
    let numbered = sample("numbers", &numbers()?);
    while server.create(SAMPLES, &numbered).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    for name in names() {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        });
        server.create(BINDINGS, &binding).await?;
    }
    let site = ButlerSite::saved_on(Arc::clone(&shared), "legal").await?;
    make_deep(&site, server, "deep", LEVELS).await?;
    site.backupd("snapshot").ended_with(0).await?;
    let verify = site.restore_cli("verify").arg("latest");
    verify.ended_with(0).await?;

    // A stock tar makes files of all of it.
    let fetched = site.fetched("resources").await?;
    let files = site.folder.make("files")?;
    let tar = Command::new("tar")
        .arg("-xf")
        .arg(&fetched)
        .arg("-C")
        .arg(&files);
    tar.ended_with(0).await?;
    let bindings = "resources/rolebindings.rbac.authorization.k8s.io/namespaces/butler-system";
    let file = files.join(bindings).join("DOM%5Cuser.json");
    let binding: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    assert_eq!(binding["metadata"]["name"], "DOM\\user");

    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let rebuild = ["--mode", "rebuild"];
    site.plan(&kubeconfig, &rebuild).await?.ended_with(0)?;
    let ran = site.restored(&kubeconfig).await?;
    assert_eq!(ran["objects"].get("failed"), None, "{ran:#}");
    let (before, after) = (seen(server).await?, seen(&fresh.kube_apiserver).await?);
    assert_eq!(before, after);
    assert_eq!(after.0, LEVELS);
    for name in names() {
        ensure!(after.2.contains(&name), "{name:?} did not come back");
    }
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/butler-restore";
    assert_eq!(fresh.kube_apiserver.get(lease).await?.0.as_u16(), 404);
    let again = site.plan(&kubeconfig, &rebuild).await?.ended_with(0)?;
    nothing_to_do(&again.json()?)?;

    // Git does not have it, so no part of it is rewritten.
    let fleet = site.folder.make("fleet")?;
    let map =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra, namespace: butler-system}\n";
    std::fs::write(fleet.join("map.yaml"), map)?;
    git(&fleet, &["init", "--quiet", "--initial-branch=main"]).await?;
    git(&fleet, &["add", "."]).await?;
    git(&fleet, &["commit", "--quiet", "-m", "A map"]).await?;
    let own = shared.butler.kubeconfig();
    let from_git = [
        "--mode",
        "in-place",
        "--only",
        "resources",
        "--from",
        "git:fleet#main",
    ];
    let planned = site.plan(&own, &from_git).await?.ended_with(0)?.json()?;
    let objects = planned["plan"]["objects"]
        .as_array()
        .context("no objects")?;
    let sample = objects
        .iter()
        .find(|o| o["object"].to_string().contains("samples"));
    assert_eq!(sample, None);

    // Deeper than any restore reads: only this object is lost, and each reader reports it.
    make_deep(&site, server, "deepest", TOO_DEEP).await?;
    let taken = site.backupd("snapshot").ended_with(0).await?;
    let said = format!("{}{}", taken.stdout, taken.stderr);
    assert!(said.contains("nested deeper"), "{said}");
    let verified = site
        .restore_cli("verify")
        .arg("latest")
        .ended_with(3)
        .await?;
    assert!(verified.stdout.contains("deepest"), "{}", verified.stdout);
    let planned = site.plan(&kubeconfig, &rebuild).await?;
    let planned: Value = serde_json::from_str(&planned.stdout)?;
    let objects = planned["plan"]["objects"]
        .as_array()
        .context("no objects")?;
    let failed: Vec<_> = objects
        .iter()
        .filter(|o| o["outcome"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert!(
        failed[0].to_string().contains("samples.example.org"),
        "{failed:#?}"
    );
    Ok(())
}
