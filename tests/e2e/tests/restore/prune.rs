//! Tests of `--prune` in place: it deletes objects that an older etcd brings back and that were deleted
//! before the capture, among the chosen and proven whole kinds, and nothing else.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared, TENANTS};
use e2e::kube_apiserver::KubeApiserver;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

use super::in_place::newest;

const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";
const CLUSTERS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/namespaces";
const TEAM: &str = "teams.butler.butlerlabs.dev/cluster/stray";

fn cluster(namespace: &str) -> String {
    format!("tenantclusters.butler.butlerlabs.dev/namespaces/{namespace}/stray")
}

/// Makes a team, a tenant's cluster in two namespaces, and two objects that no archive holds whole. Returns
/// the paths of those that may be pruned, and of those that may not.
async fn make(server: &KubeApiserver) -> Result<[Vec<String>; 2]> {
    let label = json!({ "name": "stray", "labels": { "made": "before" } });
    let team = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": label, "spec": { "displayName": "Stray", "access": {} },
    });
    server.create(TEAMS, &team).await?;
    let mut whole = vec![format!("{TEAMS}/stray")];
    for namespace in [TENANTS, SYSTEM] {
        let of = format!("{CLUSTERS}/{TENANTS}/tenantclusters/alpha");
        let mut stray = server.read(&of).await?;
        stray["metadata"] = if namespace == TENANTS {
            json!({ "name": "stray" })
        } else {
            label.clone()
        };
        let path = format!("{CLUSTERS}/{namespace}/tenantclusters");
        server.create(&path, &stray).await?;
        whole.push(format!("{path}/stray"));
    }
    let mut kept = Vec::new();
    for (namespace, kind) in [("kube-system", "Secret"), ("default", "ConfigMap")] {
        let object = json!({ "apiVersion": "v1", "kind": kind, "metadata": label });
        let path = format!("/api/v1/namespaces/{namespace}/{}s", kind.to_lowercase());
        server.create(&path, &object).await?;
        kept.push(format!("{path}/stray"));
    }
    Ok([whole, kept])
}

/// Returns the objects that a plan would delete.
fn pruned(plan: &Value) -> Result<BTreeSet<String>> {
    let objects = plan["plan"]["objects"].as_array().context("no objects")?;
    let pruned = objects.iter().filter(|o| o["outcome"] == "pruned");
    let path = |o: &Value| {
        let path = o["object"].as_str()?.strip_prefix("resources/")?;
        Some(path.strip_suffix(".json")?.to_owned())
    };
    pruned.map(|o| path(o).context("no path")).collect()
}

/// Loses etcd, and restores it from the first restore point, which has the objects that were deleted since.
async fn etcd_of(site: &mut ButlerSite, first: &str) -> Result<()> {
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;
    let plan = site.restore_cli("plan").args([first, "--only", "etcd"]);
    plan.ended_with(0).await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let running = site.restore(&kubeconfig).args(["--settle", "1"]).start()?;
    site.brought_back(running).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_etcd_brings_back_goes_and_nothing_that_is_not_chosen() -> Result<()> {
    let shared = Shared::own().await?;
    let [strays, kept] = make(&shared.butler.kube_apiserver).await?;
    let mut site = ButlerSite::saved_on(shared, "prune").await?;
    let first = newest(&site).await?;
    let server = &site.shared.butler.kube_apiserver;
    for path in strays.iter().chain(&kept) {
        server.delete(path).await?;
    }
    let objects = "crds,resources,sealed-secrets,kubeconfigs,secrets";
    let second = site.backupd("snapshot").args(["--component", objects]);
    second.ended_with(0).await?;
    etcd_of(&mut site, &first).await?;
    let kubeconfig = site.shared.butler.kubeconfig();
    let server = &site.shared.butler.kube_apiserver;
    let team = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "made-since", "labels": { "made": "before" } },
        "spec": { "displayName": "Made since", "access": {} },
    });
    server.create(TEAMS, &team).await?;

    let team = TEAM.to_owned();
    let (tenants, system) = (cluster(TENANTS), cluster(SYSTEM));
    let base = ["--mode", "in-place", "--only", "resources", "--prune"];
    let selections: [(&[&str], &[&String]); 6] = [
        (&["--exclude-namespaces", TENANTS], &[&team, &system]),
        (&["--include-namespaces", TENANTS], &[&tenants]),
        (&["-l", "made=before"], &[&team, &system]),
        (&["-l", "made=never"], &[]),
        (&["--include-resources", "teams"], &[&team]),
        (&[], &[&team, &tenants, &system]),
    ];
    for (flags, gone) in selections {
        let plan = site.plan(&kubeconfig, &[&base, flags].concat()).await?;
        let found = pruned(&plan.ended_with(0)?.json()?)?;
        let wanted = gone.iter().map(|path| (*path).clone()).collect();
        assert_eq!(found, wanted, "{flags:?}");
    }
    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.json().await?;
    assert_eq!(ran["objects"]["deleted"], 3, "{ran:#}");
    for path in &strays {
        assert_eq!(server.get(path).await?.0, 404, "{path}");
    }
    let others = [format!("{TEAMS}/made-since"), format!("{TEAMS}/payments")];
    for path in kept.iter().chain(&others) {
        server.read(path).await?;
    }
    Ok(())
}
