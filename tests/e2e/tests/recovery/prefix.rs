//! Prefix in a folder, with keys beside it, and the stock programs run on them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use backup_core::backup::{NewRestorePoint, Protection, Run};
use backup_core::clock::FixedClock;
use backup_core::crypt::{Recipient, SigningKey, new_identity};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::progress::SilentProgress;
use backup_core::store::local::LocalStore;
use bytes::Bytes;
use e2e::Folder;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

/// Programs that a recovery needs.
pub(crate) const NEEDED: [&str; 5] = ["age", "jq", "minisign", "perl", "zstd"];

/// Returns the repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Returns the fenced block of FORMAT.md that is marked as the script.
fn script() -> Result<String> {
    let format = std::fs::read_to_string(root().join("FORMAT.md")).context("reading FORMAT.md")?;
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
    pub(crate) store: Arc<LocalStore>,
    pub(crate) clock: Arc<FixedClock>,
    signing_key: SecretString,
}

impl Prefix {
    pub(crate) async fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let store = LocalStore::create(folder.join("copy")).await?;
        std::fs::write(folder.join("recover.sh"), script()?)?;
        folder.make("tmp")?;
        let key = SigningKey::generate()?;
        std::fs::write(folder.join("signing.pub"), key.public().to_text())?;
        let other = SigningKey::generate()?;
        std::fs::write(folder.join("other.pub"), other.public().to_text())?;
        Ok(Self {
            folder,
            store: Arc::new(store),
            clock: Arc::new(FixedClock::new("2026-11-23T12:00:00Z".parse()?)),
            signing_key: key.to_text()?,
        })
    }

    /// Makes a key pair, its secret half in the file `NAME.txt`.
    pub(crate) fn identity(&self, name: &str) -> Result<Recipient> {
        let (secret, recipient) = new_identity();
        let file = self.folder.join(format!("{name}.txt"));
        std::fs::write(file, format!("# {name}\n{}\n", secret.expose_secret()))?;
        Ok(recipient)
    }

    pub(crate) fn signing_key(&self) -> Result<SigningKey> {
        Ok(SigningKey::parse("signing key", &self.signing_key)?)
    }

    /// Stores `plain` as a restore point, an hour after the previous one.
    pub(crate) async fn import(
        &self,
        protection: Protection,
        plain: &[u8],
    ) -> Result<NewRestorePoint> {
        self.clock.advance(jiff::SignedDuration::from_hours(1));
        let run = Run {
            cluster: "butler-mgmt".parse()?,
            store: Arc::clone(&self.store) as _,
            protection,
            signing_key: Some(self.signing_key()?),
            tool: "test 0".to_owned(),
            reason: None,
            pinned: false,
            clock: Arc::clone(&self.clock) as _,
            progress: Arc::new(SilentProgress),
            cancel: CancellationToken::new(),
        };
        let block = Ok(Bytes::copy_from_slice(plain));
        let stream = Box::pin(futures::stream::iter([block]));
        Ok(run.import_etcd("etcd.snapshot", stream).await?)
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
pub(crate) fn snapshots() -> Result<[Vec<u8>; 2]> {
    let file = root().join("crates/backup-core/tests/fixtures/etcd-3.6.16-objects.db.zst");
    let output = Command::new("zstd").arg("-dc").arg(file).output()?;
    anyhow::ensure!(output.status.success(), "zstd cannot read the fixture");
    let first = output.stdout;
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
    Ok([first, second])
}

/// Compares by digest, so that a failure does not print the bytes.
pub(crate) fn assert_same(found: &[u8], expected: &[u8]) {
    assert_eq!(Digest::of(found), Digest::of(expected));
}
