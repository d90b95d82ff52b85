//! Tests with a disk that is full.
//!
//! A file system of a few kilobytes cannot be mounted without being root, so files are limited in their size
//! instead (`ulimit -f`): the system refuses the same writes, with EFBIG in place of ENOSPC.

use anyhow::{Context as _, Result};
use e2e::run::tells;

use super::site::ChainSite;

/// Returns a script in which no file may grow beyond this many blocks of 512 bytes; a larger write fails.
fn limit(blocks: u32) -> String {
    format!("trap '' XFSZ\nulimit -f {blocks}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_fetch_is_told_and_leaves_no_half_file() -> Result<()> {
    // Its packs have half a megabyte, and its snapshot two.
    let site = ChainSite::own().await?;
    site.snapshot().await?;
    for (blocks, what) in [(0, "etcd.db.parts/"), (1_500, "etcd.db")] {
        let fetch = site.fetch("latest").after_sh(&limit(blocks));
        let output = fetch.ended_with(1).await?;
        tells(
            &output,
            &["cannot write", what, "File too large", "hint: ", "room for"],
        );
        assert!(!site.folder.join("etcd.db").exists());
        assert_eq!(site.half_files()?, Vec::<String>::new());
    }
    // With room for one byte less than the file has, its last block is refused.
    let show = site
        .restore_cli("show")
        .args(["latest", "--output", "json"]);
    let shown = show.json().await?;
    let bytes = shown["components"][0]["plainBytes"].as_u64();
    let bytes = bytes.context("no size")?;
    let blocks = u32::try_from(bytes.saturating_sub(1) / 512)?;
    let fetch = site.fetch("latest").after_sh(&limit(blocks));
    let output = fetch.ended_with(1).await?;
    tells(
        &output,
        &[
            "cannot write etcd.db\n",
            "File too large",
            "hint: ",
            "room for",
        ],
    );
    assert!(!site.folder.join("etcd.db").exists());
    assert_eq!(site.half_files()?, Vec::<String>::new());
    assert!(std::fs::read_dir(site.folder.join("etcd.db.parts"))?.count() > 2);
    // With room again the same command succeeds.
    site.fetch("latest").ended_with(0).await?;

    // Verifying stores only data that is needed again much later: nothing, for a first snapshot.
    let verify = site.restore_cli("verify").arg("latest");
    verify.after_sh(&limit(0)).ended_with(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_on_keygen_leaves_no_half_pair() -> Result<()> {
    let site = ChainSite::new().await?;
    let keygen = site.backupd("keygen").args(["--out", "full"]);
    let output = keygen.clone().after_sh(&limit(0)).ended_with(1).await?;
    tells(&output, &["identity.key"]);
    assert!(
        std::fs::read_dir(site.folder.join("full"))?
            .next()
            .is_none()
    );
    keygen.ended_with(0).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_written_is_told() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let fetch = site
        .restore_cli("fetch")
        .args(["latest", "--component", "etcd"]);
    let fetch = fetch.args(["--to", "no/such/folder/etcd.db"]);
    let output = fetch.ended_with(1).await?;
    tells(&output, &["no/such/folder", "No such file"]);
    assert!(!site.folder.join("no").exists());
    Ok(())
}
