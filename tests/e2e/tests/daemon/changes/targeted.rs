//! Tests that a run for a change reads only the changed objects, and that its restore point equals that of a
//! full list.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::butler::define;
use e2e::kube_apiserver::Request;
use e2e::wait::until;
use serde_json::{Value, json};

use super::super::election::{Line, kubeconfig};
use super::super::running::Daemon;
use super::super::site::ChainSite;
use super::{Cluster, DAEMON, LIMIT, MAPS, TEAMS, settled, team};

const ALL: [&str; 5] = [
    "crds",
    "resources",
    "sealed-secrets",
    "kubeconfigs",
    "secrets",
];
const SECRETS: &str = "/api/v1/namespaces/butler-system/secrets";
/// Kind of [`TEAMS`].
const KIND: &str = "teams.butler.butlerlabs.dev";

/// Sorted digests of the components that a list makes.
type Digests = BTreeMap<String, String>;

impl Cluster {
    fn audited_kubeconfig(&self) -> Result<PathBuf> {
        self.server.kubeconfig_for(DAEMON, Some("system:masters"))
    }

    /// Makes some objects of several kinds.
    async fn furnished(&self) -> Result<()> {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
        });
        self.server.create("/api/v1/namespaces", &namespace).await?;
        define(&self.server, "users.butler.butlerlabs.dev").await?;
        for number in 0..30 {
            let name = format!("team-{number:02}");
            self.server.create(TEAMS, &team(&name)).await?;
            self.server.create(MAPS, &map(&name, 0)).await?;
        }
        for name in ["one", "two"] {
            self.server.create(SECRETS, &secret(name)).await?;
        }
        Ok(())
    }

    /// Returns the newest listed restore point whose reason contains `reason`.
    async fn because(&self, reason: &str) -> Result<Value> {
        until(reason, LIMIT, async || {
            let points = self.points().await?;
            let with =
                |point: &&Value| point["reason"].as_str().is_some_and(|r| r.contains(reason));
            points.iter().rev().find(with).cloned().context("not yet")
        })
        .await
    }

    /// Takes a restore point by a command, which lists everything.
    async fn full(&self) -> Result<Digests> {
        let mut snapshot = self.site.backupd("snapshot");
        for component in ALL {
            snapshot = snapshot.args(["--component", component]);
        }
        let taken = snapshot.args(["--output", "json"]).json().await?;
        let id = taken["restorePoint"].as_str().context("no id")?;
        digests(&self.manifest(id).await?)
    }

    /// Returns the daemon's requests after the first `before`.
    fn asked(&self, before: usize) -> Result<Vec<Request>> {
        Ok(self.server.audited()?.split_off(before))
    }
}

fn map(name: &str, round: u32) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "butler-system" },
        "data": { "round": round.to_string(), "text": "ünïcödé <&> \u{2028}" },
    })
}

fn secret(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "namespace": "butler-system" },
        "stringData": { "password": format!("of {name}") },
    })
}

fn digests(manifest: &Value) -> Result<Digests> {
    let components = manifest["components"].as_array().context("no components")?;
    let digest = |component: &Value| {
        let text = |key: &str| component[key].as_str().map(ToOwned::to_owned);
        Some((text("name")?, text("plainSha256")?))
    };
    components
        .iter()
        .map(digest)
        .collect::<Option<_>>()
        .context("no digest")
}

/// Returns the manifest's facts about a kind in a component.
fn kind<'m>(manifest: &'m Value, component: &str, resource: &str) -> Result<&'m Value> {
    let components = manifest["components"].as_array().context("no components")?;
    let component = components.iter().find(|c| c["name"] == component);
    let kinds = component.context("no such component")?["archive"]["kinds"].as_array();
    let mut kinds = kinds.context("no kinds")?.iter();
    let found = kinds.find(|kind| kind["resource"] == resource);
    found.context("no such kind")
}

/// Waits until no run is at work and no change waits.
async fn quiet(daemon: &Daemon) -> Result<Value> {
    let mut before = settled(daemon).await?;
    loop {
        // Longer than a change waits for others.
        tokio::time::sleep(Duration::from_secs(4)).await;
        let now = settled(daemon).await?;
        if now["totals"] == before["totals"] {
            return Ok(now);
        }
        before = now;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_read_alone_and_the_restore_point_is_that_of_a_full_list() -> Result<()> {
    let cluster = Cluster::audited().await?;
    cluster.furnished().await?;
    let server = &cluster.server;
    let daemon = cluster.daemon(&cluster.audited_kubeconfig()?, &ALL).await?;
    let status = quiet(&daemon).await?;
    ensure!(status["kept"]["objects"].as_u64() > Some(60), "{status}");

    // Changed, made, deleted: objects of a custom kind and of built-in ones.
    let before = server.audited()?.len();
    let mut changed = server.read(&format!("{TEAMS}/team-03")).await?;
    changed["spec"]["displayName"] = json!("changed");
    server
        .replace(&format!("{TEAMS}/team-03"), &changed)
        .await?;
    server.create(TEAMS, &team("team-xx")).await?;
    server.delete(&format!("{TEAMS}/team-07")).await?;
    server
        .replace(&format!("{MAPS}/team-05"), &map("team-05", 1))
        .await?;
    server.create(SECRETS, &secret("three")).await?;
    server.delete(&format!("{SECRETS}/one")).await?;
    quiet(&daemon).await?;
    let asked = cluster.asked(before)?;
    let lists: Vec<_> = asked.iter().filter(|r| r.verb == "list").collect();
    assert!(lists.is_empty(), "{lists:?}");
    let read = |resource: &str| {
        let of = |r: &&Request| r.verb == "get" && r.resource == resource;
        let mut names: Vec<_> = asked.iter().filter(of).map(|r| r.uri.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    };
    assert_eq!(
        read(KIND),
        [format!("{TEAMS}/team-03"), format!("{TEAMS}/team-xx")]
    );
    assert_eq!(read("configmaps"), [format!("{MAPS}/team-05")]);
    assert_eq!(read("secrets"), [format!("{SECRETS}/three")]);

    let id = cluster.points().await?.pop().context("none")?;
    let id = id["id"].as_str().context("no id")?;
    let manifest = cluster.manifest(id).await?;
    let resources = digests(&manifest)?;
    println!("{}", kind(&manifest, "resources", KIND)?);
    // Bit for bit equal to lists.
    let full = cluster.full().await?;
    for (component, digest) in &resources {
        assert_eq!(full.get(component), Some(digest), "{component}");
    }
    // Each component, in the restore point in which it was last taken.
    for component in ALL {
        let mut newest = None;
        for point in cluster.points().await? {
            let manifest = cluster
                .manifest(point["id"].as_str().context("no id")?)
                .await?;
            let reason = manifest["reason"].as_str().unwrap_or_default();
            if reason.starts_with("change: ")
                && let Some(digest) = digests(&manifest)?.remove(component)
            {
                newest = Some(digest);
            }
        }
        assert_eq!(newest.as_ref(), full.get(component), "{component}");
    }

    // A run on demand lists everything again, and finds no difference.
    let before = server.audited()?.len();
    let (status, text) = daemon
        .post("", &[], &json!({ "components": ALL }).to_string())
        .await?;
    assert_eq!(status, http::StatusCode::OK, "{text}");
    let asked = cluster.asked(before)?;
    assert!(asked.iter().any(|r| r.verb == "list" && r.resource == KIND));
    let last = text.lines().last().context("nothing")?;
    let last: Value = serde_json::from_str(last)?;
    let id = last["result"]["restorePoint"].as_str().context("no id")?;
    let manifest = cluster.manifest(id).await?;
    assert_eq!(digests(&manifest)?, full);
    assert!(kind(&manifest, "resources", KIND)?["watched"].is_null());
    let drifts = daemon
        .metric("butler_backup_kept_drifts_total{cluster=\"test\"}")
        .await?;
    assert_eq!(drifts, 0.0);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_changes_has_its_objects_listed_again() -> Result<()> {
    let cluster = Cluster::audited().await?;
    cluster.furnished().await?;
    let server = &cluster.server;
    let daemon = cluster.daemon(&cluster.audited_kubeconfig()?, &ALL).await?;
    quiet(&daemon).await?;
    // A default shows in objects that nobody has changed, and whose revision stays.
    let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{KIND}");
    let mut definition = server.read(&path).await?;
    let version = definition.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties");
    let spec = version
        .context("no schema")?
        .pointer_mut("/spec/properties");
    spec.context("no spec")?["newField"] = json!({ "type": "string", "default": "given" });
    server.replace(&path, &definition).await?;
    let point = cluster.because(&format!("{KIND} was changed")).await?;
    let manifest = cluster
        .manifest(point["id"].as_str().context("no id")?)
        .await?;
    let told = kind(&manifest, "resources", KIND)?;
    // The server ends the watch, too.
    assert!(told["listedBecause"].is_string(), "{told}");
    let others = kind(&manifest, "resources", "users.butler.butlerlabs.dev")?;
    assert!(others["watched"].is_object(), "{others}");
    quiet(&daemon).await?;
    let mut newest = Digests::new();
    for point in cluster.points().await? {
        let manifest = cluster
            .manifest(point["id"].as_str().context("no id")?)
            .await?;
        newest.extend(digests(&manifest)?);
    }
    assert_eq!(newest, cluster.full().await?);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_break_kinds_are_listed_and_the_manifest_says_so() -> Result<()> {
    let mut cluster = Cluster::audited().await?;
    cluster.furnished().await?;
    let line = Line::to(&cluster.server.url()).await?;
    let kubeconfig = kubeconfig(&cluster.server, cluster.folder.path(), &line)?;
    let daemon = cluster.daemon(&kubeconfig, &["resources"]).await?;
    quiet(&daemon).await?;
    let broken = |c: &Value| c["watches"][KIND]["state"] == "broken";

    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster.server.delete(&format!("{TEAMS}/team-09")).await?;
    cluster.server.create(TEAMS, &team("meanwhile")).await?;
    line.up.send_replace(true);
    let path = format!("resources/{KIND}/cluster/meanwhile.json");
    let point = cluster.has("resources", &path).await?;
    let id = point["id"].as_str().context("no id")?;
    assert!(
        !cluster
            .paths(id, "resources")
            .await?
            .iter()
            .any(|p| p.ends_with("/team-09.json")),
        "it was deleted"
    );

    // An API server that has forgotten its events: everything is listed, and the reason is reported.
    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster.server.create(TEAMS, &team("at-the-end")).await?;
    cluster.server.restart().await?;
    line.up.send_replace(true);
    let path = format!("resources/{KIND}/cluster/at-the-end.json");
    let point = cluster.has("resources", &path).await?;
    let manifest = cluster
        .manifest(point["id"].as_str().context("no id")?)
        .await?;
    let told = kind(&manifest, "resources", KIND)?;
    assert!(told["watched"].is_null(), "{told}");
    let why = told["listedBecause"].as_str().context("no reason")?;
    println!("listed because {why}");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_folder_for_scratch_everything_is_listed_and_a_finding_says_so() -> Result<()> {
    let cluster = Cluster::audited().await?;
    let site: &ChainSite = &cluster.site;
    let config = format!(
        "kubernetes: {{ kubeconfig: {} }}\n\
         runs: {{ on-change: {{ quiet: 1s, longest: 5s }} }}\n\
         components: {{ resources: {{ on-change: true }} }}\n",
        cluster.audited_kubeconfig()?.display()
    );
    super::super::running::configure(site, &config)?;
    let nowhere = site.folder.join("nowhere");
    let daemon = Daemon::start_with(site.backupd("run").env("TMPDIR", &nowhere)).await?;
    settled(&daemon).await?;
    cluster.server.create(TEAMS, &team("payments")).await?;
    let path = format!("resources/{KIND}/cluster/payments.json");
    let point = cluster.has("resources", &path).await?;
    let manifest = cluster
        .manifest(point["id"].as_str().context("no id")?)
        .await?;
    let findings = manifest["findings"].as_array().context("no findings")?;
    let told: Vec<_> = findings
        .iter()
        .filter(|f| f["object"] == "scratch file")
        .collect();
    assert_eq!(told.len(), 1, "{findings:?}");
    assert!(kind(&manifest, "resources", KIND)?["listedBecause"].is_string());
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
