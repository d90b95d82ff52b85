//! Tests of files and folders that exist before ours, with the same name or beside it.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::Result;
use e2e::folder::{mode, set_mode};
use e2e::run::tells;

use super::site::ChainSite;

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_touches_nothing_that_is_there() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let at = |name: &str| site.folder.join(name);
    // Files that a careless program would open, through a link and directly.
    fs::write(at("theirs"), "as it was")?;
    symlink(at("theirs"), at("etcd.db.part"))?;
    fs::write(at("open.part"), "as it was")?;
    set_mode(&at("open.part"), 0o666)?;
    // Folders that a careless program would remove.
    for folder in ["etcd.db.parts", "open.parts"] {
        fs::create_dir(at(folder))?;
        fs::write(at(folder).join("chapter-1"), "a year's work")?;
    }
    for target in ["etcd.db", "open"] {
        let fetch = site.restore_cli("fetch").args(["latest", "--to", target]);
        let output = fetch.args(["--component", "etcd"]).ended_with(0).await?;
        tells(
            &output,
            &[&format!("{target}.parts exists"), "is not changed"],
        );
        assert_eq!(mode(&at(target))?, 0o600);
        let left = fs::read_dir(at(&format!("{target}.parts")))?.count();
        assert_eq!(left, 1);
    }
    assert_eq!(site.half_files()?, ["etcd.db.part", "open.part"]);
    assert!(at("etcd.db.part").is_symlink());
    for there in ["theirs", "open.part"] {
        assert_eq!(fs::read_to_string(at(there))?, "as it was");
    }

    // An existing name stays. A name that may be replaced is replaced, without following its link.
    fs::remove_file(at("etcd.db"))?;
    symlink(at("theirs"), at("etcd.db"))?;
    let refused = site
        .restore_cli("fetch")
        .args(["latest", "--to", "etcd.db"]);
    let refused = refused.args(["--component", "etcd"]);
    refused.ended_with(6).await?;
    let fetch = site.fetch("latest").arg("--force");
    fetch.ended_with(0).await?;
    assert!(!at("etcd.db").is_symlink());
    assert_eq!(fs::read_to_string(at("theirs"))?, "as it was");
    Ok(())
}
