//! Tests that files which are added once are in every restore point from then on.

use anyhow::{Context as _, Result};
use e2e::Folder;
use e2e::ours::Programs;
use e2e::run::Command;
use serde_json::Value;

const CONFIG: &str = "machine: {type: controlplane}\n\
                      cluster: {secretboxEncryptionSecret: canary-of-the-kit}\n";

struct Bed {
    folder: Folder,
    programs: Programs,
    recipient: String,
}

impl Bed {
    async fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let programs = Programs::find()?;
        let keygen = programs.backupd().args(["keygen", "--out", "keys"]);
        let made = keygen.args(["--output", "json"]).in_folder(folder.path());
        let made = made.output().await?.ended_with(0)?.json()?;
        let recipient = made["recipient"]
            .as_str()
            .context("no recipient")?
            .to_owned();
        std::fs::create_dir(folder.join("store"))?;
        std::fs::write(folder.join("controlplane.yaml"), CONFIG)?;
        std::fs::write(folder.join("secrets.yaml"), "bundle")?;
        Ok(Self {
            folder,
            programs,
            recipient,
        })
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.join("store").display())
    }

    fn kit_add(&self, files: &[&str]) -> Command {
        let command = self.programs.backupd().args(["kit", "add"]).args(files);
        let url = self.url();
        let flags = [
            "--store",
            &url,
            "--cluster",
            "test",
            "--recipient",
            &self.recipient,
        ];
        let command = command
            .args(flags)
            .args(["--signing-key", "keys/signing.key"]);
        command
            .args(["--output", "json"])
            .in_folder(self.folder.path())
    }

    fn restore_cli(&self, args: &[&str]) -> Command {
        let command = self.programs.restore_cli().args(args);
        let command = command.args(["--store", &self.url(), "--trust", "keys/signing.pub"]);
        command.in_folder(self.folder.path())
    }

    async fn shown(&self) -> Result<Value> {
        let show = self.restore_cli(&["show", "latest", "--output", "json"]);
        show.output().await?.ended_with(0)?.json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kit_is_stored_encrypted_and_handed_back() -> Result<()> {
    let bed = Bed::new().await?;
    let added = bed.kit_add(&["controlplane.yaml", "secrets.yaml"]);
    added.output().await?.ended_with(0)?;

    let fetch = ["fetch", "latest", "--component", "kit", "--to", "kit.tar"];
    let fetch = bed
        .restore_cli(&fetch)
        .args(["--identity", "keys/identity.key"]);
    fetch.output().await?.ended_with(0)?;
    let tar = Command::new("tar").args(["-xOf", "kit.tar", "kit/controlplane.yaml"]);
    let tar = tar
        .in_folder(bed.folder.path())
        .output()
        .await?
        .ended_with(0)?;
    assert_eq!(tar.stdout, CONFIG);

    let verify = bed.restore_cli(&["verify", "latest"]);
    let verify = verify.args(["--identity", "keys/identity.key"]);
    verify.output().await?.ended_with(0)?;

    // A kit with fewer files must be confirmed by a flag.
    let less = bed.kit_add(&["controlplane.yaml"]);
    let refused = less.output().await?.ended_with(6)?;
    for word in ["secrets.yaml", "--replace"] {
        assert!(refused.stderr.contains(word), "{}", refused.stderr);
    }
    let replaced = bed.kit_add(&["controlplane.yaml", "--replace"]);
    replaced.output().await?.ended_with(0)?;
    let shown = bed.shown().await?.to_string();
    assert!(!shown.contains("canary"), "{shown}");
    let grep = Command::new("grep").args(["-r", "canary", "store"]);
    let found = grep.in_folder(bed.folder.path()).output().await?;
    assert_eq!(found.code, Some(1), "{}", found.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_do_cost_nothing() -> Result<()> {
    let bed = Bed::new().await?;
    for (file, word) in [("missing.yaml", "missing.yaml"), ("store", "is not a file")] {
        let output = bed.kit_add(&["controlplane.yaml", file]).output().await?;
        let output = output.ended_with(2)?;
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    let left = std::fs::read_dir(bed.folder.join("store"))?.count();
    assert_eq!(left, 0);
    Ok(())
}
