//! Tests of fields that cannot be changed: the plan reports them with the command that helps, and does not
//! advise `resume`.

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared};
use e2e::site::ButlerSite;
use serde_json::{Value, json};

/// Returns the cases: the collection, the captured object, the cluster's later object, and the plan's advice.
fn cases() -> Vec<(String, Value, Value, &'static str)> {
    let core = |plural: &str| format!("/api/v1/namespaces/{SYSTEM}/{plural}");
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{SYSTEM}/rolebindings");
    let binding = |role: &str| {
        json!({
            "metadata": { "name": "fixed" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io" }],
        })
    };
    let class = |replicas: &str| {
        json!({
            "metadata": { "name": "fixed" }, "provisioner": "driver.example.org",
            "parameters": { "replicas": replicas },
        })
    };
    let priority = |value: i32| json!({ "metadata": { "name": "fixed" }, "value": value });
    let closed = |word: &str| json!({ "metadata": { "name": "fixed" }, "immutable": true, "stringData": { "word": word } });
    let typed = |kind: &str| {
        json!({
            "metadata": { "name": "typed" }, "type": kind,
            "stringData": { "username": "u", "password": "p" },
        })
    };
    let map = |word: &str| json!({ "metadata": { "name": "fixed" }, "immutable": true, "data": { "word": word } });
    let job = |image: &str| {
        json!({
            "metadata": { "name": "fixed" },
            "spec": { "suspend": true, "template": { "spec": {
                "restartPolicy": "Never", "containers": [{ "name": "a", "image": image }],
            } } },
        })
    };
    let claim = |size: &str| {
        json!({
            "metadata": { "name": "fixed" },
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                "resources": { "requests": { "storage": "1Gi" } }, "volumeName": size,
            },
        })
    };
    vec![
        (
            rbac,
            binding("view"),
            binding("edit"),
            "kubectl delete rolebindings.rbac.authorization.k8s.io fixed -n butler-system",
        ),
        (
            "/apis/storage.k8s.io/v1/storageclasses".to_owned(),
            class("3"),
            class("1"),
            "kubectl delete storageclasses.storage.k8s.io fixed",
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses".to_owned(),
            priority(1000),
            priority(10),
            "kubectl delete priorityclasses.scheduling.k8s.io fixed",
        ),
        (
            core("secrets"),
            closed("right-one"),
            closed("wrong-one"),
            "kubectl delete secrets fixed -n butler-system",
        ),
        (
            core("secrets"),
            typed("kubernetes.io/basic-auth"),
            typed("Opaque"),
            "kubectl delete secrets typed -n butler-system",
        ),
        (
            core("configmaps"),
            map("right"),
            map("wrong"),
            "kubectl delete configmaps fixed -n butler-system",
        ),
        (
            "/apis/batch/v1/namespaces/butler-system/jobs".to_owned(),
            job("a"),
            job("b"),
            "it runs once more when it is created again",
        ),
        (
            core("persistentvolumeclaims"),
            claim("one"),
            claim("two"),
            "--exclude-resources persistentvolumeclaims",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_planned_with_the_command_that_helps() -> Result<()> {
    let site = ButlerSite::saved_on(Shared::own().await?, "fixed").await?;
    let server = &site.shared.butler.kube_apiserver;
    let kubeconfig = site.shared.butler.kubeconfig();
    let name = |object: &Value| {
        object["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let mut uids = Vec::new();
    for (list, right, _, _) in cases() {
        uids.push(server.create(&list, &right).await?["metadata"]["uid"].clone());
    }
    let all = ["--include-resources", "*"];
    site.backupd("snapshot").args(all).ended_with(0).await?;
    for (list, right, wrong, _) in cases() {
        let place = format!("{list}/{}", name(&right));
        server.delete(&place).await?;
        e2e::wait::until("its end", std::time::Duration::from_secs(60), async || {
            // A claim carries a finalizer.
            let Ok(mut live) = server.read(&place).await else {
                return Ok(());
            };
            live["metadata"]["finalizers"] = json!([]);
            server.replace(&place, &live).await.ok();
            anyhow::bail!("it is there")
        })
        .await?;
        server.create(&list, &wrong).await?;
    }
    let only = ["--only", "resources"];
    let shown = site.plan(&kubeconfig, &only).await?.ended_with(0)?;
    for word in ["right-one", "wrong-one"] {
        assert!(!shown.stdout.contains(word), "a Secret's value is told");
    }
    let planned = shown.json()?;
    let objects = planned["plan"]["objects"]
        .as_array()
        .context("no objects")?;
    let failed: Vec<&Value> = objects
        .iter()
        .filter(|o| o["outcome"] == "failed")
        .collect();
    assert_eq!(failed.len(), cases().len(), "{failed:#?}");
    for (_, _, _, said) in cases() {
        let told = failed.iter().any(|o| o["why"].to_string().contains(said));
        assert!(told, "{said}: {failed:#?}");
    }

    // The run ends the same way, and does not advise `resume`.
    let restore = site
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json"]);
    let restore = restore.args(["--yes", "--target", "butler-mgmt", "--settle", "1"]);
    let ran = restore
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .ended_with(7)
        .await?;
    assert!(
        ran.stdout
            .contains("What failed cannot be changed in place"),
        "{}",
        ran.stdout
    );
    assert!(
        !ran.stdout.contains("Continue with: restore-cli resume"),
        "{}",
        ran.stdout
    );
    let status = site.restore_cli("status").ended_with(7).await?;
    assert!(
        status
            .stdout
            .contains("What failed cannot be changed in place"),
        "{}",
        status.stdout
    );

    // The advice helps.
    for (list, right, _, said) in cases() {
        if said.starts_with("kubectl delete") {
            server.delete(&format!("{list}/{}", name(&right))).await?;
        }
    }
    let exclude = ["--exclude-resources", "persistentvolumeclaims,jobs.batch"];
    site.plan(&kubeconfig, &[&only[..], &exclude].concat())
        .await?
        .ended_with(0)?;
    let ran = site
        .restore(&kubeconfig)
        .args(["--settle", "1"])
        .json()
        .await?;
    assert_eq!(ran["objects"]["created"], 6, "{ran:#}");
    let rbac = server.read(&format!("{}/fixed", cases()[0].0)).await?;
    assert_eq!(rbac["roleRef"]["name"], "view");
    assert_ne!(rbac["metadata"]["uid"], uids[0]);
    Ok(())
}
