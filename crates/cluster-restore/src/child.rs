//! Launcher of other programs. Each program gets the environment variables on its list and nothing else: none
//! gets the store's credentials, or our identities, keys or tokens.
//!
//! This is the only place in the library that starts programs or reads the environment.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

/// Variables that every program gets: the locations of programs, libraries and temporary files.
const ANY: [&str; 3] = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"];

/// Further variables for a `git` that contacts a remote: a person's settings and credential helpers, the ssh
/// agent, certificate authorities, proxies.
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

/// Set of our environment variables that a program gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Environment {
    /// Variables that any program needs.
    Least,
    /// Variables that a `git` needs to contact a remote on behalf of a person.
    Remote,
}

impl Environment {
    fn names(self) -> impl Iterator<Item = &'static str> {
        let more: &[&str] = match self {
            Self::Least => &[],
            Self::Remote => &REMOTE,
        };
        ANY.into_iter().chain(more.iter().copied())
    }
}

/// Returns a command ready to start. It gets no input, and is killed when its handle is dropped.
pub(crate) fn command(program: impl AsRef<OsStr>, gets: Environment) -> Command {
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

/// Reports whether `program` is in one of the folders of `PATH`.
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
        // A variable that is on no list but is set while tests run.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        for gets in [Environment::Least, Environment::Remote] {
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
            assert!(
                !Environment::Remote.names().any(|name| name == secret),
                "{secret}"
            );
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
                    // Tests are at the end of a file.
                    let text = text.split("#[cfg(test)]").next().unwrap();
                    if text.contains("process::Command") && text.contains("Command::new(") {
                        starts.push(path.strip_prefix(crates).unwrap().to_owned());
                    }
                }
            }
        }
        assert_eq!(starts, [Path::new("cluster-restore/src/child.rs")]);
    }
}
