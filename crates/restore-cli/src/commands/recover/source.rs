//! Flags that name the source of a restore's objects.

use std::path::{Path, PathBuf};

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use cluster_restore::git::GitSource;
use cluster_restore::orchestrate::ObjectSource;

/// Where objects come from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Source of objects")]
pub(crate) struct SourceFlags {
    /// Take objects from here: `archive`, the restore point; `git:URL-or-FOLDER[#REF]`, filled up
    /// from the restore point; `velero:PATH`, a tarball or its folder, alone
    #[arg(long, value_name = "SOURCE", default_value = "archive", value_parser = source)]
    from: ObjectSource,
    /// Take objects from this folder of the Git repository [default: clusters/management, or the
    /// cluster's mirror, or all of it; all of an export of Butler's]
    #[arg(long, value_name = "PATH")]
    git_path: Option<String>,
}

impl SourceFlags {
    /// Returns the source that the flags name.
    pub(crate) fn source(&self, prune: bool) -> Result<ObjectSource, Failure> {
        let usage = |told: &str| Err(Failure::message(Exit::Usage, told.to_owned()));
        match (self.from.clone(), &self.git_path) {
            (ObjectSource::Git(git), path) => Ok(ObjectSource::Git(GitSource {
                path: path.clone(),
                ..git
            })),
            (_, Some(_)) => usage("--git-path is for `--from git:…` alone"),
            (ObjectSource::Velero(_), None) if prune => usage(
                "a Velero backup does not say which kinds it lists whole, so --prune cannot go \
                 with it",
            ),
            (source, None) => Ok(source),
        }
    }
}

fn source(text: &str) -> Result<ObjectSource, String> {
    match text.split_once(':') {
        None if text == "archive" => Ok(ObjectSource::Archive),
        Some(("git", rest)) if !rest.is_empty() => Ok(ObjectSource::Git(GitSource::parse(rest))),
        Some(("velero", rest)) if !rest.is_empty() => Ok(ObjectSource::Velero(absolute(rest))),
        _ => Err("want archive, git:URL-or-FOLDER[#REF] or velero:PATH".to_owned()),
    }
}

/// Makes a path absolute, because plans are run from other folders too.
fn absolute(path: &str) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| Path::new(path).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_on_the_command_line() {
        assert_eq!(source("archive"), Ok(ObjectSource::Archive));
        let git = GitSource {
            repository: "https://example.org/a.git".to_owned(),
            reference: Some("main".to_owned()),
            path: None,
        };
        assert_eq!(
            source("git:https://example.org/a.git#main"),
            Ok(ObjectSource::Git(git))
        );
        assert_eq!(source("velero:/a"), Ok(ObjectSource::Velero("/a".into())));
        for bad in ["", "git", "git:", "velero:", "archive:x", "s3:x"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }
}
