//! Tests of a whole restore, by the program and by the library.

use anyhow::{Context as _, Result};
use cluster_restore::etcd::{EtcdPhase, restart_kubelets, restarts, watch_others};

use super::log::Kept;
use super::site::{EtcdSite, NAME, OTHER, TARGET, WORKER, pace};

#[tokio::test(flavor = "multi_thread")]
async fn the_program_brings_a_lost_etcd_back_at_its_revision() -> Result<()> {
    let site = EtcdSite::new().await?;
    let point = site.point().await?;
    let facts = point.manifest.components[0]
        .etcd
        .clone()
        .context("no etcd")?;
    let client = site.etcd.client().await?;
    client.put("/after/the/backup", "is lost").await?;
    site.lose().await?;

    let restored = site
        .restore_etcd()
        .arg("--restart-kubelets")
        .output()
        .await?;
    println!("{}\n{}", restored.stderr, restored.stdout);
    let told = restored.stderr.clone();
    let restored = restored.ended_with(0)?.json()?;
    assert_eq!(restored["restorePoint"], site.id);
    assert_eq!(restored["cluster"], NAME);
    assert_eq!(restored["node"], TARGET);
    assert_eq!(restored["revision"], facts.revision);
    assert_eq!(restored["snapshotRevision"], facts.revision);
    assert_eq!(restored["already"], false);
    assert_eq!(restored["members"].as_array().map(Vec::len), Some(1));
    for phase in [
        "uploaded",
        "bootstrap accepted",
        "etcd runs",
        "healthy",
        "revision",
    ] {
        assert!(told.contains(phase), "{phase} is not in:\n{told}");
    }
    assert_eq!(site.node()?.restarted(), ["kubelet"]);
    assert_eq!(site.talos.violations(), Vec::<String>::new());

    let client = site.etcd.client().await?;
    assert_eq!(client.get("/after/the/backup").await?, None);
    // Every call that changes something went to that node by name.
    for seen in site.talos.seen() {
        if ["EtcdRecover", "Bootstrap", "ServiceRestart"].contains(&seen.method) {
            assert_eq!(seen.node.as_deref(), Some(TARGET));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_hears_every_phase_and_the_rest_is_driven_or_told() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let log = Kept::default();
    let restored = site.restore(&log).await??;
    assert!(!restored.already);
    let phases = log.phases();
    let index = |wanted: &EtcdPhase| phases.iter().position(|phase| phase == wanted);
    let order = [
        EtcdPhase::Uploaded,
        EtcdPhase::Bootstrapping,
        EtcdPhase::Accepted,
        EtcdPhase::Running,
        EtcdPhase::Healthy,
        EtcdPhase::Revision {
            revision: restored.revision,
        },
    ];
    let order: Vec<_> = order.iter().map(|phase| index(phase).unwrap()).collect();
    assert!(order.is_sorted(), "{phases:?}");

    // The other node joins; a third that never does is reported with what to do.
    let nodes = site.nodes("os:admin", &[TARGET, OTHER, WORKER]).await?;
    let plan = site.plan(&nodes).await?;
    let waits = watch_others(&nodes, &plan, pace()).await;
    assert_eq!(waits.len(), 1);
    assert!(!waits[0].joined);
    assert!(waits[0].remedy.as_deref().unwrap().contains(OTHER));
    site.runs_at(site.talos.node(OTHER)?)?;
    assert!(watch_others(&nodes, &plan, pace()).await[0].joined);

    let mut list = restarts(&plan);
    restart_kubelets(&nodes, &mut list).await;
    let done = list
        .iter()
        .filter(|restart| restart.done == Some(true))
        .count();
    assert_eq!(done, 3);
    assert_eq!(site.talos.node(WORKER)?.restarted(), ["kubelet"]);
    assert!(
        list.iter()
            .any(|r| r.done.is_none() && r.command.contains("rollout restart"))
    );

    // An operator may restart services and a reader may not: that is reported and nothing is done.
    let reader = site.nodes("os:reader", &[TARGET]).await?;
    let mut refused = restarts(&plan);
    restart_kubelets(&reader, &mut refused).await;
    let refused: Vec<_> = refused
        .iter()
        .filter_map(|r| r.why_not.as_deref())
        .collect();
    assert_eq!(refused.len(), 3);
    assert!(refused[0].contains("os:operator"), "{refused:?}");
    Ok(())
}
