//! Current configuration: files are read again when they change, and a broken file keeps its last good
//! content.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup_cli::config::{Config, ConfigError, read_files};
use backup_core::id::ClusterName;
use jiff::Timestamp;

use super::shard::Shard;
use super::status::FileStatus;

/// Files of the configuration; see the module.
#[derive(Debug)]
pub(crate) struct ConfigFiles {
    path: PathBuf,
    shard: Shard,
    /// Last good content of each file.
    good: BTreeMap<PathBuf, Arc<Config>>,
    print: Vec<FileStamp>,
}

/// Size and time by which a change of a file is noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileStamp {
    path: PathBuf,
    bytes: u64,
    modified: Option<std::time::SystemTime>,
}

/// Result of a load.
#[derive(Debug)]
pub(crate) struct LoadedFiles {
    /// Clusters of this shard.
    pub(crate) clusters: BTreeMap<ClusterName, Arc<Config>>,
    pub(crate) files: Vec<FileStatus>,
}

impl ConfigFiles {
    pub(crate) fn new(path: PathBuf, shard: Shard) -> Self {
        Self {
            path,
            shard,
            good: BTreeMap::new(),
            print: Vec::new(),
        }
    }

    /// Reports whether a file was added, removed or changed since the last read.
    pub(crate) fn changed(&self) -> bool {
        self.print != print(&self.path)
    }

    /// Reads all files. A broken file keeps its last good content.
    ///
    /// # Errors
    /// Fails when the folder itself cannot be read; the earlier configuration then still applies.
    pub(crate) fn load(&mut self, now: Timestamp) -> Result<LoadedFiles, ConfigError> {
        self.print = print(&self.path);
        let read = read_files(&self.path, now)?;
        let mut good = BTreeMap::new();
        let mut loaded = LoadedFiles {
            clusters: BTreeMap::new(),
            files: Vec::with_capacity(read.len()),
        };
        // Good files come first: a broken file must not keep a cluster that moved to another file.
        let (sound, broken): (Vec<_>, Vec<_>) = read.into_iter().partition(|f| f.config.is_ok());
        for file in sound.into_iter().chain(broken) {
            let (config, error) = match file.config {
                Ok(config) => (Some(Arc::new(config)), None),
                Err(error) => (self.good.get(&file.path).cloned(), Some(error.to_string())),
            };
            let cluster = config.as_ref().and_then(|config| config.cluster.clone());
            let mut status = FileStatus {
                path: file.path.clone(),
                elsewhere: cluster.as_ref().is_some_and(|name| !self.shard.has(name)),
                cluster: cluster.clone(),
                error,
            };
            if let (Some(config), Some(name)) = (config, cluster) {
                match loaded.clusters.entry(name) {
                    Entry::Occupied(_) => status.cluster = None,
                    Entry::Vacant(place) if !status.elsewhere => {
                        place.insert(Arc::clone(&config));
                    }
                    Entry::Vacant(_) => {}
                }
                good.insert(file.path, config);
            }
            loaded.files.push(status);
        }
        loaded.files.sort_by(|a, b| a.path.cmp(&b.path));
        self.good = good;
        Ok(loaded)
    }
}

fn print(path: &Path) -> Vec<FileStamp> {
    let mut paths = vec![path.to_owned()];
    if let Ok(entries) = std::fs::read_dir(path) {
        paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        paths.sort();
    }
    let prints = paths.into_iter().filter_map(|path| {
        let metadata = path.metadata().ok()?;
        Some(FileStamp {
            path,
            bytes: metadata.len(),
            modified: metadata.modified().ok(),
        })
    });
    prints.collect()
}
