//! Part of the checked configuration for the Git mirror.

use backup_cli::config::{Config, ConfigError};
use backup_cli::output::Page;
use backup_core::id::ComponentName;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mirror {
    repository: String,
    branch: String,
    path: String,
    folder: String,
    lets_in: &'static str,
}

impl Mirror {
    /// Describes the mirror, and reads its credentials as a check.
    pub(super) fn of(
        config: &Config,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>, ConfigError> {
        let Some(git) = &config.git_mirror else {
            return Ok(None);
        };
        let access = git.access()?;
        let mirrored = [ComponentName::crds(), ComponentName::resources()];
        if !config.components.iter().any(|c| mirrored.contains(&c.name)) {
            warnings.push(
                "the Git mirror gets nothing automatically: neither `crds` nor `resources` is \
                 among the components"
                    .to_owned(),
            );
        }
        let lets_in = match (&access.token, &access.ssh_key) {
            (Some(_), _) => "a token",
            (None, Some(_)) => "a key for ssh",
            (None, None) => "nothing",
        };
        Ok(Some(Self {
            repository: git.mirror.repository.clone(),
            branch: git.mirror.branch.clone(),
            path: git.mirror.path.clone(),
            folder: git.mirror.folder.display().to_string(),
            lets_in,
        }))
    }

    pub(super) fn show(&self, page: &mut Page) {
        page.heading("Git mirror of `backupd run`");
        page.fields([
            ("Repository", self.repository.clone()),
            ("Branch", self.branch.clone()),
            ("Folder in it", self.path.clone()),
            ("Work folder", self.folder.clone()),
            ("Let in by", self.lets_in.to_owned()),
        ]);
    }
}
