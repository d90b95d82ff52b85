//! Runner of `git` and `kubectl`: never through a shell, with fixed settings and environment, and
//! with limits on time and output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, sink};
use tokio::process::Command;

use super::GitError;
use crate::child::{self, Environment};
use backup_core::num::to_u64;
use backup_core::proxy::Proxies;

/// Program that builds kustomizations.
pub(super) const KUBECTL: &str = "kubectl";
/// Time limit for a program that does nothing.
const TRY: Duration = Duration::from_secs(10);
/// Largest error output that is kept.
const MAX_COMPLAINT: u64 = 16 << 10;
/// Largest number of its characters that are reported.
const MAX_ERROR_CHARS: usize = 600;

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

/// Way in which a program is kept from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkIsolation {
    /// In its own network without connections, by these arguments of `unshare`.
    Separate(&'static [&'static str]),
    /// Not at all: the system does not support it.
    None,
}

/// Arguments that create a separate network: as any user, and as root where users may not do that.
const WAYS: [&[&str]; 2] = [
    &["--user", "--map-root-user", "--net", "--"],
    &["--net", "--"],
];

/// Returns how this system keeps a program from the network.
pub(super) async fn network_isolation() -> NetworkIsolation {
    for way in WAYS {
        let mut tried = child::command("unshare", Environment::Least);
        tried.args(way).arg("true");
        piped(&mut tried);
        if run(
            tried,
            "try a network that leads nowhere",
            TRY,
            MAX_COMPLAINT,
        )
        .await
        .is_ok()
        {
            return NetworkIsolation::Separate(way);
        }
    }
    NetworkIsolation::None
}

/// Returns `kubectl kustomize` of `folder`; `home` is an empty folder where it looks for settings.
pub(super) fn kustomize(folder: &Path, home: &Path, apart: NetworkIsolation) -> Command {
    let mut command = match apart {
        NetworkIsolation::Separate(way) => {
            let mut command = child::command("unshare", Environment::Least);
            command.args(way).arg(KUBECTL);
            command
        }
        NetworkIsolation::None => child::command(KUBECTL, Environment::Least),
    };
    command.arg("kustomize").arg(folder);
    command.env("HOME", home).env("KUBECONFIG", "/dev/null");
    piped(&mut command);
    command
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

fn piped(command: &mut Command) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// Runs the command to its end; returns its output if it succeeded.
pub(crate) async fn run(
    mut command: Command,
    what: &str,
    limit: Duration,
    most: u64,
) -> Result<Vec<u8>, GitError> {
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
    match tokio::time::timeout(limit, work).await {
        Ok(ended) => ended,
        Err(_) => Err(failed(format!("no end within {} s", limit.as_secs()))),
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
