//! ssh for the mirror: the command that `git` runs, and explanations of ssh's errors.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Access;
use crate::git::GitError;

/// Options of ssh: no prompts of any kind, no settings of a person or the machine, and a server that is
/// silent for a minute counts as gone.
const SETTINGS: [&str; 9] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "PreferredAuthentications=publickey",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "ConnectTimeout=20",
    "ServerAliveInterval=15",
    "ServerAliveCountMax=4",
];
/// First bytes of a decoded key in OpenSSH's own format.
const OPENSSH: &[u8] = b"openssh-key-v1\0";
/// Bytes that follow in an unprotected key: the name of its cipher, with the name's length before it.
const UNPROTECTED: &[u8] = b"\0\0\0\x04none";

/// Reason why a file cannot be used with ssh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SshFileError {
    /// The file is not a private key.
    #[error("holds no private key: want one as `ssh-keygen` makes it")]
    NoKey,
    /// The key has a passphrase.
    #[error(
        "is protected by a passphrase, and nobody is there to type it; \
         `ssh-keygen -p -N '' -f FILE` takes it off"
    )]
    Passphrase,
    /// ssh would not read the file's name as one name.
    #[error("has a name that ssh takes apart: it may not hold `\"`, `\\` or `${{`")]
    Name,
}

/// Checks that `text` is a private key that ssh can use without a prompt.
///
/// # Errors
/// When it is not a private key, or has a passphrase.
pub fn check_key(text: &str) -> Result<(), SshFileError> {
    let mut lines = text.lines().map(str::trim);
    let begin = lines.find(|line| line.starts_with("-----BEGIN ") && line.ends_with("-----"));
    let begin = begin.filter(|line| line.ends_with("PRIVATE KEY-----"));
    let begin = begin.ok_or(SshFileError::NoKey)?;
    let body = lines.take_while(|line| !line.starts_with("-----END "));
    let body: Vec<&str> = body.collect();
    let is_open = if begin.contains("OPENSSH") {
        let decoded = STANDARD.decode(body.concat());
        let decoded = decoded.map_err(|_| SshFileError::NoKey)?;
        let rest = decoded.strip_prefix(OPENSSH).ok_or(SshFileError::NoKey)?;
        rest.starts_with(UNPROTECTED)
    } else {
        !begin.contains("ENCRYPTED") && !body.iter().any(|line| line.contains("ENCRYPTED"))
    };
    is_open.then_some(()).ok_or(SshFileError::Passphrase)
}

/// Checks that ssh reads `path` as one name.
///
/// # Errors
/// When ssh would read something else.
pub fn check_path(path: &Path) -> Result<(), SshFileError> {
    let text = path.to_str().ok_or(SshFileError::Name)?;
    let odd = text.contains(['"', '\\']) || text.contains("${") || text.contains(char::is_control);
    (!odd).then_some(()).ok_or(SshFileError::Name)
}

/// Returns the ssh command as `git` wants it, for a shell.
pub(super) fn command(access: &Access) -> String {
    let mut command = "ssh -F /dev/null".to_owned();
    for setting in SETTINGS {
        command.push_str(" -o ");
        command.push_str(setting);
    }
    for (name, path, without) in [
        ("IdentityFile", &access.ssh_key, "none"),
        ("UserKnownHostsFile", &access.known_hosts, "/dev/null"),
    ] {
        let path = path.as_ref().map_or(without.to_owned(), |path| shown(path));
        // ssh removes quotes and expands %; the result is then quoted as one word of the shell.
        let setting = format!("{name}=\"{}\"", path.replace('%', "%%"));
        command.push_str(&format!(" -o '{}'", setting.replace('\'', "'\\''")));
    }
    command
}

/// Explains `error` if ssh refused the connection, and says what to do about it.
pub(super) fn explain(repository: &str, access: &Access, error: GitError) -> GitError {
    let (GitError::Failed { what, said }, Some(host)) = (&error, Host::of(repository)) else {
        return error;
    };
    let key = access.ssh_key.as_deref();
    let key = key.map_or("no key".into(), shown);
    let hosts = access.known_hosts.as_deref();
    let hosts = hosts.map_or("no known hosts".into(), shown);
    let (why, remedy) = if said.contains("Host key verification failed") {
        let why = if said.contains("was revoked") {
            format!("the key that it showed is marked as revoked in {hosts}")
        } else if said.contains("has changed and you have requested") {
            format!("it showed another key than {hosts} has for it, and may be somebody else")
        } else {
            format!("{hosts} has no key for it")
        };
        let scan = host.scan();
        let remedy = format!(
            "ask its operator for the fingerprint of its key; if `{scan} | ssh-keygen -lf -` shows the same, \
             put what `{scan}` writes into that file in place of older lines for this host"
        );
        (why, remedy)
    } else if said.contains("are too open") || said.contains("bad permissions") {
        let why = format!("ssh does not use {key}, which others may read");
        (why, format!("run `chmod 600 {key}`"))
    } else if said.contains("Permission denied (") {
        let user = host.user.as_deref().map_or(String::new(), |user| {
            format!(" for the user `{user}`, which its address names")
        });
        let remedy = format!(
            "give the public key that `ssh-keygen -y -f {key}` writes the right to push there, as \
             a deploy key"
        );
        (format!("it does not take {key}{user}"), remedy)
    } else {
        return error;
    };
    let host = host.shown();
    GitError::Ssh {
        what: what.clone(),
        host,
        why,
        remedy,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Host in an address of ssh.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    user: Option<String>,
    name: String,
    port: Option<String>,
}

impl Host {
    /// Parses `ssh://USER@HOST:PORT/PATH` or `USER@HOST:PATH`; returns `None` for any other address.
    fn of(repository: &str) -> Option<Self> {
        let (place, port) = match repository.split_once("://") {
            Some(("ssh", rest)) => {
                let place = rest.split('/').next()?;
                match place.rsplit_once(':') {
                    // The last part may belong to an IPv6 address.
                    Some((place, port)) if !port.contains(']') => (place, Some(port.to_owned())),
                    _ => (place, None),
                }
            }
            Some(_) => return None,
            None if repository.contains("[") => (repository.split_inclusive(']').next()?, None),
            None => (repository.split_once(':')?.0, None),
        };
        let (user, name) = match place.rsplit_once('@') {
            Some((user, name)) => (Some(user.to_owned()), name),
            None => (None, place),
        };
        let name = name
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        (!name.contains('/') && !name.is_empty()).then_some(Self { user, name, port })
    }

    fn shown(&self) -> String {
        match &self.port {
            Some(port) => format!("{} (port {port})", self.name),
            None => self.name.clone(),
        }
    }

    /// Returns the command that shows the host's keys.
    fn scan(&self) -> String {
        match &self.port {
            Some(port) => format!("ssh-keyscan -p {port} {}", self.name),
            None => format!("ssh-keyscan {}", self.name),
        }
    }
}

#[cfg(test)]
#[path = "ssh/tests.rs"]
mod tests;
