//! Folders that outlive a test: the per-user cache and the sources of the lab.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// Returns the lab's folder in the per-user cache (`$XDG_CACHE_HOME` or `~/.cache`); makes it if it is
/// missing.
///
/// # Errors
/// Neither variable is set, or the folder cannot be made.
pub fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache")))
        .context("no place for the lab's cache: set XDG_CACHE_HOME or HOME")?;
    let folder = base.join("butler-backup-lab");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("making the lab's cache folder {}", folder.display()))?;
    Ok(folder)
}

/// Returns the folder of this crate's sources.
#[must_use]
pub fn sources() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the workspace's root, two folders above this crate.
#[must_use]
pub fn workspace() -> PathBuf {
    sources()
        .components()
        .rev()
        .skip(2)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect()
}
