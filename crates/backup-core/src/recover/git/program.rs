//! Running `git` and `kubectl`: never through a shell, with a limit on time and output.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, sink};
use tokio::process::Command;

use super::GitError;
use crate::proxy::Proxies;

/// Of what a program complains about, this much is kept.
const MAX_COMPLAINT: u64 = 16 << 10;
/// Of that, this much is told.
const TOLD: usize = 600;

/// A `git` that asks nobody, runs no hooks, follows no links and takes no submodules.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    for setting in [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        // Links would lead out of the folder: they become files with a path in them.
        "core.symlinks=false",
        "core.sshCommand=ssh -o BatchMode=yes",
        "submodule.recurse=false",
        "advice.detachedHead=false",
        "gc.auto=0",
        // Large files stay the pointers that Git has.
        "filter.lfs.smudge=",
        "filter.lfs.process=",
        "filter.lfs.required=false",
    ] {
        command.arg("-c").arg(setting);
    }
    quiet(&mut command);
    command
}

/// `kubectl kustomize` of `folder`.
pub(super) fn kustomize(folder: &Path) -> Command {
    let mut command = Command::new("kubectl");
    command.arg("kustomize").arg(folder);
    quiet(&mut command);
    command
}

/// Has `git` reach `repository` through the one of `proxies` that leads there, or through none.
///
/// # Errors
/// When the variable that names it is not understood.
pub(crate) fn through(
    git: &mut Command,
    proxies: &Proxies,
    repository: &str,
) -> Result<(), GitError> {
    let over_http = repository.starts_with("http://") || repository.starts_with("https://");
    // What git does not understand either, it tells itself.
    let Some(server) = over_http.then(|| repository.parse().ok()).flatten() else {
        return Ok(());
    };
    let proxy = proxies.of(&server)?;
    // It would choose by rules of its own.
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"] {
        git.env_remove(name);
        git.env_remove(name.to_ascii_lowercase());
    }
    if let Some(proxy) = proxy {
        // Not an argument, which every user of the machine can read.
        git.env("http_proxy", proxy.written());
        git.env("https_proxy", proxy.written());
    }
    Ok(())
}

fn quiet(command: &mut Command) {
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", "file:http:https:ssh")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // Whoever called us may work in another repository.
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_NAMESPACE",
        "GIT_CONFIG_PARAMETERS",
        "GIT_CONFIG_COUNT",
        "GIT_EXTERNAL_DIFF",
    ] {
        command.env_remove(name);
    }
}

/// Runs it to its end; what it wrote, if it ended well.
pub(crate) async fn run(
    mut command: Command,
    what: &str,
    limit: Duration,
    most: u64,
) -> Result<Vec<u8>, GitError> {
    let name = command.as_std().get_program().to_string_lossy();
    let program: &'static str = if name == "git" { "git" } else { "kubectl" };
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
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
                return Err(failed(format!("it wrote more than {most} bytes")));
            }
            Ok(bytes)
        };
        let (written, complaint) = tokio::try_join!(written, complaint)?;
        let status = child.wait().await.map_err(|e| failed(e.to_string()))?;
        if status.success() {
            return Ok(written);
        }
        Err(failed(told(&complaint)))
    };
    match tokio::time::timeout(limit, work).await {
        Ok(ended) => ended,
        Err(_) => Err(failed(format!("no end within {} s", limit.as_secs()))),
    }
}

/// The last of what a program complained about, on one line.
fn told(complaint: &[u8]) -> String {
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
    let skip = line.chars().count().saturating_sub(TOLD);
    line.chars().skip(skip).collect()
}
