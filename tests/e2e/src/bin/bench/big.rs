//! Benchmark of a large snapshot: time and memory, with restores in turns with restic.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::Folder;

use crate::measure::Took;
use crate::peers::{Peer, Repository};
use crate::report::{mb, median, mib, speed, table};
use crate::series::read_once;
use crate::snapshots::Snapshot;

/// Stores `snapshots` with our programs and with restic, and restores each one as soon as it is stored,
/// `rounds` times in turns. Reports the costs, of restores the medians.
pub(crate) fn measure(
    snapshots: &[Snapshot],
    rounds: usize,
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<String> {
    let mut peers = Vec::new();
    let mut rows = Vec::new();
    for peer in [Peer::Ours, Peer::Restic] {
        if peer.missing().is_empty() {
            let folder = scratch.make("repository")?;
            peers.push((peer, Repository::create(peer, folder, programs)?));
        } else {
            let missing = peer.missing().join(" and ");
            say(&format!(
                "{missing} is missing: {} is left out",
                peer.name()
            ));
        }
    }
    for snapshot in snapshots {
        let words = snapshot.step.words();
        say(&format!("{} MB: {words}", mb(snapshot.bytes)));
        read_once(&snapshot.file)?;
        for (peer, repository) in &mut peers {
            let size = repository.size()?;
            let took = repository.store(snapshot)?;
            let grown = repository.size()?.saturating_sub(size);
            let what = format!("{words}, stored by {}", peer.name());
            rows.push(row(what, snapshot.bytes, took, None, mb(grown)));
        }
        let mut restored: Vec<Vec<Took>> = vec![Vec::new(); peers.len()];
        for _ in 0..rounds.max(1) {
            for ((_, repository), done) in peers.iter().zip(&mut restored) {
                done.push(repository.restore(snapshot)?);
            }
        }
        for ((peer, _), done) in peers.iter().zip(restored) {
            let what = format!("{words}, restored by {}", peer.name());
            let took = medians(&done).context("a restore was not measured")?;
            let on_disk = Some(took.on_disk);
            rows.push(row(what, snapshot.bytes, took, on_disk, String::new()));
        }
    }
    let header = [
        "",
        "MB/s",
        "seconds",
        "until on the disk",
        "processor s",
        "peak MiB",
        "MB stored",
    ];
    Ok(table("A large snapshot, stored and restored", header, rows))
}

fn medians(done: &[Took]) -> Option<Took> {
    Some(Took {
        wall: median(done.iter().map(|t| t.wall).collect())?,
        cpu: median(done.iter().map(|t| t.cpu).collect())?,
        peak: median(done.iter().map(|t| t.peak).collect())?,
        on_disk: median(done.iter().map(|t| t.on_disk).collect())?,
    })
}

fn row(
    what: String,
    bytes: u64,
    took: Took,
    on_disk: Option<Duration>,
    stored: String,
) -> Vec<String> {
    vec![
        what,
        format!("{:.0}", speed(bytes, took.wall)),
        format!("{:.2}", took.wall.as_secs_f64()),
        on_disk.map_or_else(String::new, |time| format!("{:.2}", time.as_secs_f64())),
        format!("{:.2}", took.cpu.as_secs_f64()),
        mib(took.peak),
        stored,
    ]
}
