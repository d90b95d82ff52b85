//! Reads files with secrets: small, text, and not open to others.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use backup_core::text;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::problem::{ConfigError, Origin, Problem, Sourced};

/// A key file is some hundred bytes, an RSA key some thousand; more is a wrong file.
const MAX_BYTES: u64 = 64 << 10;

/// What others may do with the file, as bits of its mode. A group may read, because that is how
/// Kubernetes gives a mounted Secret to a pod that does not run as root.
const OPEN_TO_OTHERS: u32 = 0o037;

/// The text of a secret file, and whether it is open to others.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) text: SecretString,
    /// What is too open, and the command that mends it.
    pub(super) exposed: Option<String>,
}

/// Reads the secret file `path` of the kind `what`, as in `signing key`.
pub(super) fn read(what: &str, path: &Sourced<PathBuf>) -> Result<Secret, Problem> {
    let file = path.value.display();
    let problem = |message: String| Problem::new(path.origin.clone(), message);
    let unreadable = |e: std::io::Error| problem(format!("cannot read the {what} {file}: {e}"));
    let open = std::fs::File::open(&path.value).map_err(unreadable)?;
    let metadata = open.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(problem(format!("the {what} {file} is not a file")));
    }
    let mode = metadata.permissions().mode();
    let exposed = (mode & OPEN_TO_OTHERS != 0).then(|| {
        let mode = mode & 0o777;
        format!(
            "the {what} {file} is open to other users (mode {mode:04o}); run `chmod 600 {file}`, \
             and make a new one if others could have read it"
        )
    });
    let mut bytes = Zeroizing::new(Vec::new());
    let read = open.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let read = read.map_err(unreadable)?;
    let text = text::decode(&bytes)
        .map_err(|_| problem(format!("the {what} {file} is not a text file")))?;
    let text = SecretString::from(text.as_str());
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(problem(format!(
            "the {what} {file} is above 64 KiB, so it is another file"
        )));
    }
    Ok(Secret { text, exposed })
}

/// The text of the secret file `path`, which must not be open to others.
pub(super) fn read_closed(what: &str, path: &Sourced<PathBuf>) -> Result<SecretString, Problem> {
    let secret = read(what, path)?;
    match secret.exposed {
        Some(exposed) => Err(Problem::new(path.origin.clone(), exposed)),
        None => Ok(secret.text),
    }
}

/// A token, as [`read_token`] wants it.
pub(super) fn token_of(
    path: &Sourced<PathBuf>,
    shortest: usize,
) -> Result<SecretString, ConfigError> {
    let secret = read_closed("token", path)?;
    let wrong = |why: String| ConfigError::from(Problem::new(path.origin.clone(), why));
    let text = secret.expose_secret().trim();
    if text.len() < shortest || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let file = path.value.display();
        return Err(wrong(format!(
            "{file} holds no token: want one line of at least {shortest} characters without \
             spaces, as `openssl rand -hex 32` makes it"
        )));
    }
    Ok(SecretString::from(text.to_owned()))
}

/// The token in the file `path`: one line of at least `shortest` characters, not open to others.
///
/// # Errors
/// When it cannot be read, is open to others, or is none.
pub fn read_token(path: &Path, shortest: usize) -> Result<SecretString, ConfigError> {
    let path = Sourced::new(path.to_owned(), Origin::Flag("--token-file"));
    token_of(&path, shortest)
}

/// The secret text in the file `path`, which `flag` names and nobody else may read; `what` it is, as in
/// `private key`.
///
/// # Errors
/// When it cannot be read, or is open to others.
pub fn read_secret(
    what: &str,
    flag: &'static str,
    path: &Path,
) -> Result<SecretString, ConfigError> {
    let path = Sourced::new(path.to_owned(), Origin::Flag(flag));
    Ok(read_closed(what, &path)?)
}
