//! Snapshots for the benchmarks, taken from a real etcd and kept in the per-user cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::Folder;
use e2e::data::{Cluster, Shape};
use e2e::etcd::{Etcd, EtcdClient, Options};

/// Part of the cache's name; raised when the data or the steps change.
const VERSION: u32 = 1;

const DAY: u32 = 24 * 60;
const HOUR: u32 = 60;

/// Step before a snapshot is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Fills a cluster and lets it live for a day: the first snapshot.
    First,
    /// A day of churn.
    Day,
    /// An hour of churn.
    Hour,
    /// A defragmentation, then an hour of churn.
    Defragmented,
}

impl Step {
    /// All steps, in the order in which they are taken.
    pub(crate) const ALL: [Self; 5] = [
        Self::First,
        Self::Day,
        Self::Hour,
        Self::Hour,
        Self::Defragmented,
    ];

    /// Returns the step in words, for a row of a table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Day => "a day later",
            Self::Hour => "an hour later",
            Self::Defragmented => "defragmented, an hour later",
        }
    }
}

/// Snapshot file.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) step: Step,
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}

/// Returns the snapshots of [`Step::ALL`], from the cache or made now.
pub(crate) async fn series(say: &dyn Fn(&str)) -> Result<Vec<Snapshot>> {
    let shape = Shape::large();
    let folder = cache()?.join(format!("series-{VERSION}-{}", shape.objects));
    if !folder.exists() {
        say(&format!(
            "making {} snapshots on a real etcd; some minutes, once: kept in {}",
            Step::ALL.len(),
            folder.display()
        ));
        let lab = Folder::new()?;
        let part = beside(&folder)?;
        let (_etcd, client) = etcd(&lab).await?;
        let mut cluster = Cluster::fill(&client, shape).await?;
        for (i, step) in Step::ALL.into_iter().enumerate() {
            say(&format!("snapshot {}: {}", i + 1, step.words()));
            if step == Step::Defragmented {
                client.defragment().await?;
            }
            let minutes = match step {
                Step::First | Step::Day => DAY,
                Step::Hour | Step::Defragmented => HOUR,
            };
            cluster.churn(&client, minutes).await?;
            client.snapshot(&part.path().join(name(i))).await?;
        }
        keep(part, &folder)?;
    }
    Step::ALL
        .into_iter()
        .enumerate()
        .map(|(i, step)| look(step, folder.join(name(i))))
        .collect()
}

/// Returns two snapshots of a database of about `gib` GiB, an hour apart.
pub(crate) async fn big(gib: u32, say: &dyn Fn(&str)) -> Result<Vec<Snapshot>> {
    /// Number of objects that make the file a little larger than one GiB.
    const OBJECTS_PER_GIB: u32 = 225_000;
    let folder = cache()?.join(format!("big-{VERSION}-{gib}"));
    if !folder.exists() {
        say(&format!(
            "filling a real etcd with {gib} GiB; some minutes, once: kept in {}",
            folder.display()
        ));
        let lab = Folder::new()?;
        let part = beside(&folder)?;
        let (_etcd, client) = etcd(&lab).await?;
        let shape = Shape {
            objects: usize::try_from(gib.saturating_mul(OBJECTS_PER_GIB))?,
            ..Shape::large()
        };
        let mut cluster = Cluster::fill(&client, shape).await?;
        for i in 0..2 {
            cluster.churn(&client, HOUR).await?;
            client.snapshot(&part.path().join(name(i))).await?;
        }
        keep(part, &folder)?;
    }
    Ok(vec![
        look(Step::First, folder.join(name(0)))?,
        look(Step::Hour, folder.join(name(1)))?,
    ])
}

/// Returns the folder of the snapshots.
pub(crate) fn cache() -> Result<PathBuf> {
    let folder = e2e::paths::cache()?.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

fn name(i: usize) -> String {
    format!("{i}.db")
}

fn look(step: Step, file: PathBuf) -> Result<Snapshot> {
    let metadata =
        std::fs::metadata(&file).with_context(|| format!("looking at {}", file.display()))?;
    Ok(Snapshot {
        step,
        bytes: metadata.len(),
        file,
    })
}

async fn etcd(lab: &Folder) -> Result<(Etcd, EtcdClient)> {
    let options = Options {
        tls: false,
        ..Options::default()
    };
    let etcd = Etcd::start_with(lab, "etcd", options).await?.pop();
    let etcd = etcd.context("no member of etcd was started")?;
    let client = etcd.client().await?;
    Ok((etcd, client))
}

/// Makes a folder on the same disk that becomes `folder` when it is complete.
fn beside(folder: &Path) -> Result<tempfile::TempDir> {
    let parent = folder.parent().context("the cache has no parent folder")?;
    let part = tempfile::Builder::new().prefix(".part-").tempdir_in(parent);
    part.with_context(|| format!("making a folder in {}", parent.display()))
}

fn keep(part: tempfile::TempDir, folder: &Path) -> Result<()> {
    let part = part.keep();
    std::fs::rename(&part, folder)
        .with_context(|| format!("renaming {} to {}", part.display(), folder.display()))
}
