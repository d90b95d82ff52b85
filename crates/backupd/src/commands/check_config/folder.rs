//! Check of a folder with a file for each cluster, as `backupd run` takes it.

use std::path::Path;

use backup_cli::config::{ConfigError, ConfigFlags, read_files};
use backup_cli::environment::Environment;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::flags::StoreFlags;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::clock::Clock;
use serde::Serialize;

use super::{ConfigReport, check};

/// All files of a folder.
#[derive(Debug, Serialize)]
pub(super) struct FolderReport {
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    /// Checked configuration; absent if the file cannot be used.
    #[serde(flatten)]
    checked: Option<ConfigReport>,
    /// Problems of the file.
    problems: Vec<String>,
}

/// Checks each file of the folder, and conflicts between two files.
pub(super) fn run(given: &ConfigFlags, path: &Path, frame: &Frame) -> Result<Exit, Failure> {
    let alone = ConfigFlags {
        store: StoreFlags {
            config: given.store.config.clone(),
            ..StoreFlags::default()
        },
        ..ConfigFlags::default()
    };
    if *given != alone {
        let text = "a folder is checked as `backupd run` takes it, which has no flags over its files; \
                    name one file, or leave the flags out";
        return Err(Failure::message(Exit::Usage, text));
    }
    let folder = FolderReport::read(path, &frame.environment, frame.clock.as_ref())?;
    frame.terminal.emit(&folder)?;
    for file in &folder.files {
        let warnings = file.checked.iter().flat_map(|checked| &checked.warnings);
        for warning in warnings {
            frame.terminal.warn(&format!("{}: {warning}", file.file));
        }
    }
    let (all, broken) = (folder.files.len(), folder.broken());
    if broken > 0 {
        let text = format!("{broken} of {all} files cannot be used");
        return Err(Failure::message(Exit::Usage, text));
    }
    frame
        .terminal
        .status(&format!("All {all} files can be used."));
    Ok(Exit::Complete)
}

impl FolderReport {
    pub(super) fn read(
        path: &Path,
        environment: &Environment,
        clock: &dyn Clock,
    ) -> Result<Self, ConfigError> {
        let files = read_files(path, clock.now())?.into_iter().map(|file| {
            let checked = file
                .config
                .and_then(|config| check(&config, environment, clock));
            let problems = checked.as_ref().err().map(|error| {
                let problems = error.problems().iter();
                problems.map(ToString::to_string).collect()
            });
            FileReport {
                file: file.path.display().to_string(),
                checked: checked.ok(),
                problems: problems.unwrap_or_default(),
            }
        });
        Ok(Self {
            files: files.collect(),
        })
    }

    fn broken(&self) -> usize {
        let broken = self.files.iter().filter(|file| file.checked.is_none());
        broken.count()
    }
}

impl Report for FolderReport {
    fn page(&self, page: &mut Page) {
        for file in &self.files {
            page.heading(&format!("==> {}", file.file));
            match &file.checked {
                Some(checked) => checked.page(page),
                None => {
                    page.line("It cannot be used:");
                    for problem in &file.problems {
                        page.line(&format!("  {problem}"));
                    }
                }
            }
        }
    }
}
