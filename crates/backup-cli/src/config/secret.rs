//! Reader for files with secrets: small, text, and not open to others.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use backup_core::text;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::problem::{ConfigError, ConfigValue, Origin, Problem};

/// Largest secret file. A key file is some hundred bytes, an RSA key some thousand; a larger file is the
/// wrong file.
const MAX_BYTES: u64 = 64 << 10;

/// Mode bits that make a file too open. A group may read, because Kubernetes gives a mounted Secret that way
/// to a pod that does not run as root.
const OPEN_TO_OTHERS: u32 = 0o037;

/// Text of a secret file, and whether the file is open to others.
#[derive(Debug)]
pub(super) struct Secret {
    pub(super) text: SecretString,
    /// Description of the excessive access, with the command that fixes it.
    pub(super) exposed: Option<String>,
}

/// Reads the secret file `path`; `what` names its kind, as in `signing key`.
pub(super) fn read(what: &str, path: &ConfigValue<PathBuf>) -> Result<Secret, Problem> {
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

/// Reads the secret file `path`, which must not be open to others.
pub(super) fn read_closed(
    what: &str,
    path: &ConfigValue<PathBuf>,
) -> Result<SecretString, Problem> {
    let secret = read(what, path)?;
    match secret.exposed {
        Some(exposed) => Err(Problem::new(path.origin.clone(), exposed)),
        None => Ok(secret.text),
    }
}

/// Reads a token under the rules of [`read_token`].
pub(super) fn token_of(
    path: &ConfigValue<PathBuf>,
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

/// Reads the token in the file `path`: one line of at least `shortest` characters, not open to others.
///
/// # Errors
/// Fails when the file cannot be read, is open to others, or does not contain a token.
pub fn read_token(path: &Path, shortest: usize) -> Result<SecretString, ConfigError> {
    let path = ConfigValue::new(path.to_owned(), Origin::Flag("--token-file"));
    token_of(&path, shortest)
}

/// Reads the secret text in the file `path`, which `flag` names and which must not be open to others; `what`
/// names its kind, as in `private key`.
///
/// # Errors
/// Fails when the file cannot be read or is open to others.
pub fn read_secret(
    what: &str,
    flag: &'static str,
    path: &Path,
) -> Result<SecretString, ConfigError> {
    let path = ConfigValue::new(path.to_owned(), Origin::Flag(flag));
    Ok(read_closed(what, &path)?)
}
