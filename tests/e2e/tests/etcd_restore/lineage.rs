//! Tests that a snapshot is restored only onto nodes of its own cluster.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use backup_core::format::manifest::Severity;
use cluster_restore::etcd::{EtcdRequest, SnapshotFacts, preflight};
use cluster_restore::plan::Danger;
use e2e::run::tells;
use e2e::talos::TalosVersion;
use e2e::talos::machine_config::of;

use super::site::{EtcdSite, NAME, TARGET};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_talos_cluster_is_refused_but_by_name() -> Result<()> {
    let site = EtcdSite::new().await?;
    // Another cluster of the same name, with secrets of its own.
    let other = EtcdSite::new().await?;
    site.lose().await?;
    other.lose().await?;
    let point = site.point().await?;
    let snapshot = SnapshotFacts::of(&point).context("no etcd")?;
    let captured = snapshot
        .cluster
        .clone()
        .context("it does not tell its cluster")?;
    assert!(!captured.authorities.is_empty());
    let look = async |site: &EtcdSite, allowed: bool| {
        let wanted = EtcdRequest {
            target: Some(TARGET.to_owned()),
            snapshot: snapshot.clone(),
            allow: allowed
                .then_some(Danger::OtherLineage)
                .into_iter()
                .collect(),
            proof: None,
        };
        anyhow::Ok(preflight(&site.nodes("os:admin", &[TARGET]).await?, wanted).await)
    };
    assert_eq!(look(&site, false).await?.blockers, []);
    let refused = look(&other, false).await?;
    let [blocker] = refused.blockers.as_slice() else {
        anyhow::bail!("{:#?}", refused.blockers);
    };
    assert!(
        blocker.cause.contains("another Talos cluster"),
        "{blocker:?}"
    );
    assert!(blocker.cause.contains("another authority"), "{blocker:?}");
    assert!(
        blocker.remedy.contains("--allow other-lineage"),
        "{blocker:?}"
    );
    let allowed = look(&other, true).await?;
    assert_eq!(allowed.blockers, []);
    let told = allowed.warnings.iter().find(|f| f.cause == blocker.cause);
    assert_eq!(told.map(|f| f.severity), Some(Severity::Warning));

    // The program, with the restore point of one cluster and the nodes of the other.
    let config = other.talosconfig("os:admin")?;
    let restore = || site.restore_etcd().arg("--talosconfig").arg(&config);
    let refused = restore().ended_with(6).await?;
    tells(&refused, &["another Talos cluster"]);
    assert_eq!(other.calls("EtcdRecover"), 0);
    let wrong = restore().args(["--allow", "sealing-key"]).output().await?;
    assert!(
        wrong
            .ended_with(2)?
            .stderr
            .contains("want one of: other-lineage, unknown-cluster")
    );
    let restored = restore().args(["--allow", "other-lineage"]).json().await?;
    assert_eq!(restored["cluster"], NAME, "{restored:#}");
    assert_eq!(other.calls("EtcdRecover"), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_known_by_its_id_before_and_after_the_upgrade_to_talos_1_14() -> Result<()> {
    let old = TalosVersion(1, 13);
    let site = EtcdSite::with(|specs| {
        specs[0].version = old;
        specs[0].machine_config = Some(of("cp-1", true, old));
    })
    .await?;
    let both = ["--component", "etcd", "--component", "machine-config"];
    let taken = site.take(&both).await?;
    let told = taken["findings"].to_string();
    assert!(!told.contains("key of the encryption"), "{told}");
    let point = site.point().await?;
    let snapshot = SnapshotFacts::of(&point).context("no etcd")?;

    // Authorities differ between two stand-ins, so that only the id identifies the cluster.
    let look = async |config: String| {
        let other = EtcdSite::with(|specs| specs[0].machine_config = Some(config)).await?;
        other.lose().await?;
        let wanted = EtcdRequest {
            target: Some(TARGET.to_owned()),
            snapshot: snapshot.clone(),
            allow: BTreeSet::new(),
            proof: None,
        };
        anyhow::Ok(preflight(&other.nodes("os:admin", &[TARGET]).await?, wanted).await)
    };
    let new = of("cp-1", true, TalosVersion::NEWEST);
    assert!(new.contains("kind: DiscoveryIdentityConfig"));
    let same = look(new.clone()).await?;
    assert_eq!(same.blockers, []);
    assert_eq!(same.cluster.name.as_deref(), Some(NAME));
    let id = new.lines().find(|line| line.starts_with("clusterID:"));
    let another = new.replace(id.context("no id")?, "clusterID: YW5vdGhlcg==");
    let refused = look(another).await?;
    let [blocker] = refused.blockers.as_slice() else {
        anyhow::bail!("{:#?}", refused.blockers);
    };
    let words = "the cluster's id was";
    assert!(blocker.cause.contains(words), "{blocker:?}");
    Ok(())
}
