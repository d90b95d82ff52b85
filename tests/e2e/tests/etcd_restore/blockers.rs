//! Tests of what a preflight refuses, each with what to do; and that it changes nothing.

use anyhow::Result;
use cluster_restore::etcd::{EtcdPlan, NodeRole};
use e2e::talos::{CallFault, NodeSpec, ServiceState, TalosVersion};

use super::bed::{Bed, OTHER, TARGET, WORKER};

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

async fn plan(bed: &Bed, role: &str, nodes: &[&str]) -> Result<EtcdPlan> {
    let nodes = bed.nodes(role, nodes).await?;
    bed.plan(&nodes).await
}

/// Checks that no call that changes something was made.
fn untouched(bed: &Bed) {
    for method in ["EtcdRecover", "Bootstrap", "ServiceRestart"] {
        assert_eq!(bed.calls(method), 0, "{method}");
    }
    assert_eq!(bed.talos.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_lives_is_not_restored() -> Result<()> {
    let bed = Bed::new().await?;
    let client = bed.process.0.lock().await.client().await?;
    client.put("/registry/written/since", "1").await?;
    let running = plan(&bed, "os:admin", &[TARGET, OTHER]).await?;
    blocked(
        &running,
        &[TARGET, "etcd runs", "talosctl reset", "EPHEMERAL", "ETCD"],
    );
    // The program refuses as well, and reports its findings.
    let refused = bed.restore_etcd().output().await?.ended_with(6)?;
    assert!(refused.stderr.contains("etcd runs"), "{}", refused.stderr);
    // A lost node is refused too, as long as another one runs.
    bed.lose().await?;
    let real = {
        let etcd = bed.process.0.lock().await;
        std::sync::Arc::new(e2e::talos::real_etcd::RealEtcd::of(&etcd)?)
    };
    let node = bed.talos.node(OTHER)?;
    node.etcd_turns(ServiceState::Running, "Health check successful", Some(real));
    let other = plan(&bed, "os:admin", &[TARGET, OTHER]).await?;
    blocked(&other, &[OTHER, "two etcd clusters"]);
    // Naming one node alone does not begin a second etcd: the others are checked all the same.
    let alone = plan(&bed, "os:admin", &[TARGET]).await?;
    blocked(&alone, &[OTHER, "two etcd clusters"]);
    let refused = bed.restore_etcd().output().await?.ended_with(6)?;
    assert!(refused.stderr.contains(OTHER), "{}", refused.stderr);
    untouched(&bed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn too_small_a_role_and_another_cluster_name_are_refused() -> Result<()> {
    let bed = Bed::new().await?;
    bed.lose().await?;
    for role in ["os:etcd:backup", "os:reader", "os:operator"] {
        let plan = plan(&bed, role, &[TARGET]).await?;
        blocked(&plan, &["talosconfig", role, "os:admin"]);
    }
    bed.talosconfig("os:operator")?;
    let refused = bed.restore_etcd().output().await?.ended_with(6)?;
    assert!(refused.stderr.contains("os:operator"), "{}", refused.stderr);
    bed.talosconfig("os:admin")?;
    let restore = bed
        .programs
        .restore_cli()
        .args(["restore", "etcd", "latest", "--yes"]);
    let restore = bed.ours(restore.args(["--target", "other", "--nodes", TARGET]));
    let refused = restore.output().await?.ended_with(6)?;
    assert!(refused.stderr.contains("cluster lab"), "{}", refused.stderr);
    let restore = bed
        .programs
        .restore_cli()
        .args(["restore", "etcd", "latest"]);
    let refused = bed
        .ours(restore.args(["--nodes", TARGET]))
        .output()
        .await?
        .ended_with(6)?;
    assert!(
        refused.stderr.contains("--yes --target lab"),
        "{}",
        refused.stderr
    );
    untouched(&bed);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_before_a_worker_and_a_node_that_is_away_are_told() -> Result<()> {
    let bed = Bed::new().await?;
    bed.lose().await?;
    let clean = plan(&bed, "os:admin", &[TARGET, OTHER, WORKER]).await?;
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
    let data = bed.node()?.var_lib().unwrap().join("etcd/member");
    std::fs::create_dir_all(&data)?;
    bed.node()?
        .etcd_turns(ServiceState::Failed, "exited with 1", None);
    let dirty = plan(&bed, "os:admin", &[TARGET]).await?;
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
    assert_eq!(plan(&bed, "os:admin", &[TARGET]).await?.blockers, []);

    let nodes = bed.nodes("os:admin", &[TARGET, WORKER]).await?;
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
    bed.talos
        .node(OTHER)?
        .fault(|faults| faults.unreachable = true);
    for named in [&[TARGET, OTHER][..], &[TARGET]] {
        let away = plan(&bed, "os:admin", named).await?;
        blocked(&away, &[OTHER, "does not answer", "--allow unseen-node"]);
    }
    let nodes = bed.nodes("os:admin", &[TARGET]).await?;
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
    bed.talos.node(OTHER)?.heal();
    bed.node()?.fault(|faults| {
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
    let silent = plan(&bed, "os:admin", &[TARGET]).await?;
    assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    blocked(&silent, &[TARGET, "does not answer"]);
    untouched(&bed);
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
    let bed = Bed::with(change).await?;
    bed.lose().await?;
    let nodes = bed.nodes("os:admin", &[TARGET]).await?;
    let (_, point) = bed.point().await?;
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
    untouched(&bed);
    Ok(())
}
