//! Tests of files and folders that exist before ours, with the same name or beside it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use anyhow::Result;

use super::bed::{Bed, tells};

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_touches_nothing_that_is_there() -> Result<()> {
    let bed = Bed::new().await?;
    bed.snapshot().await?;
    let at = |name: &str| bed.folder.join(name);
    let mode = |name: &str| at(name).metadata().map(|m| m.permissions().mode() & 0o777);
    // Files that a careless program would open, through a link and directly.
    fs::write(at("theirs"), "as it was")?;
    symlink(at("theirs"), at("etcd.db.part"))?;
    fs::write(at("open.part"), "as it was")?;
    fs::set_permissions(at("open.part"), Permissions::from_mode(0o666))?;
    // Folders that a careless program would remove.
    for folder in ["etcd.db.parts", "open.parts"] {
        fs::create_dir(at(folder))?;
        fs::write(at(folder).join("chapter-1"), "a year's work")?;
    }
    for target in ["etcd.db", "open"] {
        let fetch = bed.restore_cli("fetch").args(["latest", "--to", target]);
        let output = fetch.args(["--component", "etcd"]).output().await?;
        let output = output.ended_with(0)?;
        tells(
            &output,
            &[&format!("{target}.parts exists"), "is not changed"],
        );
        assert_eq!(mode(target)?, 0o600);
        let left = fs::read_dir(at(&format!("{target}.parts")))?.count();
        assert_eq!(left, 1);
    }
    assert_eq!(bed.half_files()?, ["etcd.db.part", "open.part"]);
    assert!(at("etcd.db.part").is_symlink());
    for there in ["theirs", "open.part"] {
        assert_eq!(fs::read_to_string(at(there))?, "as it was");
    }

    // An existing name stays. A name that may be replaced is replaced, without following its link.
    fs::remove_file(at("etcd.db"))?;
    symlink(at("theirs"), at("etcd.db"))?;
    let refused = bed.restore_cli("fetch").args(["latest", "--to", "etcd.db"]);
    let refused = refused.args(["--component", "etcd"]);
    refused.output().await?.ended_with(6)?;
    let fetch = bed.fetch("latest").arg("--force");
    fetch.output().await?.ended_with(0)?;
    assert!(!at("etcd.db").is_symlink());
    assert_eq!(fs::read_to_string(at("theirs"))?, "as it was");
    Ok(())
}
