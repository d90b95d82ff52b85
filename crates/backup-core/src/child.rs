//! Programs that this one starts: each has an environment with the variables that its list names, and
//! nothing else. The store's credentials, identities, keys and tokens of ours go to none of them.
//!
//! This is the one place of the library that starts programs, and that reads the environment.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// What every program gets: where programs, libraries and temporary files are.
const ANY: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];

/// What a `git` that asks a remote gets as well: a person's settings and credential helpers, the agent
/// of ssh, authorities, proxies.
const REMOTE: [&str; 40] = [
    "HOME",
    "USER",
    "LOGNAME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "GNUPGHOME",
    "KRB5CCNAME",
    "KRB5_CONFIG",
    "SSH_AUTH_SOCK",
    "SSH_ASKPASS",
    "SSH_ASKPASS_REQUIRE",
    "DISPLAY",
    "GIT_ASKPASS",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSH_VARIANT",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "GIT_SSL_CERT",
    "GIT_SSL_KEY",
    "GIT_SSL_NO_VERIFY",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_HTTP_USER_AGENT",
    "GIT_PROXY_SSL_CAINFO",
    "GIT_PROXY_COMMAND",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
];

/// Which variables a program gets of those that this one has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gets {
    /// What any program needs.
    Least,
    /// What a `git` needs that asks a remote for a person.
    Remote,
}

impl Gets {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = match self {
            Self::Least => &[],
            Self::Remote => &REMOTE,
        };
        ANY.into_iter().chain(more.iter().copied())
    }
}

/// A program that is about to be started. It reads nothing, and ends when nobody waits for it.
pub(crate) fn command(program: impl AsRef<OsStr>, gets: Gets) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in gets.names() {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Whether a program is in one of the folders that programs are looked for in.
pub(crate) fn is_there(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&folders).map(|folder: PathBuf| folder.join(program));
    files.any(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[tokio::test]
    async fn a_program_gets_what_its_list_names_and_nothing_else() {
        // What is not on a list, and is there while tests run.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        for gets in [Gets::Least, Gets::Remote] {
            let output = command("env", gets).output().await.unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            let mut names: Vec<&str> = text
                .lines()
                .filter_map(|l| Some(l.split_once('=')?.0))
                .collect();
            names.sort_unstable();
            let there = gets.names().filter(|name| std::env::var_os(name).is_some());
            let mut wanted: Vec<&str> = there.chain(["LC_ALL"]).collect();
            wanted.sort_unstable();
            assert_eq!(names, wanted);
            assert!(names.contains(&"PATH"));
        }
        for secret in [
            "AWS_SECRET_ACCESS_KEY",
            "BUTLER_BACKUP_CONFIG",
            "KUBECONFIG",
            "TALOSCONFIG",
        ] {
            assert!(!Gets::Remote.names().any(|name| name == secret), "{secret}");
        }
    }

    #[test]
    fn nothing_else_starts_a_program() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut starts = Vec::new();
        let mut folders = vec![crates.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let test = path.ends_with("tests") || path.ends_with("target");
                if path.is_dir() && !test {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "rs") {
                    let text = std::fs::read_to_string(&path).unwrap();
                    // Tests stand at the end of a file.
                    let text = text.split("#[cfg(test)]").next().unwrap();
                    if text.contains("process::Command") && text.contains("Command::new(") {
                        starts.push(path.strip_prefix(crates).unwrap().to_owned());
                    }
                }
            }
        }
        assert_eq!(starts, [Path::new("backup-core/src/child.rs")]);
    }
}
