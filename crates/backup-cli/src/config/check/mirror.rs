//! Checks for the Git mirror of definitions and custom resources.

use std::path::{Path, PathBuf};

use backup_core::id::ClusterName;
use cluster_restore::git::GitSource;
use cluster_restore::mirror::{Mirror, ssh, usual_path};

use super::Checker;
use crate::config::GitMirror;
use crate::config::problem::ConfigValue;
use crate::config::raw::{RawGitMirror, Text};

/// Default branch, as in most repositories.
const BRANCH: &str = "main";
/// Default user. Git hosts accept any name with a token.
const USER: &str = "git";

impl Checker {
    pub(super) fn git_mirror(
        &mut self,
        raw: RawGitMirror,
        cluster: Option<&ClusterName>,
    ) -> Option<GitMirror> {
        let field = |name: &str| format!("git-mirror.{name}");
        let repository = self.sourced(raw.repository, &field("repository"));
        let branch = raw.branch.map(|text| self.sourced(text, &field("branch")));
        let path = raw.path.map(|text| self.sourced(text, &field("path")));
        let file = |c: &Self, text: Option<Text>, name: &str| {
            text.map(|text| {
                let path = c.file_path(text, &field(name));
                ConfigValue::new(absolute(path.value), path.origin)
            })
        };
        let (token_file, ssh_key) = (
            file(self, raw.token_file, "token-file"),
            file(self, raw.ssh_key, "ssh-key"),
        );
        let is_folder = GitSource::parse(&repository.value).is_folder();
        let address = if is_folder {
            let folder = self.beside_file(Path::new(&repository.value));
            absolute(folder).display().to_string()
        } else {
            repository.value.clone()
        };
        let folder = absolute(self.file_path(raw.folder, &field("folder")).value);
        let mirror = Mirror {
            repository: address,
            branch: branch.as_ref().map_or(BRANCH, |b| &b.value).to_owned(),
            path: match (&path, cluster) {
                (Some(path), _) => path.value.clone(),
                (None, Some(cluster)) => usual_path(cluster),
                // A file without a cluster is refused elsewhere.
                (None, None) => ".".to_owned(),
            },
            // Several clusters may name the same folder.
            folder: folder.join(cluster.map_or("cluster", ClusterName::as_str)),
        };
        if let Err(error) = mirror.check() {
            let given = [branch, path].into_iter().flatten();
            let told = error.to_string();
            let wrong = given
                .clone()
                .find(|g| told.contains(&format!("`{}`", g.value)));
            let origin = wrong.map_or(repository.origin, |wrong| wrong.origin);
            self.wrong(origin, told);
            return None;
        }
        let known_hosts = file(self, raw.known_hosts, "known-hosts");
        for file in [&ssh_key, &known_hosts].into_iter().flatten() {
            if let Err(odd) = ssh::check_path(&file.value) {
                self.wrong(
                    file.origin.clone(),
                    format!("{} {odd}", file.value.display()),
                );
            }
        }
        let is_ssh = !is_folder && scheme(&repository.value) == "ssh";
        // A token with ssh is a mistake that is reported below.
        if is_ssh && token_file.is_none() && (ssh_key.is_none() || known_hosts.is_none()) {
            let why = "ssh wants `ssh-key`, a file with a private key, and `known-hosts`, one with the \
                       hosts to believe";
            self.wrong(repository.origin.clone(), why);
        }
        self.lets_in(
            &repository.value,
            is_folder,
            token_file.as_ref(),
            ssh_key.as_ref(),
        );
        Some(GitMirror {
            mirror,
            user: raw.user.map_or(USER.to_owned(), |user| user.value),
            token_file,
            ssh_key,
            known_hosts,
            ca_file: file(self, raw.ca_file, "ca-file").map(|f| f.value),
        })
    }

    /// Checks that a token is used only where tokens are supported, and never in the clear.
    fn lets_in(
        &mut self,
        repository: &str,
        is_folder: bool,
        token: Option<&ConfigValue<PathBuf>>,
        key: Option<&ConfigValue<PathBuf>>,
    ) {
        let scheme = scheme(repository);
        let rest = repository.split_once("://").map_or("", |(_, rest)| rest);
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        let web = scheme.starts_with("http");
        if let Some(token) = token {
            if is_folder || !web {
                self.wrong(
                    token.origin.clone(),
                    "a token is for https; for ssh give `ssh-key`",
                );
            } else if scheme == "http" && !matches!(host, "127.0.0.1" | "localhost" | "[") {
                let why = "over http everyone on the way would read the token; use https";
                self.wrong(token.origin.clone(), why);
            }
        }
        if let Some(key) = key
            && (is_folder || scheme != "ssh")
        {
            self.wrong(
                key.origin.clone(),
                "a key is for ssh; for https give `token-file`",
            );
        }
    }
}

/// Makes a path absolute, because `git` runs in another folder.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns the scheme of a repository that is not a folder: `HOST:PATH` without a scheme is ssh.
fn scheme(repository: &str) -> &str {
    repository
        .split_once("://")
        .map_or("ssh", |(scheme, _)| scheme)
}
