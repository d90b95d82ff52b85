//! Tests of what a preflight refuses, each with what to do; and that it changes nothing.

use anyhow::Result;
use cluster_restore::etcd::{EtcdPlan, NodeRole};
use e2e::run::tells;
use e2e::talos::{CallFault, NodeSpec, ServiceState, TalosVersion};

use super::site::{EtcdSite, OTHER, TARGET, WORKER};

/// Checks that one blocker has all of `words` in its cause or its remedy.
fn blocked(plan: &EtcdPlan, words: &[&str]) {
    let told = plan
        .blockers
        .iter()
        .map(|f| format!("{}: {} -> {}", f.object, f.cause, f.remedy));
    let told: Vec<_> = told.collect();
    let found = told
        .iter()
        .any(|text| words.iter().all(|word| text.contains(word)));
    assert!(found, "{words:?} are not in one of {told:#?}");
}

async fn plan(site: &EtcdSite, role: &str, nodes: &[&str]) -> Result<EtcdPlan> {
    let nodes = site.nodes(role, nodes).await?;
    site.plan(&nodes).await
}

/// Checks that no call that changes something was made.
fn untouched(site: &EtcdSite) {
    for method in ["EtcdRecover", "Bootstrap", "ServiceRestart"] {
        assert_eq!(site.calls(method), 0, "{method}");
    }
    assert_eq!(site.talos.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lives_is_not_restored() -> Result<()> {
    let site = EtcdSite::new().await?;
    let client = site.etcd.client().await?;
    client.put("/registry/written/since", "1").await?;
    let running = plan(&site, "os:admin", &[TARGET, OTHER]).await?;
    blocked(
        &running,
        &[TARGET, "etcd runs", "talosctl reset", "EPHEMERAL", "ETCD"],
    );
    // The program refuses as well, and reports its findings.
    let refused = site.restore_etcd().ended_with(6).await?;
    tells(&refused, &["etcd runs"]);
    // A lost node is refused too, as long as another one runs.
    site.lose().await?;
    site.runs_at(site.talos.node(OTHER)?)?;
    let other = plan(&site, "os:admin", &[TARGET, OTHER]).await?;
    blocked(&other, &[OTHER, "two etcd clusters"]);
    // Naming one node alone does not begin a second etcd: the others are checked all the same.
    let alone = plan(&site, "os:admin", &[TARGET]).await?;
    blocked(&alone, &[OTHER, "two etcd clusters"]);
    let refused = site.restore_etcd().ended_with(6).await?;
    tells(&refused, &[OTHER]);
    untouched(&site);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_small_a_role_and_another_cluster_name_are_refused() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    for role in ["os:etcd:backup", "os:reader", "os:operator"] {
        let plan = plan(&site, role, &[TARGET]).await?;
        blocked(&plan, &["talosconfig", role, "os:admin"]);
    }
    site.talosconfig("os:operator")?;
    let refused = site.restore_etcd().ended_with(6).await?;
    tells(&refused, &["os:operator"]);
    site.talosconfig("os:admin")?;
    let restore = site
        .restore_cli("restore")
        .args(["etcd", "latest", "--yes"]);
    let restore = restore.args(["--target", "other", "--nodes", TARGET]);
    let refused = restore.ended_with(6).await?;
    tells(&refused, &["cluster lab"]);
    let restore = site.restore_cli("restore").args(["etcd", "latest"]);
    let refused = restore.args(["--nodes", TARGET]).ended_with(6).await?;
    tells(&refused, &["--yes --target lab"]);
    untouched(&site);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_before_a_worker_and_a_node_that_is_away_are_told() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let clean = plan(&site, "os:admin", &[TARGET, OTHER, WORKER]).await?;
    assert_eq!(clean.blockers, []);
    assert_eq!(clean.name(), "lab");
    let roles: Vec<_> = clean.nodes.iter().map(|node| node.role).collect();
    assert_eq!(
        roles,
        [
            NodeRole::ControlPlane,
            NodeRole::ControlPlane,
            NodeRole::Worker
        ]
    );
    assert!(clean.cluster.id_sha256.is_some());
    // A plan holds no secret of the machine configuration, and survives a file.
    let json = serde_json::to_string(&clean)?;
    assert!(!json.contains(e2e::talos::machine_config::JOIN_TOKEN));
    assert_eq!(serde_json::from_str::<EtcdPlan>(&json)?, clean);

    // Data that a failed etcd left.
    let data = site.node()?.var_lib().unwrap().join("etcd/member");
    std::fs::create_dir_all(&data)?;
    site.node()?
        .etcd_turns(ServiceState::Failed, "exited with 1", None);
    let dirty = plan(&site, "os:admin", &[TARGET]).await?;
    blocked(
        &dirty,
        &[
            "not empty",
            "talosctl reset",
            "--system-labels-to-wipe EPHEMERAL",
        ],
    );
    std::fs::remove_dir_all(data.parent().unwrap())?;
    // Without data it can be tried again.
    assert_eq!(plan(&site, "os:admin", &[TARGET]).await?.blockers, []);

    let nodes = site.nodes("os:admin", &[TARGET, WORKER]).await?;
    let mut wanted = cluster_restore::etcd::EtcdRequest {
        target: Some(WORKER.to_owned()),
        snapshot: clean.snapshot.clone(),
        allow: std::collections::BTreeSet::new(),
        proof: None,
    };
    let worker = cluster_restore::etcd::preflight(&nodes, wanted.clone()).await;
    blocked(&worker, &[WORKER, "worker", "--node"]);
    // Without a target, the first ready node is taken.
    wanted.target = None;
    let chosen = cluster_restore::etcd::preflight(&nodes, wanted.clone()).await;
    assert_eq!(chosen.target, TARGET);

    // A node that cannot be reached: as another node a warning, as the target an error. A node that never
    // answers is given up after its deadline.
    site.talos
        .node(OTHER)?
        .fault(|faults| faults.unreachable = true);
    for named in [&[TARGET, OTHER][..], &[TARGET]] {
        let away = plan(&site, "os:admin", named).await?;
        blocked(&away, &[OTHER, "does not answer", "--allow unseen-node"]);
    }
    let nodes = site.nodes("os:admin", &[TARGET]).await?;
    let mut allowed = wanted.clone();
    allowed
        .allow
        .insert(cluster_restore::plan::Danger::UnseenNode);
    let away = cluster_restore::etcd::preflight(&nodes, allowed).await;
    assert_eq!(away.blockers, []);
    assert!(
        away.warnings.iter().any(|f| f.object.contains(OTHER)),
        "{:?}",
        away.warnings
    );
    site.talos.node(OTHER)?.heal();
    site.node()?.fault(|faults| {
        for method in [
            "ServiceList",
            "Version",
            "MachineConfig",
            "TimeStatus",
            "List",
        ] {
            faults.calls.insert(method, CallFault::Hang);
        }
    });
    let begun = std::time::Instant::now();
    let silent = plan(&site, "os:admin", &[TARGET]).await?;
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    blocked(&silent, &[TARGET, "does not answer"]);
    untouched(&site);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn old_machine_types_old_talos_and_other_secrets_are_refused() -> Result<()> {
    let change = |specs: &mut Vec<NodeSpec>| {
        let config = e2e::talos::machine_config::of("cp-1", true, TalosVersion(1, 10));
        let config = config.replace("type: controlplane", "type: init");
        let config: Vec<_> = config
            .lines()
            .filter(|l| !l.contains("secretbox"))
            .collect();
        specs[0].machine_config = Some(config.join("\n"));
        specs[0].version = TalosVersion(1, 10);
    };
    let site = EtcdSite::with(change).await?;
    site.lose().await?;
    let nodes = site.nodes("os:admin", &[TARGET]).await?;
    let point = site.point().await?;
    let mut snapshot = cluster_restore::etcd::SnapshotFacts::of(&point).unwrap();
    snapshot.encryption_prefixes = vec!["k8s:enc:secretbox:v1:key1:".to_owned()];
    let wanted = cluster_restore::etcd::EtcdRequest {
        target: Some(TARGET.to_owned()),
        snapshot,
        allow: std::collections::BTreeSet::new(),
        proof: None,
    };
    let plan = cluster_restore::etcd::preflight(&nodes, wanted).await;
    blocked(&plan, &["`init`", "controlplane"]);
    blocked(&plan, &["etcd 3.5", "upgrade"]);
    blocked(&plan, &["k8s:enc:secretbox", "machine secrets"]);
    untouched(&site);
    Ok(())
}
