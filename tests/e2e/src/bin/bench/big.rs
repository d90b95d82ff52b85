//! A large snapshot: memory and speed of ours alone.

use std::path::Path;

use anyhow::Result;
use e2e::Folder;

use crate::measure::Took;
use crate::peers::{Peer, Repository};
use crate::report::{mb, mib, speed, table};
use crate::series::read_once;
use crate::snapshots::Snapshot;

/// Stores and restores `snapshots` and tells what it took.
pub(crate) fn measure(
    snapshots: &[Snapshot],
    programs: &Path,
    scratch: &Folder,
    say: &dyn Fn(&str),
) -> Result<String> {
    let mut repository = Repository::create(Peer::Ours, scratch.make("repository")?, programs)?;
    let mut rows = Vec::new();
    let mut size = repository.size()?;
    for snapshot in snapshots {
        say(&format!(
            "{} MB: {}",
            mb(snapshot.bytes),
            snapshot.step.words()
        ));
        read_once(&snapshot.file)?;
        let took = repository.store(snapshot)?;
        let now = repository.size()?;
        let stored = mb(now.saturating_sub(size));
        rows.push(row(snapshot.step.words(), snapshot.bytes, took, stored));
        size = now;
    }
    if let Some(last) = snapshots.last() {
        say("restoring it");
        let took = repository.restore(last)?;
        rows.push(row("restored", last.bytes, took, String::new()));
    }
    let header = ["", "MB", "MB/s", "processor s", "peak MiB", "MB stored"];
    Ok(table(
        "A large snapshot, stored and restored by backupd",
        header,
        rows,
    ))
}

fn row(words: &str, bytes: u64, took: Took, stored: String) -> Vec<String> {
    vec![
        words.to_owned(),
        (bytes / 1_000_000).to_string(),
        format!("{:.0}", speed(bytes, took.wall)),
        format!("{:.2}", took.cpu.as_secs_f64()),
        mib(took.peak),
        stored,
    ]
}
