//! Tests of nodes that are not ready: they boot, their clock is not in sync, they go away in between.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use backup_core::progress::SilentProgress;
use cluster_restore::etcd::{EtcdPhase, EtcdRestoreError, Pace, run};

use super::log::Kept;
use super::site::{EtcdSite, TARGET, pace};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_reboots_between_upload_and_bootstrap_is_waited_for() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let node = Arc::clone(site.node()?);
    let log = Kept::and(move |phase| {
        if *phase == EtcdPhase::Uploaded {
            node.fault(|faults| faults.unreachable = true);
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                node.fault(|faults| {
                    faults.unreachable = false;
                    faults.booting = true;
                });
                tokio::time::sleep(Duration::from_secs(2)).await;
                node.heal();
            });
        }
        Ok(())
    });
    let restored = site.restore(&log).await??;
    assert!(!restored.already);
    assert_eq!(log.uploads(), 1);
    let waits = log.phases();
    let said = |words: &str| {
        let mut waits = waits.iter();
        waits.any(|phase| matches!(phase, EtcdPhase::Waiting { why } if why.contains(words)))
    };
    assert!(said("bootstrap is not available yet"), "{waits:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_lost_is_made_again() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let file = site.node()?.var_lib().unwrap().join("etcd.snapshot");
    let lost = std::sync::atomic::AtomicBool::new(false);
    let log = Kept::and(move |phase| {
        let first = !lost.swap(
            *phase == EtcdPhase::Uploaded,
            std::sync::atomic::Ordering::SeqCst,
        );
        if *phase == EtcdPhase::Uploaded && first {
            std::fs::remove_file(&file)?;
        }
        if *phase != EtcdPhase::Uploaded {
            // Once is enough.
            lost.store(!first, std::sync::atomic::Ordering::SeqCst);
        }
        Ok(())
    });
    let restored = site.restore(&log).await??;
    assert!(!restored.already);
    assert_eq!(log.uploads(), 2);
    let failed =
        log.count(|phase| matches!(phase, EtcdPhase::Service { state, .. } if state == "Failed"));
    assert_eq!(failed, 1, "{:?}", log.phases());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_out_of_sync_is_waited_for_and_not_forever() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    site.node()?.fault(|faults| faults.time_unsynced = true);
    let nodes = site.nodes("os:admin", &[TARGET]).await?;
    let plan = site.plan(&nodes).await?;
    assert_eq!(plan.blockers, []);
    assert!(
        plan.warnings.iter().any(|f| f.cause.contains("clock")),
        "{:?}",
        plan.warnings
    );
    let held = site.held().await?;
    let short = Pace {
        ready_within: Duration::from_secs(2),
        ..pace()
    };
    let log = Kept::default();
    let ended = run(
        &nodes,
        &plan,
        Arc::clone(&held),
        &log,
        Arc::new(SilentProgress),
        short,
    )
    .await;
    let error = ended.unwrap_err();
    assert!(
        matches!(error, EtcdRestoreError::NotReady { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("time is not in sync"), "{error}");

    let node = Arc::clone(site.node()?);
    let log = Kept::and(move |phase| {
        if matches!(phase, EtcdPhase::Waiting { why } if why.contains("in sync")) {
            node.heal();
        }
        Ok(())
    });
    let restored = run(&nodes, &plan, held, &log, Arc::new(SilentProgress), pace()).await?;
    assert!(!restored.already);
    // The previous run had uploaded, so this one checked whether a restore is at work.
    let looked = log.count(
        |phase| matches!(phase, EtcdPhase::Waiting { why } if why.contains("has a snapshot already")),
    );
    assert_eq!(looked, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_cannot_be_written_stops_it_before_the_next_step() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let log = Kept::and(|phase| {
        if *phase == EtcdPhase::Bootstrapping {
            return Err("the disk is full".into());
        }
        Ok(())
    });
    let error = site.restore(&log).await?.unwrap_err();
    assert!(matches!(error, EtcdRestoreError::Log(_)), "{error}");
    assert_eq!(site.calls("Bootstrap"), 0);
    site.restore(&Kept::default()).await??;
    Ok(())
}
