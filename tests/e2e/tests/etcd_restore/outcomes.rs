//! Tests of other ends of a restore: data that was there before, errors of the node, and snapshots that never
//! get there.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use backup_core::progress::SilentProgress;
use backup_core::read::LocalSnapshot;
use cluster_client::talos::nodes::TalosNodes;
use cluster_restore::etcd::{EtcdPhase, EtcdPlan, EtcdRestoreError, Proof, RestoredEtcd, run};
use e2e::run::tells;
use e2e::talos::{Etcd as Backend, ServiceState};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::log::Kept;
use super::site::{EtcdSite, OTHER, TARGET, pace};

/// Runs a plan, without a progress display.
async fn unheard(
    nodes: &TalosNodes,
    plan: &EtcdPlan,
    held: Arc<LocalSnapshot>,
) -> Result<RestoredEtcd, EtcdRestoreError> {
    let (log, silent) = (Kept::default(), Arc::new(SilentProgress));
    run(nodes, plan, held, &log, silent, pace()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_attempt_restored_is_found_and_left_alone() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let nodes = site.nodes("os:admin", &[TARGET, OTHER]).await?;
    let plan = site.plan(&nodes).await?;
    let held = site.held().await?;
    let (log, silent) = (Kept::default(), Arc::new(SilentProgress));
    let first = run(&nodes, &plan, Arc::clone(&held), &log, silent, pace()).await?;
    let done = || (site.calls("EtcdRecover"), site.calls("Bootstrap"));
    let before = done();

    // It holds the content of the snapshot, which is proof enough.
    let again = unheard(&nodes, &plan, Arc::clone(&held)).await?;
    assert!(again.already);
    assert_eq!(again.revision, first.revision);
    // The program makes a plan of its own, sees that etcd runs, and finds the same.
    let again = site.restore_etcd().json().await?;
    assert_eq!(again["already"], true);

    // The API server has written since: only the restore's own journal can prove that it is the restored
    // etcd.
    let client = site.etcd.client().await?;
    client.put("/registry/written/since", "1").await?;
    let error = unheard(&nodes, &plan, Arc::clone(&held)).await.unwrap_err();
    assert!(error.to_string().contains("nothing proves"), "{error}");
    let refused = site.restore_etcd().ended_with(6).await?;
    tells(&refused, &["nothing proves"]);
    let mut known = plan.clone();
    known.proof = Some(Proof::Accepted);
    let again = unheard(&nodes, &known, held).await?;
    assert!(again.already);
    assert_eq!(again.revision, first.revision + 1);
    assert_eq!(done(), before);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_knows_by_its_journal_what_the_first_did() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    site.restore_etcd().ended_with(0).await?;
    let client = site.etcd.client().await?;
    client.put("/registry/written/since", "1").await?;
    let uploads = site.calls("EtcdRecover");
    let again = site.restore_etcd().ended_with(0).await?;
    // Nothing is wrong, so no error is reported.
    assert!(!again.stderr.contains("etcd runs"), "{}", again.stderr);
    assert!(
        !again.stderr.to_lowercase().contains("error"),
        "{}",
        again.stderr
    );
    assert_eq!(again.json()?["already"], true);
    assert_eq!(site.calls("EtcdRecover"), uploads);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_was_restored_before_and_lost_its_keys_since_is_not_called_restored()
-> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    site.restore_etcd().ended_with(0).await?;
    // Far fewer raft entries than revisions, as after every restore.
    let client = site.etcd.client().await?;
    for number in 0..50 {
        client
            .put(&format!("/registry/since/{number}"), "1")
            .await?;
    }
    site.taken().await?;
    client.remove("/registry/leases/").await?;
    let uploads = site.calls("EtcdRecover");
    let refused = site.restore_etcd().ended_with(6).await?;
    tells(&refused, &["etcd runs"]);
    let plan = site.restore_cli("plan").arg("latest");
    let plan = plan.args(["--mode", "in-place", "--only", "etcd", "--nodes", TARGET]);
    let planned = plan.ended_with(6).await?;
    // The same check for both.
    let same = "its data is not what this restore makes";
    for output in [&refused.stderr, &planned.stdout] {
        let words: Vec<_> = output.split_whitespace().collect();
        assert!(words.join(" ").contains(same), "{output}");
    }
    assert_eq!(site.calls("EtcdRecover"), uploads);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn already_exists_is_looked_into() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    // Between the check and the bootstrap somebody else bootstraps a new and empty cluster.
    let node = Arc::clone(site.node()?);
    let process = site.etcd.handle();
    let log = Kept::and(move |phase| {
        if *phase == EtcdPhase::Bootstrapping {
            let (node, process) = (Arc::clone(&node), process.clone());
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    let mut etcd = process.get()?;
                    etcd.restart().await?;
                    let real: Arc<dyn Backend> =
                        Arc::new(e2e::talos::real_etcd::RealEtcd::of(&etcd)?);
                    let up = ServiceState::Running;
                    node.etcd_turns(up, "Health check successful", Some(real));
                    anyhow::Ok(())
                })
            })?;
        }
        Ok(())
    });
    let error = site.restore(&log).await?.unwrap_err();
    assert!(
        matches!(error, EtcdRestoreError::OtherData { .. }),
        "{error}"
    );
    let told = error.to_string();
    assert!(told.contains("Nothing was changed"), "{told}");
    assert!(told.contains("talosctl reset"), "{told}");
    // Nothing was wiped: the other cluster still runs.
    assert!(site.etcd.is_running());

    // After an attempt that failed with data left behind.
    site.lose().await?;
    let data = site.node()?.var_lib().unwrap().join("etcd/member");
    let node = Arc::clone(site.node()?);
    let made = data.clone();
    let log = Kept::and(move |phase| {
        if *phase == EtcdPhase::Bootstrapping {
            std::fs::create_dir_all(&made)?;
            let text =
                "Failed to run pre stage: error recovering snapshot: no space left on device";
            node.etcd_turns(ServiceState::Failed, text, None);
        }
        Ok(())
    });
    let error = site.restore(&log).await?.unwrap_err();
    assert!(matches!(error, EtcdRestoreError::Dirty { .. }), "{error}");
    let told = error.to_string();
    for words in [
        "no space left",
        "talosctl reset",
        "EPHEMERAL",
        "ETCD",
        "destroys",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    assert!(data.exists(), "it was wiped");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_sound_is_never_uploaded() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    // One byte of one pack is changed.
    let packs = std::fs::read_dir(site.folder.join("store/packs"))?;
    let mut files = Vec::new();
    for entry in packs {
        let path = entry?.path();
        if path.is_dir() {
            for entry in std::fs::read_dir(path)? {
                files.push(entry?.path());
            }
        } else {
            files.push(path);
        }
    }
    let pack = files.first().context("no pack")?;
    let sound = std::fs::read(pack)?;
    let mut flipped = sound.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    std::fs::remove_file(pack)?;
    std::fs::write(pack, &flipped)?;
    let refused = site.restore_etcd().ended_with(4).await?;
    tells(&refused, &["changed or damaged"]);
    assert_eq!(site.calls("EtcdRecover"), 0);
    std::fs::remove_file(pack)?;
    std::fs::write(pack, &sound)?;

    // A file that a person names is checked in the same way.
    let file = site.fetched("etcd").await?;
    let whole = std::fs::read(&file)?;
    let of_file = |flag: &str| {
        let restore = site.restore_cli("restore").args(["etcd", flag]).arg(&file);
        let restore = restore.args(["--yes", "--target", "lab", "--output", "json"]);
        restore.args(["--nodes", TARGET])
    };
    // A file does not name its Talos cluster.
    let unknown = of_file("--snapshot").ended_with(6).await?;
    let told = "`--allow unknown-cluster` continues anyway";
    tells(&unknown, &[told]);
    let mut bad = whole.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&file, &bad)?;
    let refused = of_file("--snapshot").ended_with(4).await?;
    tells(&refused, &["damaged"]);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&whole)?;
    std::fs::write(&file, packed.finish()?)?;
    for as_what in ["--snapshot", "--raw-db"] {
        let refused = of_file(as_what).ended_with(2).await?;
        tells(
            &refused,
            &["is a gzip file, not a snapshot of etcd", "gzip -dc "],
        );
    }
    std::fs::write(&file, &whole[..whole.len() - 32])?;
    let refused = of_file("--snapshot").ended_with(4).await?;
    tells(&refused, &["no SHA-256 trailer", "--raw-db"]);
    assert_eq!(site.calls("EtcdRecover"), 0);
    // With the flag for it, the same bytes are accepted as the raw copy that they are.
    let raw = of_file("--raw-db").args(["--allow", "unknown-cluster"]);
    let raw = raw.ended_with(0).await?;
    tells(&raw, &["cannot be verified"]);
    assert_eq!(raw.json()?["already"], false);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_changes_after_it_was_checked_leaves_nothing_at_the_node() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let file = site.fetched("etcd").await?;
    let held = Arc::new(LocalSnapshot::file(&file).await?);
    let nodes = site.nodes("os:admin", &[TARGET]).await?;
    let wanted = cluster_restore::etcd::EtcdRequest {
        target: Some(TARGET.to_owned()),
        snapshot: held.facts().into(),
        allow: [cluster_restore::plan::Danger::UnknownCluster].into(),
        proof: None,
    };
    let plan = cluster_restore::etcd::preflight(&nodes, wanted).await;
    let mut bytes = std::fs::read(&file)?;
    bytes[9000] ^= 1;
    std::fs::write(&file, bytes)?;
    let ended = unheard(&nodes, &plan, held).await;
    let error = ended.unwrap_err();
    assert!(matches!(error, EtcdRestoreError::Upload { .. }), "{error}");
    assert_eq!(site.calls("Bootstrap"), 0);
    let left = site.node()?.var_lib().unwrap().join("etcd.snapshot");
    e2e::wait::until("the upload to be removed", super::site::LIMIT, async || {
        anyhow::ensure!(!left.exists(), "it is there");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_is_told_in_its_own_words() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let node = Arc::clone(site.node()?);
    // The node accepts the bootstrap, and then its disk is gone.
    let log = Kept::and(move |phase| {
        if *phase == EtcdPhase::Accepted {
            node.etcd_turns(
                ServiceState::Failed,
                "Failed to create runner: disk is gone",
                None,
            );
        }
        Ok(())
    });
    let error = site.restore(&log).await?.unwrap_err();
    assert!(error.to_string().contains("disk is gone"), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_something_else_is_refused() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let nodes = site.nodes("os:admin", &[TARGET]).await?;
    let plan = site.plan(&nodes).await?;
    let held = site.held().await?;
    let mut other = plan.clone();
    other.cluster.id_sha256 = Some(backup_core::digest::Digest::of(b"another"));
    let mut stale = plan.clone();
    stale.snapshot.sha256 = backup_core::digest::Digest::of(b"another");
    for plan in [other, stale] {
        let held = Arc::clone(&held);
        let ended = unheard(&nodes, &plan, held).await;
        let error = ended.unwrap_err();
        assert!(
            matches!(error, EtcdRestoreError::OtherTarget { .. }),
            "{error}"
        );
    }
    // Another etcd that came up since the plan is found before anything is uploaded.
    let nodes = site.nodes("os:admin", &[TARGET, OTHER]).await?;
    let plan = site.plan(&nodes).await?;
    site.runs_at(site.talos.node(OTHER)?)?;
    let ended = unheard(&nodes, &plan, held).await;
    let error = ended.unwrap_err();
    assert!(
        matches!(error, EtcdRestoreError::OtherRuns { .. }),
        "{error}"
    );
    assert_eq!(site.calls("EtcdRecover"), 0);
    Ok(())
}
