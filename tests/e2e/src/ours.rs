//! Programs of the project, as they were just built.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::run::Command;

/// Variable that names another folder with the programs, such as that of a release.
const VARIABLE: &str = "BUTLER_BACKUP_PROGRAMS";

/// Folder with `backupd` and `restore-cli`.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Returns the programs in `folder`.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn within(folder: &Path) -> Result<Self> {
        for name in ["backupd", "restore-cli"] {
            let path = folder.join(name);
            ensure!(
                path.is_file(),
                "{} is not there; build it: cargo build --workspace",
                path.display()
            );
        }
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Returns the programs that cargo built together with this process' program, or those in the folder that
    /// `BUTLER_BACKUP_PROGRAMS` names.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn find() -> Result<Self> {
        if let Some(folder) = std::env::var_os(VARIABLE) {
            return Self::within(Path::new(&folder));
        }
        let own = std::env::current_exe().context("asking where this program is")?;
        let folder = own.parent().context("this program is in no folder")?;
        // Tests are one folder further down than programs.
        let folder = match folder.file_name() {
            Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
            _ => folder,
        };
        Self::within(folder)
    }

    /// Returns their folder, for a `PATH`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns `backupd`, with nothing of this process' environment but `PATH`.
    #[must_use]
    pub fn backupd(&self) -> Command {
        Command::new(self.folder.join("backupd"))
    }

    /// Returns `restore-cli`, with nothing of this process' environment but `PATH`.
    #[must_use]
    pub fn restore_cli(&self) -> Command {
        Command::new(self.folder.join("restore-cli"))
    }
}
