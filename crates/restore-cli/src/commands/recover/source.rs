//! Source of a restore's objects: the archive, a Git repository, or a Velero backup.

use std::path::{Path, PathBuf};

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use cluster_restore::git::GitSource;
use cluster_restore::plan::Origin;

/// Source of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The restore point.
    Archive,
    /// A Git repository, supplemented from the restore point.
    Git(GitSource),
    /// A Velero backup alone.
    Velero(PathBuf),
}

/// Where objects come from.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Source of objects")]
pub(crate) struct SourceFlags {
    /// Take objects from here: `archive`, the restore point; `git:URL-or-FOLDER[#REF]`, filled up
    /// from the restore point; `velero:PATH`, a tarball or its folder, alone
    #[arg(long, value_name = "SOURCE", default_value = "archive", value_parser = source)]
    from: Source,
    /// Take objects from this folder of the Git repository [default: clusters/management, or the
    /// cluster's mirror, or all of it; all of an export of Butler's]
    #[arg(long, value_name = "PATH")]
    git_path: Option<String>,
}

impl SourceFlags {
    /// Returns the source that the flags name.
    pub(crate) fn source(&self, prune: bool) -> Result<Source, Failure> {
        let usage = |told: &str| Err(Failure::message(Exit::Usage, told.to_owned()));
        match (self.from.clone(), &self.git_path) {
            (Source::Git(git), path) => Ok(Source::Git(GitSource {
                path: path.clone(),
                ..git
            })),
            (_, Some(_)) => usage("--git-path is for `--from git:…` alone"),
            (Source::Velero(_), None) if prune => usage(
                "a Velero backup does not say which kinds it lists whole, so --prune cannot go \
                 with it",
            ),
            (source, None) => Ok(source),
        }
    }
}

impl Source {
    /// Returns the source of a plan, as it was requested.
    pub(crate) fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Archive { .. } => Self::Archive,
            Origin::Git {
                repository,
                reference,
                path,
                ..
            } => Self::Git(GitSource {
                repository: repository.clone(),
                reference: reference.clone(),
                path: path.clone(),
            }),
            Origin::Velero { path, .. } => Self::Velero(path.into()),
        }
    }

    /// Returns the source of a restore that began: its commit, even if the branch has moved.
    pub(crate) fn begun(origin: &Origin) -> Self {
        match (Self::of(origin), origin) {
            (Self::Git(git), Origin::Git { commit, .. }) => Self::Git(GitSource {
                reference: Some(commit.clone()),
                ..git
            }),
            (source, _) => source,
        }
    }
}

/// Refuses a source that differs from the plan's.
pub(crate) fn same(planned: &Origin, now: &Origin) -> Result<(), Failure> {
    let told = match (planned, now) {
        (
            Origin::Git {
                repository, commit, ..
            },
            Origin::Git { commit: is, .. },
        ) if commit != is => {
            format!("the plan is of commit {commit} of {repository}, which is at {is} now")
        }
        (Origin::Velero { path, sha256 }, Origin::Velero { sha256: is, .. }) if sha256 != is => {
            format!("the plan is of {path} with SHA-256 {sha256}, and it has {is} now")
        }
        _ => return Ok(()),
    };
    Err(Failure::message(Exit::Refused, told).hint("plan again, and look at it again"))
}

fn source(text: &str) -> Result<Source, String> {
    match text.split_once(':') {
        None if text == "archive" => Ok(Source::Archive),
        Some(("git", rest)) if !rest.is_empty() => Ok(Source::Git(GitSource::parse(rest))),
        Some(("velero", rest)) if !rest.is_empty() => Ok(Source::Velero(absolute(rest))),
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
        assert_eq!(source("archive"), Ok(Source::Archive));
        let git = GitSource {
            repository: "https://example.org/a.git".to_owned(),
            reference: Some("main".to_owned()),
            path: None,
        };
        assert_eq!(
            source("git:https://example.org/a.git#main"),
            Ok(Source::Git(git))
        );
        assert_eq!(source("velero:/a"), Ok(Source::Velero("/a".into())));
        for bad in ["", "git", "git:", "velero:", "archive:x", "s3:x"] {
            assert!(source(bad).is_err(), "{bad}");
        }
    }
}
