//! Benchmark of the stream over the Talos API, from the stand-in in another process into nothing and into a
//! run.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use backup_core::clock::SystemClock;
use backup_core::source::SnapshotSource as _;
use cluster_client::talos::{ConfigSearch, TalosOptions, TalosSource};
use e2e::Folder;
use e2e::talos::{ClientSpec, FixedEtcd, NodeSpec, Standin};
use futures::StreamExt as _;

use crate::measure::{self, Took};
use crate::peers::{Peer, Repository};
use crate::report::{median, mib, speed, table};
use crate::snapshots::Snapshot;

const NODE: &str = "10.5.0.2";
const CONFIG: &str = "talosconfig";

/// Serves `file` as one control plane node until the input ends. Writes the talosconfig to `folder`, and then
/// a line to the output.
pub(crate) async fn serve(file: &Path, folder: &Path) -> Result<()> {
    let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let etcd = FixedEtcd::cluster(1, &bytes.into()).pop();
    let etcd = etcd.context("a cluster without members")?;
    let standin = Standin::start(vec![NodeSpec::control_plane(NODE, "cp-1", etcd)]).await?;
    let config = standin.talosconfig(&ClientSpec::of(&["os:etcd:backup"]))?;
    let path = folder.join(CONFIG);
    std::fs::write(&path, config).with_context(|| format!("writing {}", path.display()))?;
    crate::print("serving")?;
    tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]))
        .await?
        .context("waiting for the end of the input")?;
    Ok(())
}

/// Reads one snapshot and throws it away.
pub(crate) async fn drain(talosconfig: &Path) -> Result<()> {
    let search = ConfigSearch::at(talosconfig.to_owned());
    let source = TalosSource::new(TalosOptions::new(search), Arc::new(SystemClock));
    let candidates = source.members().await?.candidates;
    let candidate = candidates.first().context("no member")?;
    let mut stream = source.open(candidate).await?;
    let mut bytes = 0;
    while let Some(block) = stream.next().await {
        bytes += block?.len();
    }
    crate::print(&bytes.to_string())
}

/// Measures both ways; reports medians of `rounds`.
pub(crate) fn measure(
    snapshot: &Snapshot,
    rounds: usize,
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<String> {
    let served = Served::start(snapshot, programs, scratch)?;
    let config = scratch.join(CONFIG);
    let (mut null, mut run) = (Vec::new(), Vec::new());
    for number in 0..rounds.max(1) {
        say(&format!("round {}: over the Talos API", number + 1));
        let mut drain = Command::new(programs.join("bench"));
        drain.arg("drain").arg(&config);
        null.push(served.beside(drain)?);
        let folder = scratch.make(format!("talos-{number}"))?;
        let repository = Repository::create(Peer::Ours, folder, programs)?;
        run.push(served.beside(repository.snapshot(&config, NODE))?);
    }
    let row = |words: &str, took: &[(Took, f64)]| {
        let of = |figure: &dyn Fn(&(Took, f64)) -> f64| {
            median(took.iter().map(figure).collect()).unwrap_or_default()
        };
        vec![
            words.to_owned(),
            format!("{:.0}", of(&|(t, _)| speed(snapshot.bytes, t.wall))),
            format!("{:.2}", of(&|(t, _)| t.cpu.as_secs_f64())),
            format!("{:.2}", of(&|(_, server)| *server)),
            median(took.iter().map(|(t, _)| t.peak).collect()).map_or_else(String::new, mib),
        ]
    };
    let rows = vec![
        row("into nothing", &null),
        row("into a first restore point", &run),
    ];
    let header = [
        "",
        "MB/s",
        "client processor s",
        "server processor s",
        "client peak MiB",
    ];
    let title = format!(
        "Over the Talos API, from the stand-in in another process on the same cores ({} MB in frames of 1 KiB)",
        snapshot.bytes / 1_000_000
    );
    Ok(table(&title, header, rows))
}

/// Process of the stand-in; it ends with this.
struct Served(Child);

impl Served {
    fn start(snapshot: &Snapshot, programs: &Path, scratch: &Folder) -> Result<Self> {
        let mut command = Command::new(programs.join("bench"));
        command.arg("stand-in").arg(&snapshot.file);
        command.arg(scratch.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting the stand-in")?;
        let mut line = [0; 8];
        let out = child
            .stdout
            .as_mut()
            .context("the stand-in has no output")?;
        let read = out.read_exact(&mut line);
        let served = Self(child);
        read.context("waiting for the stand-in")?;
        ensure!(&line == b"serving\n", "the stand-in said something else");
        Ok(served)
    }

    /// Runs `client`; returns its cost, and the stand-in's processor seconds meanwhile.
    fn beside(&self, client: Command) -> Result<(Took, f64)> {
        let before = measure::cpu(self.0.id()).unwrap_or_default();
        let took = measure::run(vec![client])?;
        let after = measure::cpu(self.0.id()).unwrap_or_default();
        Ok((took, after.saturating_sub(before).as_secs_f64()))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut input) = self.0.stdin.take() {
            drop(input.write_all(b"\n"));
        }
        drop(self.0.wait());
    }
}
