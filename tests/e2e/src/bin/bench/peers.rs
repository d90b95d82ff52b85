//! Peers of the comparison: our programs, restic, and `zstd -3 | age` as talos-backup does it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::programs;

use crate::measure::{self, Took};
use crate::snapshots::Snapshot;

/// Name under which every snapshot is stored, as a cron job would: one path, new content.
const NAME: &str = "snapshot.db";

/// Peer of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    Ours,
    /// Restic with its default, `--compression auto`.
    Restic,
    /// Restic with `--compression max`.
    ResticMax,
    /// `zstd -3 | age`, one file for each snapshot.
    ZstdAge,
}

impl Peer {
    pub(crate) const ALL: [Self; 4] = [Self::Ours, Self::Restic, Self::ResticMax, Self::ZstdAge];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "backupd",
            Self::Restic => "restic",
            Self::ResticMax => "restic max",
            Self::ZstdAge => "zstd -3 | age",
        }
    }

    /// Returns the programs that the peer needs and that are missing.
    pub(crate) fn missing(self) -> Vec<&'static str> {
        let needs: &[&str] = match self {
            Self::Ours => &[],
            Self::Restic | Self::ResticMax => &["restic"],
            Self::ZstdAge => &["zstd", "age", "age-keygen"],
        };
        let gone = |name: &&str| !programs::have(name);
        needs.iter().copied().filter(gone).collect()
    }
}

/// Peer with an empty store and keys of its own.
pub(crate) struct Repository {
    peer: Peer,
    folder: PathBuf,
    programs: PathBuf,
    recipient: String,
    stored: usize,
}

impl Repository {
    /// Makes keys and an empty store in `folder`. `programs` is the folder of our own programs.
    pub(crate) fn create(peer: Peer, folder: PathBuf, programs: &Path) -> Result<Self> {
        for name in ["store", "keys", "work"] {
            let path = folder.join(name);
            std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        }
        let mut new = Self {
            peer,
            folder,
            programs: programs.to_owned(),
            recipient: String::new(),
            stored: 0,
        };
        match peer {
            Peer::Ours => {
                let mut keygen = new.own("backupd");
                keygen.args(["keygen", "--output", "json", "--out"]);
                keygen.arg(new.keys("pair"));
                let made: serde_json::Value = serde_json::from_slice(&output(keygen)?)?;
                let recipient = made.get("recipient").and_then(|r| r.as_str());
                new.recipient = recipient.context("keygen told no recipient")?.to_owned();
            }
            Peer::Restic | Peer::ResticMax => {
                let mut init = new.restic();
                init.args(["init", "--repository-version", "2"]);
                output(init)?;
            }
            Peer::ZstdAge => {
                let mut keygen = Command::new("age-keygen");
                keygen.arg("-o").arg(new.keys("age.key"));
                output(keygen)?;
                let mut public = Command::new("age-keygen");
                public.arg("-y").arg(new.keys("age.key"));
                new.recipient = String::from_utf8(output(public)?)?.trim().to_owned();
            }
        }
        Ok(new)
    }

    /// Stores a snapshot.
    pub(crate) fn store(&mut self, snapshot: &Snapshot) -> Result<Took> {
        self.stored += 1;
        // The same name in the same folder each time, without a copy.
        let file = self.folder.join("work").join(NAME);
        if file.exists() {
            std::fs::remove_file(&file).context("removing the last link")?;
        }
        std::fs::hard_link(&snapshot.file, &file)
            .or_else(|_| std::fs::copy(&snapshot.file, &file).map(drop))
            .with_context(|| format!("linking {}", snapshot.file.display()))?;
        let commands = match self.peer {
            Peer::Ours => {
                vec![with_file(self.write("import", &["etcd"]), &file)]
            }
            Peer::Restic | Peer::ResticMax => {
                let mut backup = self.restic();
                let max = self.peer == Peer::ResticMax;
                backup.args(["--compression", if max { "max" } else { "auto" }]);
                backup.args(["--quiet", "backup", "--host", "bench"]);
                vec![with_file(backup, &file)]
            }
            Peer::ZstdAge => {
                let mut zstd = Command::new("zstd");
                zstd.args(["-3", "--quiet", "--stdout"]);
                let mut age = Command::new("age");
                age.args(["--encrypt", "--recipient", &self.recipient, "--output"]);
                age.arg(self.piped(self.stored));
                vec![with_file(zstd, &file), age]
            }
        };
        measure::run(commands)
    }

    /// Returns the command that stores a snapshot from the Talos API; only for [`Peer::Ours`].
    pub(crate) fn snapshot(&self, talosconfig: &Path, node: &str) -> Command {
        let mut snapshot = self.write("snapshot", &["etcd"]);
        snapshot.arg("--talosconfig").arg(talosconfig);
        snapshot.args(["--nodes", node]);
        snapshot
    }

    /// Returns the command that stores a cluster's definitions and objects; only for [`Peer::Ours`].
    pub(crate) fn export(&self, kubeconfig: &Path) -> Command {
        let mut export = self.write("snapshot", &["crds", "resources"]);
        export.arg("--kubeconfig").arg(kubeconfig);
        export
    }

    /// Returns the command of a daemon that takes a cluster's definitions and objects on change, and listens
    /// at `listen`; only for [`Peer::Ours`].
    pub(crate) fn daemon(&self, kubeconfig: &Path, more: &str, listen: &str) -> Result<Command> {
        let config = format!(
            "cluster: bench\nstore: {}\nencryption: {{ recipients: [{}] }}\n\
             signing: {{ key: {} }}\nkubernetes: {{ kubeconfig: {} }}\n\
             components: {{ crds: {{ on-change: true }}, resources: {{ on-change: true }} }}\n{more}",
            self.url(),
            self.recipient,
            self.keys("pair/signing.key").display(),
            kubeconfig.display(),
        );
        let file = self.folder.join("daemon.yaml");
        std::fs::write(&file, config).context("writing a configuration")?;
        let mut daemon = self.own("backupd");
        daemon
            .args(["run", "--health-listen", "127.0.0.1:0"])
            .args(["--listen", listen, "--config"])
            .arg(file);
        Ok(daemon)
    }

    /// Returns the command that plans and restores those objects into a fresh cluster; only for
    /// [`Peer::Ours`].
    pub(crate) fn rebuild(&self, kubeconfig: &Path, step: &str) -> Command {
        let mut restore = self.own("restore-cli");
        restore.args([
            "restore", step, "latest", "--mode", "rebuild", "--settle", "0",
        ]);
        restore.args(["--yes", "--target", "bench", "--quiet"]);
        restore.arg("--store").arg(self.url());
        restore
            .arg("--identity")
            .arg(self.keys("pair/identity.key"));
        restore.arg("--trust").arg(self.keys("pair/signing.pub"));
        restore.arg("--journals").arg(self.folder.join("journals"));
        restore.arg("--kubeconfig").arg(kubeconfig);
        restore
    }

    fn write(&self, verb: &str, components: &[&str]) -> Command {
        let mut command = self.own("backupd");
        command.args([verb, "--cluster", "bench"]);
        for component in components {
            command.args(["--component", component]);
        }
        command.arg("--store").arg(self.url());
        command.args(["--recipient", &self.recipient]);
        command
            .arg("--signing-key")
            .arg(self.keys("pair/signing.key"));
        command
    }

    /// Restores the snapshot that was stored last, and checks it against `want`.
    pub(crate) fn restore(&self, want: &Snapshot) -> Result<Took> {
        let to = self.folder.join("restored");
        if to.exists() {
            std::fs::remove_dir_all(&to).context("removing what was restored before")?;
        }
        std::fs::create_dir(&to).context("making a folder to restore to")?;
        let file = to.join(NAME);
        let (commands, file) = match self.peer {
            Peer::Ours => {
                let mut fetch = self.own("restore-cli");
                fetch.args(["fetch", "latest", "--component", "etcd"]);
                fetch.arg("--store").arg(self.url());
                fetch.arg("--identity").arg(self.keys("pair/identity.key"));
                fetch.arg("--trust").arg(self.keys("pair/signing.pub"));
                fetch.arg("--to").arg(&file);
                (vec![fetch], file)
            }
            Peer::Restic | Peer::ResticMax => {
                let mut restore = self.restic();
                restore.args(["--quiet", "restore", "latest", "--target"]);
                restore.arg(&to);
                // Restic restores below the whole path that was stored.
                let whole = self.folder.join("work").join(NAME);
                let inner = whole.strip_prefix("/").unwrap_or(&whole);
                (vec![restore], to.join(inner))
            }
            Peer::ZstdAge => {
                let mut age = Command::new("age");
                age.arg("--decrypt").arg("--identity");
                age.arg(self.keys("age.key"));
                age.arg(self.piped(self.stored));
                let mut zstd = Command::new("zstd");
                zstd.args(["--decompress", "--quiet", "--stdout"]);
                (vec![age, measure::to_file(zstd, &file)?], file)
            }
        };
        let mut took = measure::run(commands)?;
        took.on_disk = took.wall + synced(&file)?;
        ensure!(
            same(&file, &want.file)?,
            "{} gave back other bytes",
            self.peer.name()
        );
        Ok(took)
    }

    /// Returns the bytes of the store: every file below its folder.
    pub(crate) fn size(&self) -> Result<u64> {
        size(&self.folder.join("store"))
    }

    fn own(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.arg("--quiet");
        command
    }

    fn restic(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", "of the benchmark")
            .arg("--repo")
            .arg(self.folder.join("store"))
            .arg("--cache-dir")
            .arg(self.folder.join("cache"));
        command
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder.join("store").display())
    }

    fn keys(&self, name: &str) -> PathBuf {
        self.folder.join("keys").join(name)
    }

    fn piped(&self, number: usize) -> PathBuf {
        self.folder.join("store").join(format!("{number}.zst.age"))
    }
}

fn with_file(mut command: Command, file: &Path) -> Command {
    command.arg(file);
    command
}

/// Runs a command that is not measured, and returns its output.
pub(crate) fn output(mut command: Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("running {name}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{name} ended with {}: {}",
        output.status,
        words.trim()
    );
    Ok(output.stdout)
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?
    {
        let entry = entry.context("listing")?;
        let metadata = entry.metadata().context("looking at a stored file")?;
        bytes += if metadata.is_dir() {
            size(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}

/// Syncs a file to the disk, and returns the time that it took. Our restore has synced already; this syncs
/// again.
fn synced(file: &Path) -> Result<Duration> {
    let began = Instant::now();
    let open = std::fs::File::open(file);
    let open = open.with_context(|| format!("opening {}", file.display()))?;
    open.sync_all().context("syncing what was restored")?;
    Ok(began.elapsed())
}

/// Reports whether two files have the same bytes.
fn same(one: &Path, other: &Path) -> Result<bool> {
    use std::io::BufRead as _;
    let open = |path: &Path| -> Result<std::io::BufReader<std::fs::File>> {
        let file =
            std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(std::io::BufReader::with_capacity(1 << 20, file))
    };
    let (mut one, mut other) = (open(one)?, open(other)?);
    loop {
        let (a, b) = (one.fill_buf()?, other.fill_buf()?);
        let n = a.len().min(b.len());
        if n == 0 {
            return Ok(a.is_empty() && b.is_empty());
        }
        if a.get(..n) != b.get(..n) {
            return Ok(false);
        }
        one.consume(n);
        other.consume(n);
    }
}
