//! Prefix in a folder, with keys beside it, and the stock programs run on them.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use backup_core::backup::{NewRestorePoint, Protection, Run};
use backup_core::crypt::{Recipient, SigningKey, new_identity};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::store::local::LocalStore;
use backup_core::testing::world::{World, snapshot};
use e2e::Folder;
use e2e::paths::workspace;
use jiff::SignedDuration;
use secrecy::ExposeSecret;

/// Programs that a recovery needs.
pub(crate) const NEEDED: [&str; 5] = ["age", "jq", "minisign", "perl", "zstd"];

/// Returns the fenced block of FORMAT.md that is marked as the script.
fn script() -> Result<String> {
    let format = workspace().join("FORMAT.md");
    let format = std::fs::read_to_string(format).context("reading FORMAT.md")?;
    let (_, rest) = format
        .split_once("\n```sh recover.sh\n")
        .context("FORMAT.md has no block marked `sh recover.sh`")?;
    let (script, rest) = rest
        .split_once("\n```\n")
        .context("the script of FORMAT.md has no end")?;
    assert!(!rest.contains("sh recover.sh\n"), "two scripts are marked");
    Ok(format!("{script}\n"))
}

/// Prefix under construction.
pub(crate) struct Prefix {
    pub(crate) folder: Folder,
    pub(crate) world: World<LocalStore>,
}

impl Prefix {
    pub(crate) async fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let world = World::on(LocalStore::create(folder.join("copy")).await?);
        std::fs::write(folder.join("recover.sh"), script()?)?;
        folder.make("tmp")?;
        for (name, key) in [("signing", world.key()), ("other", SigningKey::generate()?)] {
            let file = folder.join(format!("{name}.pub"));
            std::fs::write(file, key.public().to_text())?;
        }
        Ok(Self { folder, world })
    }

    /// Makes a key pair, its secret half in the file `NAME.txt`.
    pub(crate) fn identity(&self, name: &str) -> Result<Recipient> {
        let (secret, recipient) = new_identity();
        let file = self.folder.join(format!("{name}.txt"));
        std::fs::write(file, format!("# {name}\n{}\n", secret.expose_secret()))?;
        Ok(recipient)
    }

    /// Stores `plain` as a restore point, an hour after the previous one.
    pub(crate) async fn import(
        &self,
        protection: Protection,
        plain: &[u8],
    ) -> Result<NewRestorePoint> {
        self.world.clock.advance(SignedDuration::from_hours(1));
        let run = Run {
            protection,
            ..self.world.run()
        };
        Ok(self.world.import(&run, plain).await?)
    }

    /// Returns the manifest's path from the folder.
    pub(crate) fn manifest(point: &NewRestorePoint) -> String {
        let key = layout::manifest(point.manifest.began, point.digest);
        format!("copy/{key}")
    }

    /// Runs a shell command in the folder.
    pub(crate) fn shell(&self, command: &str) -> Result<Output> {
        Command::new("/bin/sh")
            .args(["-c", command])
            .current_dir(self.folder.path())
            .env("TMPDIR", self.folder.join("tmp"))
            .env_remove("TRUST")
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("running {command}"))
    }

    /// Runs a command as [`Prefix::shell`] does; it must succeed, and its output is returned.
    pub(crate) fn says(&self, command: &str) -> Result<Vec<u8>> {
        let output = self.shell(command)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            bail!("{command} ended with {}: {text}", output.status);
        }
        Ok(output.stdout)
    }

    /// Runs the script; `arguments` follow its name. Returns the content of the file `out`.
    pub(crate) fn recover(&self, trust: &str, arguments: &str) -> Result<Vec<u8>> {
        let out = self.folder.join("out");
        drop(std::fs::remove_file(&out));
        let result = self.says(&format!("TRUST={trust} sh recover.sh {arguments}"));
        let left: Vec<_> = std::fs::read_dir(self.folder.join("tmp"))?.collect();
        assert!(left.is_empty(), "the script left plain bytes: {left:?}");
        if let Err(error) = result {
            assert!(!out.exists(), "it failed and wrote its result");
            return Err(error);
        }
        Ok(std::fs::read(out)?)
    }
}

/// Returns a real snapshot of etcd 3.6.16, and the same with some values changed and a new trailer.
pub(crate) fn snapshots() -> [Vec<u8>; 2] {
    let first = snapshot();
    let (old, new) = (b"\"name\":\"obj-1", b"\"name\":\"new-1");
    let mut second = first[..first.len() - 32].to_vec();
    for at in 0..second.len() - old.len() {
        if second[at..].starts_with(old) {
            second[at..at + new.len()].copy_from_slice(new);
        }
    }
    let trailer = Digest::of(&second);
    second.extend_from_slice(trailer.as_bytes());
    assert!(first != second);
    [first, second]
}

/// Compares by digest, so that a failure does not print the bytes.
pub(crate) fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(Digest::of(found), Digest::of(expected));
}
