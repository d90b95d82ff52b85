//! Tests of the restore points around an upgrade, on a consistent cluster: one etcd behind the Talos API and
//! the Kubernetes API.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::lab::control_plane;
use e2e::run::tells;
use e2e::talos::ClientSpec;
use serde_json::{Value, json};

use super::running::configure;
use super::site::ChainSite;

const TENANTS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/default/tenantclusters";

async fn tenants(server: &KubeApiserver) -> Result<()> {
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "tenantclusters.butler.butlerlabs.dev" },
        "spec": {
            "group": "butler.butlerlabs.dev", "scope": "Namespaced",
            "names": {
                "kind": "TenantCluster", "plural": "tenantclusters", "singular": "tenantcluster",
            },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                } },
            }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    server.create(path, &definition).await?;
    for path in [TENANTS, "/api/v1/namespaces/kube-system"] {
        e2e::wait::until("it is served", Duration::from_secs(60), async || {
            let (status, _) = server.get(path).await?;
            ensure!(status.is_success(), "{status}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

fn tenant(name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "TenantCluster",
        "metadata": { "name": name }, "status": { "phase": phase },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_begins_with_a_sound_restore_point_and_ends_with_what_changed() -> Result<()> {
    let site = ChainSite::new().await?;
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd").await?;
    let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
    let talos = control_plane(&etcd).await?;
    site.talosconfig(&talos.talosconfig(&ClientSpec::of(&["os:etcd:backup"]))?)?;
    configure(
        &site,
        &format!(
            "kubernetes: {{ kubeconfig: {} }}\n",
            server.kubeconfig().display()
        ),
    )?;
    tenants(&server).await?;
    server
        .create(TENANTS, &tenant("alpha", "Provisioning"))
        .await?;
    server.create(TENANTS, &tenant("beta", "Ready")).await?;

    let before = || {
        site.backupd("pre-upgrade")
            .args(["--reason", "to 1.37", "--output", "json"])
    };
    let refused = before().ended_with(6).await?;
    tells(&refused, &["default/alpha is Provisioning", "--force"]);
    assert_eq!(site.listed().await?.len(), 0);
    let after = site.backupd("post-upgrade").ended_with(5).await?;
    tells(&after, &["has no restore point of `backupd pre-upgrade`"]);

    // Its controller is done.
    server.delete(&format!("{TENANTS}/alpha")).await?;
    server.create(TENANTS, &tenant("alpha", "Ready")).await?;
    let output = before().output().await?;
    println!("{}", output.stderr);
    let taken = output.ended_with(0)?.json()?;
    assert_eq!(taken["pinned"], true);
    assert_eq!(taken["reason"], "pre-upgrade: to 1.37");
    assert!(
        taken["versions"]["kubernetes"]
            .as_str()
            .is_some_and(|v| v.starts_with("v1.")),
        "{taken}"
    );
    assert!(taken["versions"]["etcd"].is_string(), "{taken}");
    let objects = taken["readBackObjects"].as_u64();
    assert!(objects > Some(5), "{taken}");

    // The upgrade loses a tenant.
    server.delete(&format!("{TENANTS}/beta")).await?;
    let after = site
        .backupd("post-upgrade")
        .args(["--output", "json"])
        .output()
        .await?;
    println!("{}", after.stderr);
    let told = after.ended_with(4)?.json()?;
    assert_eq!(told["comparedWith"], taken["restorePoint"]);
    let findings = told["findings"].as_array().context("no findings")?;
    let about = |object: &str| findings.iter().find(|finding| finding["object"] == object);
    let tenant = about("default/beta").context("nothing of beta")?;
    assert_eq!(tenant["severity"], "error", "{tenant}");
    let kind =
        about("resources: tenantclusters.butler.butlerlabs.dev").context("nothing of the kind")?;
    assert_eq!(kind["cause"], "2 objects before, 1 now");
    for id in site.listed().await? {
        site.verified(&id).await?;
    }
    Ok(())
}
