//! Tests that files which are added once are in every restore point from then on.

use anyhow::Result;
use e2e::run::{Command, tells};
use e2e::site::Site;

const CONFIG: &str = "machine: {type: controlplane}\n\
                      cluster: {secretboxEncryptionSecret: canary-of-the-kit}\n";

/// Makes a site with an empty store and two files.
async fn site() -> Result<Site> {
    let site = Site::new().await?;
    site.store()?;
    std::fs::write(site.folder.join("controlplane.yaml"), CONFIG)?;
    std::fs::write(site.folder.join("secrets.yaml"), "bundle")?;
    Ok(site)
}

/// Returns `backupd kit add` with flags alone.
fn kit_add(site: &Site, files: &[&str]) -> Result<Command> {
    let (_, store) = site.store()?;
    let command = site.programs.backupd().args(["kit", "add"]).args(files);
    let command = command.args(["--store", &store, "--cluster", "test"]);
    let command = command.args(["--recipient", &site.recipient, "--output", "json"]);
    let command = command.args(["--signing-key", "keys/signing.key"]);
    Ok(command.in_folder(site.folder.path()))
}

/// Returns `restore-cli` with flags alone.
fn restore_cli(site: &Site, args: &[&str]) -> Result<Command> {
    let (_, store) = site.store()?;
    let command = site.programs.restore_cli().args(args);
    let command = command.args(["--store", &store, "--trust", "keys/signing.pub"]);
    Ok(command.in_folder(site.folder.path()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_is_stored_encrypted_and_handed_back() -> Result<()> {
    let site = site().await?;
    let added = kit_add(&site, &["controlplane.yaml", "secrets.yaml"])?;
    added.ended_with(0).await?;

    let fetch = ["fetch", "latest", "--component", "kit", "--to", "kit.tar"];
    let fetch = restore_cli(&site, &fetch)?.args(["--identity", "keys/identity.key"]);
    fetch.ended_with(0).await?;
    let tar = Command::new("tar").args(["-xOf", "kit.tar", "kit/controlplane.yaml"]);
    let tar = tar.in_folder(site.folder.path()).ended_with(0).await?;
    assert_eq!(tar.stdout, CONFIG);

    let verify = restore_cli(&site, &["verify", "latest"])?;
    let verify = verify.args(["--identity", "keys/identity.key"]);
    verify.ended_with(0).await?;

    // A kit with fewer files must be confirmed by a flag.
    let less = kit_add(&site, &["controlplane.yaml"])?;
    let refused = less.ended_with(6).await?;
    tells(&refused, &["secrets.yaml", "--replace"]);
    let replaced = kit_add(&site, &["controlplane.yaml", "--replace"])?;
    replaced.ended_with(0).await?;
    let show = restore_cli(&site, &["show", "latest", "--output", "json"])?;
    let shown = show.json().await?.to_string();
    assert!(!shown.contains("canary"), "{shown}");
    let grep = Command::new("grep").args(["-r", "canary", "store"]);
    let found = grep.in_folder(site.folder.path()).output().await?;
    assert_eq!(found.code, Some(1), "{}", found.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_do_cost_nothing() -> Result<()> {
    let site = site().await?;
    for (file, word) in [("missing.yaml", "missing.yaml"), ("store", "is not a file")] {
        let output = kit_add(&site, &["controlplane.yaml", file])?
            .ended_with(2)
            .await?;
        tells(&output, &[word]);
    }
    let left = std::fs::read_dir(site.folder.join("store"))?.count();
    assert_eq!(left, 0);
    Ok(())
}
