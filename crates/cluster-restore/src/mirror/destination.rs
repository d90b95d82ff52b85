//! Destination of a mirror: a folder on a branch of a repository.

use std::path::{Path, PathBuf};

use super::MirrorError;
use crate::git::{GitError, GitSource, MIRRORS, is_inside};
use backup_core::id::ClusterName;

/// Destination of a mirror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Address of the repository, or its folder.
    pub repository: String,
    /// Branch.
    pub branch: String,
    /// Folder in the repository.
    pub path: String,
    /// Work folder that nothing else uses.
    pub folder: PathBuf,
}

/// Returns the default folder of a cluster's mirror: outside of `clusters/`, which Butler has Flux apply.
#[must_use]
pub fn usual_path(cluster: &ClusterName) -> String {
    format!("{MIRRORS}/{cluster}")
}

impl Mirror {
    /// Checks that address, branch and path can be used.
    ///
    /// # Errors
    /// The first problem that is found.
    pub fn check(&self) -> Result<(), MirrorError> {
        let source = GitSource {
            repository: self.repository.clone(),
            reference: Some(self.branch.clone()),
            path: Some(self.path.clone()),
        };
        source.check().map_err(|error| match error {
            GitError::Refused { why, .. } if why.contains("password") => {
                let why = "its address holds a user or a password; give a token in a file instead";
                MirrorError::Refused { why }
            }
            error => error.into(),
        })?;
        let branch = self.branch.as_str();
        let odd = branch.is_empty()
            || branch.starts_with(['/', '.'])
            || branch.ends_with(['/', '.'])
            || branch.ends_with(".lock")
            || branch == "HEAD"
            || branch.starts_with("refs/")
            || ["..", "//", "@{", "/."]
                .iter()
                .any(|part| branch.contains(part));
        if odd {
            let why = "Git does not accept the branch's name";
            return Err(MirrorError::Refused { why });
        }
        if !is_inside(&self.path) || self.path.split('/').any(|p| p.eq_ignore_ascii_case(".git")) {
            let why = "the path leads out of the repository";
            return Err(MirrorError::Refused { why });
        }
        Ok(())
    }

    /// Whether both write to the same folder, or one writes inside the other's folder.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
        let (a, b) = (normal(&self.path), normal(&other.path));
        same(&self.repository, &other.repository)
            && self.branch == other.branch
            && (a.starts_with(&b) || b.starts_with(&a))
    }
}

/// Returns a path in the repository, with its normal components only.
pub(super) fn normal(path: &str) -> PathBuf {
    let parts = Path::new(path).components();
    parts
        .filter(|part| matches!(part, std::path::Component::Normal(_)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_branch_and_a_folder_is_taken() {
        let mirror = |branch: &str, path: &str, repository: &str| Mirror {
            repository: repository.to_owned(),
            branch: branch.to_owned(),
            path: path.to_owned(),
            folder: "/x".into(),
        };
        let fine = "https://git.example.org/fleet.git";
        mirror("main", "clusters/management", fine).check().unwrap();
        mirror("a/b", ".", "git@git.example.org:fleet")
            .check()
            .unwrap();
        for bad in [
            mirror("--force", "a", fine),
            mirror("+main", "a", fine),
            mirror("a..b", "a", fine),
            mirror("refs/heads/main", "a", fine),
            mirror("main", "../a", fine),
            mirror("main", "a/.git/hooks", fine),
            mirror("main", "a", "https://user:canary@git.example.org/fleet"),
            mirror("main", "a", "ext::sh -c x"),
        ] {
            let error = bad.check().unwrap_err();
            assert!(!error.to_string().contains("canary"), "{error}");
        }
    }
}
