//! Location of objects in Git: an address or a folder, a reference and a path.

use std::path::PathBuf;

use super::{GitError, is_inside};

/// Location of objects in Git.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Folder or address.
    pub repository: String,
    /// Branch, tag or full commit hash; `None` for the repository's default branch.
    pub reference: Option<String>,
    /// Folder in the repository. `None` for the first of these that exists: all of an export that
    /// has a report, Butler's folder, the folder of the cluster's mirror, or everything except
    /// mirrors.
    pub path: Option<String>,
}

impl GitSource {
    /// Parses `URL-or-FOLDER[#REF]`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (repository, reference) = match text.rsplit_once('#') {
            Some((repository, reference)) => (repository, Some(reference)),
            None => (text, None),
        };
        Self {
            repository: repository.to_owned(),
            reference: reference.filter(|r| !r.is_empty()).map(str::to_owned),
            path: None,
        }
    }

    /// Reports whether it is a folder on this machine.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        let text = &self.repository;
        let host = text.split_once(':').map(|(host, _)| host);
        !text.contains("://") && host.is_none_or(|host| host.contains('/'))
    }

    /// Checks that address, reference and path are safe to pass to `git`.
    pub(crate) fn check(&self) -> Result<(), GitError> {
        let refuse = |given: &str, why| {
            let given = given.chars().filter(|c| !c.is_control()).collect();
            Err(GitError::Refused { given, why })
        };
        let repository = self.repository.as_str();
        if repository.is_empty() || repository.starts_with('-') {
            return refuse(repository, "it names no repository");
        }
        if let Some((scheme, rest)) = repository.split_once("://") {
            if !["file", "http", "https", "ssh"].contains(&scheme) {
                return refuse(scheme, "only file, http, https and ssh are taken");
            }
            let host = rest.split('/').next().unwrap_or_default();
            let user = host.rsplit_once('@').map_or("", |(user, _)| user);
            if user.contains(':') || (scheme.starts_with("http") && !user.is_empty()) {
                let host = host.rsplit('@').next().unwrap_or_default();
                let why = "a plan would store its password; use Git's credential helper instead";
                return refuse(host, why);
            }
        } else if repository.contains("::") {
            return refuse(repository, "only file, http, https and ssh are taken");
        }
        let bad = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
        if let Some(reference) = &self.reference
            && (reference.starts_with(['-', '+']) || reference.contains(bad))
        {
            return refuse(reference, "it is not a branch, tag or commit");
        }
        if let Some(path) = &self.path
            && !is_inside(path)
        {
            return refuse(path, "it is not a path in the repository");
        }
        Ok(())
    }

    /// Returns the folder on this machine, if it is one.
    pub(super) fn folder(&self) -> Result<Option<PathBuf>, GitError> {
        let given = self.repository.as_str();
        if given.starts_with("file:") {
            let url = url::Url::parse(given).ok();
            let folder = url.and_then(|url| url.to_file_path().ok());
            let why = "it names no folder of this machine";
            let given = given.to_owned();
            return folder.map(Some).ok_or(GitError::Refused { given, why });
        }
        Ok(self.is_folder().then(|| given.into()))
    }
}
