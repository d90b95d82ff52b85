//! Tests of clusters that a restore must not write into: each way is refused, and nothing is written.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::butler::{Shared, define};
use e2e::etcd::Etcd;
use e2e::fresh::Fresh;
use e2e::run::Output;
use e2e::site::ButlerSite;
use serde_json::{Value, json};

use super::in_place::newest;
use super::sources::{objects, repository, tarball};

const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";
const NAMESPACE: &str = "/api/v1/namespaces/kube-system";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/butler-restore";

fn uid(object: &Value) -> Result<String> {
    let uid = object["metadata"]["uid"].as_str();
    Ok(uid.context("no UID")?.to_owned())
}

/// Starts a living cluster of somebody else, with a team that has the name of one of ours.
async fn other(site: &ButlerSite) -> Result<Fresh> {
    let other = Fresh::start(&site.folder, "other").await?;
    define(&other.kube_apiserver, "teams.butler.butlerlabs.dev").await?;
    let team = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "payments" },
        "spec": { "displayName": "Somebody else's", "access": {} },
    });
    other.kube_apiserver.create(TEAMS, &team).await?;
    Ok(other)
}

/// Returns every object that a restore could have written, with its version.
async fn versions(site: &ButlerSite, cluster: &Fresh) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for kind in [
        "namespaces",
        "secrets",
        "configmaps",
        "serviceaccounts",
        "clusterroles",
        "customresourcedefinitions",
        "teams.butler.butlerlabs.dev",
    ] {
        for object in site.listed(&cluster.kubeconfig(), kind).await? {
            let metadata = &object["metadata"];
            let place = format!("{kind} {} {}", metadata["namespace"], metadata["name"]);
            found.insert(place, metadata["resourceVersion"].clone());
        }
    }
    ensure!(
        cluster.kube_apiserver.get(LEASE).await?.0 == 404,
        "a restore took its Lease"
    );
    Ok(found)
}

fn refused(output: Output, words: &[&str]) -> Result<()> {
    let output = output.ended_with(6)?;
    let told = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        ensure!(told.contains(word), "{word}: {told}");
    }
    Ok(())
}

async fn snapshot(site: &ButlerSite, component: &str) -> Result<String> {
    let snapshot = site.backupd("snapshot").args(["--component", component]);
    snapshot.ended_with(0).await?;
    newest(site).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_of_etcd_alone_never_goes_into_another_living_cluster() -> Result<()> {
    let mut site = ButlerSite::saved_on(Shared::own().await?, "wrong-cluster").await?;
    snapshot(&site, "etcd").await?;
    snapshot(&site, "resources").await?;
    let other = other(&site).await?;
    let own = site.shared.butler.kubeconfig();
    let captured = uid(&site.shared.butler.kube_apiserver.read(NAMESPACE).await?)?;
    let foreign = uid(&other.kube_apiserver.read(NAMESPACE).await?)?;
    let before = versions(&site, &other).await?;
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.lose_etcd().await?;

    // Another cluster answers at the lost one's address.
    let plan = ["--mode", "in-place"];
    let planned = site.plan(&other.kubeconfig(), &plan).await?;
    refused(planned, &["another cluster", &captured, &foreign])?;
    // The plan is right, and the kubeconfig is not.
    site.plan(&own, &plan).await?.ended_with(0)?;
    let restore = site.restore(&other.kubeconfig()).output().await?;
    refused(restore, &["another cluster", &captured, &foreign])?;
    ensure!(
        !site.shared.butler.talos.etcd_runs(),
        "etcd was restored before the refusal"
    );

    // The kubeconfig points there only after etcd is back.
    let moving = site.folder.join("moving.yaml");
    std::fs::copy(&own, &moving)?;
    let running = site.restore(&moving).args(["--settle", "1"]).start()?;
    e2e::wait::until("etcd", Duration::from_secs(180), async || {
        ensure!(site.shared.butler.talos.etcd_runs(), "not yet");
        Ok(())
    })
    .await?;
    std::fs::copy(other.kubeconfig(), &moving)?;
    refused(
        running.ended().await?,
        &["another cluster", &captured, &foreign],
    )?;
    let resume = |kubeconfig: &Path| {
        let resume = site.restore_cli("resume").args(["--settle", "1"]);
        resume.arg("--kubeconfig").arg(kubeconfig)
    };
    let resumed = resume(&other.kubeconfig()).output().await?;
    refused(resumed, &["another cluster", &captured, &foreign])?;
    assert_eq!(versions(&site, &other).await?, before);

    // And into its own cluster it goes on.
    let resumed = resume(&own).args(["--output", "json"]).start()?;
    let shared = Arc::get_mut(&mut site.shared).context("somebody else has it")?;
    shared.butler.resume().await?;
    let ran = resumed.ended().await?.ended_with(0)?.json()?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sources_are_held_to_the_cluster_of_an_etcd_snapshot() -> Result<()> {
    let site = ButlerSite::saved("wrong-sources").await?;
    let objects = objects(&site).await?;
    let fleet = site.folder.join("fleet");
    repository(&fleet, &objects).await?;
    tarball(&site.folder.join("nightly.tar.gz"), "1.1.0\n", &objects)?;
    // A prefix of its own, with etcd alone.
    let config = site.folder.join("butler.yaml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("wrong-sources", "wrong-sources-etcd"))?;
    snapshot(&site, "etcd").await?;
    let other = other(&site).await?;
    let own = site.shared.butler.kubeconfig();
    let captured = uid(&site.shared.butler.kube_apiserver.read(NAMESPACE).await?)?;
    let foreign = uid(&other.kube_apiserver.read(NAMESPACE).await?)?;
    let before = versions(&site, &other).await?;

    let velero = [
        "--from",
        "velero:nightly.tar.gz",
        "--only",
        "crds,resources",
    ];
    let planned = site.plan(&other.kubeconfig(), &velero).await?;
    refused(planned, &["another cluster", &captured, &foreign])?;
    let rebuild = [&velero[..], &["--mode", "rebuild"]].concat();
    let planned = site.plan(&own, &rebuild).await?;
    refused(
        planned,
        &["the cluster that the restore point is from", &captured],
    )?;
    // A single step has no earlier plan to check against.
    let step = site.restore_cli("restore").args(["resources", "latest"]);
    let step = step.args(&velero[..2]).args(["--yes", "--target"]);
    let step = step.args(["butler-mgmt", "--kubeconfig"]);
    let step = step.arg(other.kubeconfig()).output().await?;
    refused(step, &["another cluster", &captured, &foreign])?;

    std::fs::write(&config, text)?;
    let git = ["--from", "git:fleet#main", "--only", "resources"];
    let planned = site.plan(&other.kubeconfig(), &git).await?;
    refused(planned, &["another cluster", &captured, &foreign])?;
    let rebuild = [&git[..], &["--mode", "rebuild"]].concat();
    let planned = site.plan(&own, &rebuild).await?;
    refused(
        planned,
        &["the cluster that the restore point is from", &captured],
    )?;
    assert_eq!(versions(&site, &other).await?, before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_nothing_tells_of_is_written_to_by_name_alone() -> Result<()> {
    let site = ButlerSite::saved("unknown-cluster").await?;
    let folder = site.folder.path();
    // An etcd without a cluster in it, in a prefix of its own.
    let plain = Etcd::start(&site.folder, "plain").await?;
    let client = plain.client().await?;
    client.put("/registry/leases/default/a", "x").await?;
    client.snapshot(&folder.join("plain.db")).await?;
    let config = folder.join("butler.yaml");
    let text = std::fs::read_to_string(&config)?;
    std::fs::write(&config, text.replace("unknown-cluster", "unknown-etcd"))?;
    let import = site.backupd("import").arg("plain.db");
    import.ended_with(0).await?;
    // A Velero backup of one team, without the namespace kube-system.
    let team = "resources/teams.butler.butlerlabs.dev/cluster/written.json";
    let object = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": "written" },
        "spec": { "displayName": "Written", "access": {} },
    });
    let objects = BTreeMap::from([(team.to_owned(), object)]);
    tarball(&folder.join("nightly.tar.gz"), "1.1.0\n", &objects)?;
    let other = other(&site).await?;
    let kubeconfig = other.kubeconfig();
    let foreign = uid(&other.kube_apiserver.read(NAMESPACE).await?)?;
    let before = versions(&site, &other).await?;

    let from = ["--from", "velero:nightly.tar.gz"];
    let only = [&from[..], &["--only", "resources", "--mode", "in-place"]].concat();
    let unknown = ["it is not known which cluster", "--allow unknown-cluster"];
    refused(site.plan(&kubeconfig, &only).await?, &unknown)?;
    let step = |name: &str, allow: &[&str]| {
        let step = site.restore_cli("restore").args(["resources", "latest"]);
        let step = step
            .args(from)
            .args(allow)
            .args(["--yes", "--target", name]);
        step.args(["--settle", "1", "--kubeconfig"])
            .arg(&kubeconfig)
    };
    refused(step("butler-mgmt", &[]).output().await?, &unknown)?;
    let allowed = ["--allow", "unknown-cluster"];
    // The typed name must be that of the connected cluster.
    let misnamed = step("somebody", &allowed).ended_with(6).await?;
    ensure!(misnamed.stderr.contains("somebody"), "{}", misnamed.stderr);
    assert_eq!(versions(&site, &other).await?, before);

    let planned = [&only[..], &allowed].concat();
    let planned = site.plan(&kubeconfig, &planned).await?.ended_with(0)?;
    let findings = planned.json()?["plan"]["findings"].to_string();
    ensure!(findings.contains(&foreign), "{findings}");
    let restore = site.restore(&kubeconfig).args(["--settle", "1"]);
    let ran = restore.json().await?;
    assert_eq!(ran["ended"], "complete", "{ran:#}");
    other
        .kube_apiserver
        .read(&format!("{TEAMS}/written"))
        .await?;
    Ok(())
}
