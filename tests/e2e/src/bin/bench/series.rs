//! Benchmark of the series: stores all snapshots with every peer, in turns, and restores the last one.

use std::path::Path;

use anyhow::{Context, Result};
use e2e::Folder;

use crate::measure::Took;
use crate::peers::{Peer, Repository};
use crate::snapshots::Snapshot;

/// Results of one peer in one round.
#[derive(Debug, Clone)]
pub(crate) struct Round {
    /// Growth of the store in bytes, and the cost, for each snapshot.
    pub(crate) stored: Vec<(u64, Took)>,
    /// Cost of restoring the last snapshot.
    pub(crate) restored: Took,
}

/// Results of each peer, or the programs that it lacks.
pub(crate) type Measured = Vec<(Peer, std::result::Result<Vec<Round>, Vec<&'static str>>)>;

/// Measures all peers, each once in every round, so that a busy machine affects all alike.
pub(crate) fn measure(
    snapshots: &[Snapshot],
    rounds: usize,
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<Measured> {
    let mut measured: Measured = Peer::ALL
        .into_iter()
        .map(|peer| match peer.missing() {
            none if none.is_empty() => (peer, Ok(Vec::new())),
            missing => (peer, Err(missing)),
        })
        .collect();
    for snapshot in snapshots {
        read_once(&snapshot.file)?;
    }
    for number in 0..rounds.max(1) {
        for (peer, done) in &mut measured {
            // Its bytes are the same each time, and it takes longer than all others together.
            if *peer == Peer::ResticMax && number > 0 {
                continue;
            }
            let Ok(done) = done else { continue };
            say(&format!("round {}: {}", number + 1, peer.name()));
            done.push(round(*peer, snapshots, programs, scratch)?);
        }
    }
    Ok(measured)
}

fn round(peer: Peer, snapshots: &[Snapshot], programs: &Path, scratch: &Folder) -> Result<Round> {
    let folder = scratch.make("repository")?;
    let mut repository = Repository::create(peer, folder.clone(), programs)?;
    let mut stored = Vec::new();
    let mut size = repository.size()?;
    for snapshot in snapshots {
        let took = repository
            .store(snapshot)
            .with_context(|| format!("storing {} with {}", snapshot.step.words(), peer.name()))?;
        let now = repository.size()?;
        stored.push((now.saturating_sub(size), took));
        size = now;
    }
    let last = snapshots.last().context("there are no snapshots")?;
    let restored = repository.restore(last)?;
    std::fs::remove_dir_all(&folder).context("removing the repository")?;
    Ok(Round { stored, restored })
}

/// Brings a file into the memory of the system, so that no peer pays for the disk.
pub(crate) fn read_once(path: &Path) -> Result<()> {
    let mut file =
        std::fs::File::open(path).with_context(|| format!("opening {}", path.display()))?;
    std::io::copy(&mut file, &mut std::io::sink())
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(())
}
