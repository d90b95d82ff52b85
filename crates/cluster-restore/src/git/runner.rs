//! Runner of `git`, for the Git source and for the mirror: never through a shell, with fixed settings and
//! environment, limits on time and output, and one form of errors.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, sink};
use tokio::process::Command;

use super::GitError;
use super::kustomize::KUBECTL;
use crate::child::{self, Environment};
use backup_core::num::to_u64;
use backup_core::proxy::Proxies;

/// Largest error output that is kept.
const MAX_COMPLAINT: u64 = 16 << 10;
/// Largest number of its characters that are reported.
const MAX_ERROR_CHARS: usize = 600;
/// Author of the mirror's commits.
const AUTHOR: &str = "butler-backup";
const MAIL: &str = "butler-backup@localhost";

/// Limits of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallLimits {
    pub(crate) time: Duration,
    /// Largest output, in bytes.
    pub(crate) output: u64,
}

impl CallLimits {
    /// Call of the Git source that uses no network: it answers with a line, or a line for each changed file.
    pub(crate) const LOCAL: Self = Self {
        time: Duration::from_secs(60),
        output: 4 << 20,
    };
    /// Fetch of the Git source, and the writing of its files. A shallow fetch of a repository of manifests
    /// takes seconds.
    pub(crate) const FETCH: Self = Self {
        time: Duration::from_secs(180),
        ..Self::LOCAL
    };
    /// Call of the mirror, over the network or not: a history of manifests has some MiB, a work folder a
    /// hundred thousand small files. Answers are one line; names of branches are few.
    pub(crate) const MIRROR: Self = Self {
        time: Duration::from_secs(120),
        output: 64 << 10,
    };
}

/// Returns a `git` that prompts nobody, runs no hooks and no filters, follows no links, fetches no
/// submodules, and uses only these settings: neither the machine's nor a person's.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = settings(folder, Environment::Least);
    command
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1");
    command
}

/// Returns the same with a person's settings, which define how a remote is reached and with which
/// credentials.
pub(super) fn git_of_person(folder: &Path) -> Command {
    settings(folder, Environment::Remote)
}

fn settings(folder: &Path, gets: Environment) -> Command {
    let mut command = child::command("git", gets);
    command.arg("-C").arg(folder);
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        // Links could point out of the folder: they become files that contain the path.
        "core.symlinks=false",
        "core.sshCommand=ssh -o BatchMode=yes",
        "submodule.recurse=false",
        "advice.detachedHead=false",
        "gc.auto=0",
        // Large files stay the pointers that Git stores.
        "filter.lfs.smudge=",
        "filter.lfs.process=",
        "filter.lfs.required=false",
    ] {
        command.arg("-c").arg(setting);
    }
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "file:http:https:ssh")
        .env("GIT_OPTIONAL_LOCKS", "0")
        // Missing objects are not fetched, and no object is replaced by another.
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1");
    piped(&mut command);
    command
}

/// Returns a `git` for the mirror's work folder `folder`; `home` has no settings of anybody.
pub(crate) fn git_of_mirror(folder: &Path, home: &Path) -> Command {
    let mut git = git(folder);
    for setting in [
        // The folder may be a volume that belongs to another user.
        "safe.directory=*",
        "credential.helper=",
        "commit.gpgSign=false",
        // Files of the remote are written without changes.
        "core.autocrlf=false",
        "core.protectNTFS=true",
        "core.protectHFS=true",
    ] {
        git.arg("-c").arg(setting);
    }
    // Use this repository and not an enclosing one, even if this one is broken.
    git.env("GIT_DIR", folder.join(".git"))
        .env("GIT_WORK_TREE", folder);
    git.env("HOME", home)
        .env("GIT_ASKPASS", "")
        .env("GIT_AUTHOR_NAME", AUTHOR)
        .env("GIT_AUTHOR_EMAIL", MAIL)
        .env("GIT_COMMITTER_NAME", AUTHOR)
        .env("GIT_COMMITTER_EMAIL", MAIL);
    git
}

/// Makes `git` reach `repository` through the proxy in `proxies` that applies, or directly.
///
/// # Errors
/// When the variable that names the proxy is malformed.
pub(crate) fn through(
    git: &mut Command,
    proxies: &Proxies,
    repository: &str,
) -> Result<(), GitError> {
    let over_http = repository.starts_with("http://") || repository.starts_with("https://");
    // `git` itself reports an address that cannot be parsed.
    let Some(server) = over_http.then(|| repository.parse().ok()).flatten() else {
        return Ok(());
    };
    let proxy = proxies.of(&server)?;
    // Otherwise `git` would choose a proxy by its own rules.
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        git.env_remove(name);
        git.env_remove(name.to_ascii_lowercase());
    }
    if let Some(proxy) = proxy {
        // Not as an argument, which every user of the machine can read.
        git.env("http_proxy", proxy.written());
        git.env("https_proxy", proxy.written());
    }
    Ok(())
}

pub(super) fn piped(command: &mut Command) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Runs the command to its end; returns its output if it succeeded.
pub(crate) async fn run(
    mut command: Command,
    what: &str,
    limits: CallLimits,
) -> Result<Vec<u8>, GitError> {
    let CallLimits { time, output: most } = limits;
    let name = command.as_std().get_program().to_string_lossy();
    let program = if name == "git" { "git" } else { KUBECTL };
    let mut child = command
        .spawn()
        .map_err(|source| GitError::Start { program, source })?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        let source = std::io::Error::other("it has no output");
        return Err(GitError::Start { program, source });
    };
    let failed = |said: String| GitError::Failed {
        what: what.to_owned(),
        said,
    };
    let work = async {
        let written = async {
            let mut bytes = Vec::new();
            let mut limited = (&mut stdout).take(most.saturating_add(1));
            limited.read_to_end(&mut bytes).await.map(|_| bytes)
        };
        let complaint = async {
            let mut bytes = Vec::new();
            (&mut stderr)
                .take(MAX_COMPLAINT)
                .read_to_end(&mut bytes)
                .await?;
            tokio::io::copy(&mut stderr, &mut sink()).await?;
            Ok(bytes)
        };
        let complaint = async {
            complaint
                .await
                .map_err(|e: std::io::Error| failed(e.to_string()))
        };
        let written = async {
            let bytes = written.await.map_err(|e| failed(e.to_string()))?;
            if to_u64(bytes.len()) > most {
                return Err(failed(format!("it wrote more than {most} bytes")));
            }
            Ok(bytes)
        };
        let (written, complaint) = tokio::try_join!(written, complaint)?;
        let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
        if status.success() {
            return Ok(written);
        }
        Err(failed(error_tail(&complaint)))
    };
    match tokio::time::timeout(time, work).await {
        Ok(ended) => ended,
        Err(_) => Err(failed(format!("no end within {} s", time.as_secs()))),
    }
}

/// Returns the end of a program's error output, on one line.
fn error_tail(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let line: String = lines
        .join("; ")
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let skip = line.chars().count().saturating_sub(MAX_ERROR_CHARS);
    line.chars().skip(skip).collect()
}
