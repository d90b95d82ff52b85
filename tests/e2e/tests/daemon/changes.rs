//! Restore points on change: real watches on a real API server.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backup_core::clock::{Clock as _, SystemClock};
use e2e::Folder;
use e2e::butler::define;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use e2e::sealed_secrets::SealedSecrets;
use e2e::wait::until;
use futures::{StreamExt as _, TryStreamExt as _};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::bed::Bed;
use super::election::{Line, kubeconfig};
use super::running::Daemon;

const LIMIT: Duration = Duration::from_secs(90);
const TEAMS: &str = "/apis/butler.butlerlabs.dev/v1alpha1/teams";
const MAPS: &str = "/api/v1/namespaces/butler-system/configmaps";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
/// Between two runs for changes.
const QUIET: i64 = 1;
const LONGEST: i64 = 5;

struct Cluster {
    bed: Bed,
    folder: Folder,
    server: KubeApiserver,
    _etcd: Etcd,
}

impl Cluster {
    async fn new() -> Result<Self> {
        let bed = Bed::new().await?;
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "etcd-of-the-api").await?;
        let server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
        until("kube-system", LIMIT, async || {
            server
                .read("/api/v1/namespaces/kube-system")
                .await
                .map(drop)
        })
        .await?;
        define(&server, "teams.butler.butlerlabs.dev").await?;
        Ok(Self {
            bed,
            folder,
            server,
            _etcd: etcd,
        })
    }

    /// A daemon for which `components` are taken on change, and only so.
    async fn daemon(&self, kubeconfig: &Path, components: &[&str]) -> Result<Daemon> {
        let components = components.iter();
        let components = components.map(|name| format!("  {name}: {{ on-change: true }}\n"));
        let config = format!(
            "kubernetes: {{ kubeconfig: {} }}\n\
             runs: {{ on-change: {{ quiet: {QUIET}s, longest: {LONGEST}s }} }}\ncomponents:\n{}",
            kubeconfig.display(),
            components.collect::<String>()
        );
        Daemon::start(&self.bed, &config, &[]).await
    }

    /// The restore points as they are listed, oldest first.
    async fn points(&self) -> Result<Vec<Value>> {
        let list = self.bed.restore_cli("list").args(["--output", "json"]);
        let list = list.output().await?.ended_with(0)?.json()?;
        let points = list["restorePoints"].as_array().context("no list")?;
        Ok(points.iter().rev().cloned().collect())
    }

    /// The paths in a component of a restore point.
    async fn paths(&self, id: &str, component: &str) -> Result<Vec<String>> {
        let file = self.bed.folder.join(format!("{component}.tar"));
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let fetch = self.bed.restore_cli("fetch").arg(id);
        let fetch = fetch.args(["--component", component, "--to"]).arg(&file);
        fetch.output().await?.ended_with(0)?;
        let list = e2e::run::Command::new("tar").arg("-tf").arg(&file);
        let list = list.output().await?.ended_with(0)?.stdout;
        Ok(list.lines().map(ToOwned::to_owned).collect())
    }

    /// Waits until some restore point has `path` in `component`; gives it as it is listed.
    async fn has(&self, component: &str, path: &str) -> Result<Value> {
        until(path, LIMIT, async || {
            for point in self.points().await? {
                let id = point["id"].as_str().context("no id")?;
                let components = point["components"].as_array().context("no components")?;
                if components.iter().any(|c| c == component)
                    && self
                        .paths(id, component)
                        .await?
                        .iter()
                        .any(|own| own == path)
                {
                    return Ok(point);
                }
            }
            anyhow::bail!("not yet")
        })
        .await
    }

    /// Never two at once.
    async fn one_after_the_other(&self) -> Result<usize> {
        let points = self.points().await?;
        for (one, next) in points.iter().zip(points.iter().skip(1)) {
            let ended: Timestamp = one["ended"].as_str().context("no end")?.parse()?;
            let began: Timestamp = next["began"].as_str().context("no begin")?.parse()?;
            ensure!(ended <= began, "{one} and {next}");
        }
        Ok(points.len())
    }
}

fn team(name: &str) -> Value {
    json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "Team",
        "metadata": { "name": name }, "spec": { "displayName": name },
    })
}

/// Waits until everything is watched, and what that began with was taken.
async fn settled(daemon: &Daemon) -> Result<Value> {
    daemon
        .until("watches, and a restore point of all", |cluster| {
            let watches = cluster["watches"].as_object();
            let all = watches.is_some_and(|watches| {
                !watches.is_empty() && watches.values().all(|w| w["state"] == "watching")
            });
            all && cluster["totals"]["committed"].as_u64() > Some(0) && cluster["run"].is_null()
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sealing_key_is_in_the_bucket_within_ten_seconds_of_its_birth() -> Result<()> {
    let cluster = Cluster::new().await?;
    define(&cluster.server, "sealedsecrets.bitnami.com").await?;
    let mut controller = SealedSecrets::start(
        &cluster.folder,
        "sealed-secrets",
        &cluster.server,
        "kube-system",
    )
    .await?;
    let components = ["crds", "resources", "sealed-secrets", "secrets"];
    let daemon = cluster
        .daemon(&cluster.server.kubeconfig(), &components)
        .await?;
    let before = settled(&daemon).await?;
    let watched = before["watches"]["secrets"].clone();
    let concerned = watched["components"].as_array().context("no components")?;
    assert!(concerned.iter().any(|c| c == "sealed-secrets"), "{watched}");

    let key = controller.renew(&cluster.server).await?;
    let name = key["metadata"]["name"].as_str().context("no name")?;
    // Of whole seconds, so it may be told too early, and never too late.
    let born = key["metadata"]["creationTimestamp"].as_str();
    let born: Timestamp = born.context("no birth")?.parse()?;
    let path = format!("resources/secrets/namespaces/kube-system/{name}.json");
    let point = cluster.has("sealed-secrets", &path).await?;
    let ended: Timestamp = point["ended"].as_str().context("no end")?.parse()?;
    let took = ended.duration_since(born);
    println!("a new sealing key was in the bucket {took:#} after its birth");
    assert!(took <= SignedDuration::from_secs(10), "{took:#}");
    let reason = point["reason"].as_str().context("no reason")?;
    let told = format!("change: secrets kube-system/{name} was made");
    assert!(reason.starts_with(&told), "{reason}");
    daemon.stop().await?.ended_with(0)?;
    cluster.one_after_the_other().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_resource_and_a_new_kind_are_taken_within_the_longest_wait() -> Result<()> {
    let cluster = Cluster::new().await?;
    let daemon = cluster
        .daemon(&cluster.server.kubeconfig(), &["crds", "resources"])
        .await?;
    settled(&daemon).await?;
    let began = SystemClock.now();
    cluster.server.create(TEAMS, &team("payments")).await?;
    let path = "resources/teams.butler.butlerlabs.dev/cluster/payments.json";
    let point = cluster.has("resources", path).await?;
    let begun: Timestamp = point["began"].as_str().context("no begin")?.parse()?;
    let waited = begun.duration_since(began);
    println!("a run began {waited:#} after the change");
    assert!(
        waited <= SignedDuration::from_secs(LONGEST + 1),
        "{waited:#}"
    );
    let reason = point["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("teams.butler.butlerlabs.dev payments was made"),
        "{reason}"
    );

    // Objects of a kind that was made a moment ago, before anybody watches it.
    define(&cluster.server, "users.butler.butlerlabs.dev").await?;
    let users = "/apis/butler.butlerlabs.dev/v1alpha1/users";
    let user = json!({
        "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "User",
        "metadata": { "name": "ada" }, "spec": { "email": "ada@example.org" },
    });
    cluster.server.create(users, &user).await?;
    let path = "resources/users.butler.butlerlabs.dev/cluster/ada.json";
    cluster.has("resources", path).await?;
    let path = "resources/customresourcedefinitions.apiextensions.k8s.io/cluster/users.butler.butlerlabs.dev.json";
    cluster.has("crds", path).await?;
    let watched = |c: &Value| c["watches"]["users.butler.butlerlabs.dev"]["state"] == "watching";
    daemon.until("a watch on the new kind", watched).await?;

    // A daemon at rest: nothing changes, so nothing is taken, and the lag is that of bookmarks.
    let count = cluster.points().await?.len();
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(cluster.points().await?.len(), count);
    let lag = daemon
        .metric("butler_backup_watch_lag_seconds{cluster=\"test\"}")
        .await?;
    assert!(lag < 150.0, "{lag}");
    daemon.stop().await?.ended_with(0)?;
    cluster.one_after_the_other().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_makes_few_restore_points_and_the_last_has_its_end() -> Result<()> {
    let cluster = Cluster::new().await?;
    let server = &cluster.server;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
    });
    server.create("/api/v1/namespaces", &namespace).await?;
    let map = |name: u32, round: u32| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("storm-{name}"), "namespace": "butler-system" },
            "data": { "round": round.to_string() },
        })
    };
    for name in 0..10 {
        server.create(MAPS, &map(name, 0)).await?;
    }
    let daemon = cluster.daemon(&server.kubeconfig(), &["secrets"]).await?;
    settled(&daemon).await?;
    let before = cluster.points().await?.len();
    let began = tokio::time::Instant::now();
    futures::stream::iter(0..1000_u32)
        .map(|number| {
            let (name, round) = (number % 10, number / 10 + 1);
            let path = format!("{MAPS}/storm-{name}");
            async move {
                // A hundred in a second: it lasts longer than a change waits.
                tokio::time::sleep(Duration::from_millis(80)).await;
                server.replace(&path, &map(name, round)).await
            }
        })
        .buffered(8)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    let storm = began.elapsed();
    assert!(storm > Duration::from_secs(8), "no storm: {storm:?}");
    let end = map(11, 1);
    server.create(MAPS, &end).await?;
    let path = "resources/configmaps/namespaces/butler-system/storm-11.json";
    cluster.has("secrets", path).await?;
    daemon
        .until("quiet", |c| {
            c["run"].is_null() && c["totals"]["changes"].as_u64() > Some(1000)
        })
        .await?;
    daemon.stop().await?.ended_with(0)?;
    let taken = cluster.one_after_the_other().await? - before;
    println!("1000 updates in {storm:?} made {taken} restore points");
    // One for each longest wait, and those of its end.
    let most = storm.as_secs() / u64::try_from(LONGEST)? + 3;
    assert!(u64::try_from(taken)? <= most, "{taken} in {storm:?}");
    let newest = cluster.points().await?.pop().context("no restore point")?;
    let id = newest["id"].as_str().context("no id")?;
    cluster.paths(id, "secrets").await?;
    let file = cluster.bed.folder.join("secrets.tar");
    for name in 0..10 {
        let path = format!("resources/configmaps/namespaces/butler-system/storm-{name}.json");
        let object = e2e::run::Command::new("tar")
            .arg("-xOf")
            .arg(&file)
            .arg(path);
        let object = object.output().await?.ended_with(0)?.json()?;
        assert_eq!(object["data"]["round"], "100");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_breaks_goes_on_and_misses_nothing() -> Result<()> {
    let mut cluster = Cluster::new().await?;
    let line = Line::to(&cluster.server.url()).await?;
    let kubeconfig = kubeconfig(&cluster.server, cluster.folder.path(), &line)?;
    let daemon = cluster.daemon(&kubeconfig, &["resources"]).await?;
    settled(&daemon).await?;
    let path = |name: &str| format!("resources/teams.butler.butlerlabs.dev/cluster/{name}.json");
    let broken = |c: &Value| c["watches"]["teams.butler.butlerlabs.dev"]["state"] == "broken";

    // The line is cut, and what happens meanwhile is heard when it is back.
    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster.server.create(TEAMS, &team("meanwhile")).await?;
    line.up.send_replace(true);
    let point = cluster.has("resources", &path("meanwhile")).await?;
    let reason = point["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("teams.butler.butlerlabs.dev meanwhile was made"),
        "{reason}"
    );
    let healed = settled(&daemon).await?;
    assert_eq!(healed["totals"]["watchesLost"], 0, "{healed}");
    assert!(healed["totals"]["watchBreaks"].as_u64() > Some(0));

    // The API server is killed while the line is cut, and remembers nothing of what it told before.
    line.up.send_replace(false);
    daemon.until("a broken watch", broken).await?;
    cluster
        .server
        .create(TEAMS, &team("before-the-end"))
        .await?;
    cluster.server.restart().await?;
    line.up.send_replace(true);
    cluster.has("resources", &path("before-the-end")).await?;
    let healed = settled(&daemon).await?;
    println!("after a restart: {}", healed["totals"]);
    // What it cannot be told of, it takes as changed.
    assert!(healed["totals"]["watchesLost"].as_u64() > Some(0));
    cluster.server.create(TEAMS, &team("after")).await?;
    cluster.has("resources", &path("after")).await?;
    let output = daemon.stop().await?.ended_with(0)?;
    assert!(
        output.stderr.contains("the watch broke; trying again"),
        "{}",
        output.stderr
    );
    cluster.one_after_the_other().await?;
    Ok(())
}

/// Gives `user` the rights `rules`.
async fn may(server: &KubeApiserver, user: &str, rules: &Value) -> Result<()> {
    let role = json!({ "metadata": { "name": user }, "rules": rules });
    server
        .create(&format!("{RBAC}/clusterroles"), &role)
        .await?;
    let binding = json!({
        "metadata": { "name": user },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user,
        },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    server
        .create(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_project_are_enough_and_a_forbidden_watch_is_told_and_goes_by_cron()
-> Result<()> {
    let cluster = Cluster::new().await?;
    let server = &cluster.server;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rbac.yaml");
    let text = std::fs::read_to_string(file)?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let documents: Result<Vec<Value>, _> = documents.map(Value::deserialize).collect();
    let mut documents = documents?.into_iter();
    let role = documents.find(|document| document["kind"] == "ClusterRole");
    let rules = role.context("no ClusterRole")?["rules"].clone();
    may(server, "exact", &rules).await?;
    let all = [
        "crds",
        "resources",
        "sealed-secrets",
        "kubeconfigs",
        "secrets",
    ];
    let exact = server.kubeconfig_for("exact", None)?;
    let daemon = cluster.daemon(&exact, &all).await?;
    let watches = settled(&daemon).await?["watches"].clone();
    for kind in [
        "secrets",
        "configmaps",
        "namespaces",
        "teams.butler.butlerlabs.dev",
    ] {
        assert_eq!(watches[kind]["state"], "watching", "{watches}");
    }
    daemon.stop().await?.ended_with(0)?;

    // The same without the right to watch Secrets.
    let mut less = rules;
    for rule in less.as_array_mut().context("no rules")? {
        let core = rule["resources"].as_array().into_iter().flatten();
        if core.clone().any(|resource| resource == "secrets") {
            rule["verbs"] = json!(["get", "list"]);
        }
    }
    may(server, "less", &less).await?;
    let kubeconfig = server.kubeconfig_for("less", None)?;
    let config = format!(
        "kubernetes: {{ kubeconfig: {} }}\n\
         runs: {{ on-change: {{ quiet: 1s, longest: 5s }} }}\ncomponents:\n  \
           secrets: {{ on-change: true, cron: '* * * * *' }}\n  \
           resources: {{ on-change: true }}\n",
        kubeconfig.display()
    );
    let daemon = Daemon::start(&cluster.bed, &config, &[]).await?;
    // Namespaces stand in the same rule.
    let refused = |c: &Value| {
        let both = ["secrets", "namespaces"];
        both.iter()
            .all(|kind| c["watches"][kind]["state"] == "refused")
    };
    let told = daemon.until("two refused watches", refused).await?;
    let problem = told["watches"]["secrets"]["problem"].as_str();
    let problem = problem.context("no problem")?;
    for word in ["cannot watch resource \"secrets\"", "deploy/rbac.yaml"] {
        assert!(problem.contains(word), "{problem}");
    }
    assert_eq!(
        daemon
            .metric("butler_backup_watches{cluster=\"test\",state=\"refused\"}")
            .await?,
        2.0
    );
    // Others go on.
    server.create(TEAMS, &team("payments")).await?;
    let path = "resources/teams.butler.butlerlabs.dev/cluster/payments.json";
    cluster.has("resources", path).await?;
    // A Secret is not noticed, and is there with the next minute.
    let secret = json!({
        "metadata": { "name": "credentials-kubeconfig-not", "namespace": "kube-system" },
        "type": "helm.sh/release.v1",
    });
    server
        .create("/api/v1/namespaces/kube-system/secrets", &secret)
        .await?;
    let path = "resources/secrets/namespaces/kube-system/credentials-kubeconfig-not.json";
    let point = cluster.has("secrets", path).await?;
    assert_eq!(point["reason"], "schedule", "{point}");
    // The restore point says that it was taken by the clock alone, and the one of the others does not.
    let id = point["id"].as_str().context("no id")?;
    let shown = cluster
        .bed
        .restore_cli("show")
        .args([id, "--output", "json"]);
    let shown = shown.output().await?.ended_with(0)?.json()?;
    let findings = shown["findings"].as_array().context("no findings")?;
    let of = |object: &str| findings.iter().find(|f| f["object"] == object);
    let told = of("watch of secrets").with_context(|| shown.to_string())?;
    let cause = told["cause"].as_str().unwrap_or_default();
    assert!(
        cause.contains("cannot watch resource \"secrets\""),
        "{told}"
    );
    assert!(of("watch of configmaps").is_none(), "{shown:#}");
    let output = daemon.stop().await?.ended_with(0)?;
    // Told once for each kind, although it is asked for again and again.
    let lines = output.stderr.lines();
    let lines = lines.filter(|line| line.contains("it cannot be watched"));
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), 2, "{}", output.stderr);
    Ok(())
}
