//! Tests of each etcd that clusters run: its snapshots are taken, verified, fetched and imported, and its own
//! tools restore them; and no snapshot goes onto an older etcd.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use cluster_restore::etcd::{EtcdRequest, SnapshotFacts, preflight};
use cluster_restore::plan::Danger;
use e2e::etcd::{Etcd, EtcdClient};
use e2e::etcdutl::{self, RestoreOptions};
use e2e::ours::Programs;
use e2e::run::{Command, tells};
use e2e::talos::TalosVersion;
use e2e::tools::{self, EtcdLine};
use e2e::{Folder, wait};

use super::datastore::backed_up;
use super::site::{EtcdSite, TARGET};

/// Returns a Talos version that has this etcd.
fn talos(line: EtcdLine) -> TalosVersion {
    match line.version {
        "3.5" => TalosVersion(1, 10),
        "3.6" => TalosVersion(1, 13),
        _ => TalosVersion(1, 14),
    }
}

async fn site(line: EtcdLine) -> Result<EtcdSite> {
    let change = |specs: &mut Vec<e2e::talos::NodeSpec>| {
        for spec in specs {
            spec.version = talos(line);
        }
    };
    EtcdSite::of(line, change).await
}

/// Waits until etcd has written the version of its storage, as it does in its first seconds, if it has one.
async fn settled(client: &EtcdClient, line: EtcdLine) -> Result<()> {
    wait::until("the storage version", Duration::from_secs(60), async || {
        let status = client.status().await?;
        let told = status.storage_version;
        ensure!(told == line.storage.unwrap_or_default(), "it is {told:?}");
        Ok(())
    })
    .await
}

/// Returns the facts of `show` on the etcd in the newest restore point.
async fn shown(site: &EtcdSite) -> Result<serde_json::Value> {
    Ok(site.shown().await?["components"][0]["etcd"].clone())
}

async fn verified(site: &EtcdSite) -> Result<()> {
    let verify = site.restore_cli("verify").arg("latest");
    verify.ended_with(0).await.map(drop)
}

/// Goes from a member of this etcd into the store and back onto it.
async fn through(line: EtcdLine) -> Result<()> {
    let site = site(line).await?;
    let client = site.etcd.client().await?;
    settled(&client, line).await?;
    site.taken().await?;
    let own = site.folder.join("own.db");
    client.snapshot(&own).await?;

    let facts = shown(&site).await?;
    assert_eq!(facts["storageVersion"].as_str(), line.storage, "{facts:#}");
    let version = facts["etcdVersion"].as_str().context("no version")?;
    assert!(
        version.starts_with(&format!("{}.", line.version)),
        "{version}"
    );
    verified(&site).await?;
    let file = site.fetched("etcd").await?;
    // Its own tool reports the same for the restored file as for a snapshot that its own client took.
    let ours = etcdutl::status_by(line.etcdutl, &file).await?;
    let own = etcdutl::status_by(line.etcdutl, &own).await?;
    assert_eq!(
        (ours.hash, ours.revision, ours.total_key),
        (own.hash, own.revision, own.total_key)
    );
    assert_eq!(facts["revision"], ours.revision);

    let before = client.get("/registry/leases/7").await?;
    assert_eq!(before.as_deref(), Some(&b"1"[..]));
    client.put("/registry/leases/7", "after").await?;
    site.lose().await?;
    let restored = site.restore_etcd().json().await?;
    assert_eq!(restored["revision"], ours.revision, "{restored:#}");
    let client = site.etcd.client().await?;
    assert_eq!(client.get("/registry/leases/7").await?, before);
    let point = site.point().await?;
    let captured = SnapshotFacts::of(&point).context("no etcd")?;

    // A file of it is imported, with the same facts.
    site.backupd("import").arg(&file).ended_with(0).await?;
    verified(&site).await?;
    let imported = shown(&site).await?;
    assert_eq!(imported["storageVersion"], facts["storageVersion"]);
    assert_eq!(imported["revision"], facts["revision"]);
    let point = site.point().await?;
    let imported = SnapshotFacts::of(&point).context("no etcd")?;
    assert!(captured.content.is_some());
    assert_eq!(imported.content, captured.content);
    assert_eq!(site.talos.violations(), Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_5_goes_through() -> Result<()> {
    through(EtcdLine::V3_5).await
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_6_goes_through() -> Result<()> {
    through(EtcdLine::LAB).await
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_3_7_goes_through() -> Result<()> {
    through(EtcdLine::V3_7).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_newer_etcd_is_refused_by_plan_and_restore() -> Result<()> {
    let newer = site(EtcdLine::V3_7).await?;
    let client = newer.etcd.client().await?;
    settled(&client, EtcdLine::V3_7).await?;
    newer.taken().await?;
    let older = site(EtcdLine::LAB).await?;
    older.lose().await?;
    let point = newer.point().await?;
    let wanted = EtcdRequest {
        target: Some(TARGET.to_owned()),
        snapshot: SnapshotFacts::of(&point).context("no etcd")?,
        // They are two clusters, with one stand-in.
        allow: BTreeSet::from([Danger::OtherLineage]),
        proof: None,
    };
    let plan = preflight(&older.nodes("os:admin", &[TARGET]).await?, wanted).await;
    let [blocker] = plan.blockers.as_slice() else {
        anyhow::bail!("{:#?}", plan.blockers);
    };
    let words = "the snapshot is of etcd 3.7, and Talos v1.13.0 brings etcd 3.6";
    assert!(blocker.cause.contains(words), "{blocker:?}");
    assert!(
        blocker.remedy.contains("Talos 1.14 or newer"),
        "{blocker:?}"
    );

    let config = older.talosconfig("os:admin")?;
    let restore = newer.restore_etcd().arg("--talosconfig").arg(&config);
    let restore = restore.args(["--allow", "other-lineage"]);
    let refused = restore.ended_with(6).await?;
    tells(&refused, &[words]);
    assert_eq!(older.calls("EtcdRecover"), 0);

    // The real etcd of that version does not start on it.
    let file = newer.fetched("etcd").await?;
    let folder = Folder::new()?;
    let mut etcd = Etcd::start(&folder, "older").await?;
    etcd.stop().await?;
    etcd.wipe()?;
    etcdutl::restore(&file, &etcd, RestoreOptions::default()).await?;
    let died = format!("{:#}", etcd.restart().await.unwrap_err());
    assert!(died.contains("3.7.0"), "{died}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_is_restored_by_its_own_etcdutl_and_by_no_older_one() -> Result<()> {
    for (at, line) in EtcdLine::ALL.iter().enumerate() {
        let folder = Folder::new()?;
        let mut etcd = Etcd::start_line(&folder, "datastore", *line).await?;
        let client = etcd.client().await?;
        let revision = client.put("/one_cp/registry/x", "kept").await?;
        settled(&client, *line).await?;
        backed_up(&folder, &etcd).await?;
        client.put("/one_cp/registry/x", "after").await?;
        etcd.stop().await?;
        etcd.wipe()?;
        let programs = Programs::find()?;
        for older in EtcdLine::ALL.iter().take(at) {
            let refused = restore(&programs, &folder, &etcd, *older).await?;
            let refused = refused.ended_with(6).await?;
            for words in [
                format!("the snapshot is of etcd {}", line.version),
                format!("that of etcd {}", older.version),
                format!("etcdutl of etcd {} or newer", line.version),
            ] {
                tells(&refused, &[&words]);
            }
            assert!(!etcd.data_dir().exists(), "something was written");
        }
        let restored = restore(&programs, &folder, &etcd, *line).await?;
        let restored = restored.json().await?;
        assert_eq!(restored["revision"], revision);
        assert_eq!(restored["etcdAtLeast"], line.version);
        etcd.restart().await?;
        let value = etcd.client().await?.get("/one_cp/registry/x").await?;
        assert_eq!(value.as_deref(), Some(&b"kept"[..]), "{}", line.version);
    }
    Ok(())
}

/// Returns `restore datastore` with the etcdutl of this version.
async fn restore(
    programs: &Programs,
    folder: &Folder,
    etcd: &Etcd,
    line: EtcdLine,
) -> Result<Command> {
    let store = format!("file://{}", folder.join("store").display());
    let restore = programs.restore_cli();
    let restore = restore.args(["restore", "datastore", "default", "latest"]);
    let restore = restore.args(["--store", &store, "--trust", "none", "--identity"]);
    let restore = restore.arg(folder.join("identity.key")).arg("--etcdutl");
    let restore = restore.arg(tools::path(line.etcdutl).await?);
    let restore = restore.arg("--data-dir").arg(etcd.data_dir());
    let restore = restore.args(["--name", "datastore", "--peer-url", &etcd.peer_url()]);
    Ok(restore
        .args(["--output", "json"])
        .env("HOME", folder.path()))
}
