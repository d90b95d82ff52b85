//! Command `backupd keygen`, which makes the two key pairs that a cluster's backup needs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::crypt::{SigningKey, new_identity};
use backup_core::newfile::{NewFile, OverwritePolicy};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

/// Make an encryption pair and a signing pair, and say which half goes where
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Write the key files into this folder, which is created with mode 0700
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
}

/// Created files and public keys. Holds no secret.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KeygenReport {
    identity_file: PathBuf,
    recipient: String,
    signing_key_file: PathBuf,
    signing_public_file: PathBuf,
    signing_public_key: String,
}

pub(crate) fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let made = make(&args.out)?;
    frame.terminal.emit(&made)?;
    frame.terminal.status(
        "Without the identity nobody can ever restore: keep a second copy of it in another place.",
    );
    Ok(Exit::Complete)
}

fn make(folder: &Path) -> Result<KeygenReport, Failure> {
    let (identity, recipient) = new_identity();
    let signing = SigningKey::generate()?;
    let identity_text = SecretString::from(format!(
        "# butler-backup identity: opens restore points, keep it away from the cluster\n\
         # public key: {recipient}\n{}\n",
        identity.expose_secret()
    ));
    let made = KeygenReport {
        identity_file: folder.join("identity.key"),
        recipient: recipient.to_string(),
        signing_key_file: folder.join("signing.key"),
        signing_public_file: folder.join("signing.pub"),
        signing_public_key: signing.public().to_string(),
    };
    let public = SecretString::from(signing.public().to_text());
    let files = [
        (&made.identity_file, &identity_text, 0o600),
        (&made.signing_key_file, &signing.to_text()?, 0o600),
        (&made.signing_public_file, &public, 0o644),
    ];
    for (path, _, _) in files {
        if path.symlink_metadata().is_ok() {
            let refused = format!(
                "{} is there already; a key is never overwritten",
                path.display()
            );
            let failure = Failure::message(Exit::Refused, refused);
            return Err(failure.hint("name another folder with --out, or move the old keys away"));
        }
    }
    create_folder(folder)?;
    for (done, (path, text, mode)) in files.into_iter().enumerate() {
        if let Err(e) = write(path, text, mode) {
            // Half a set of keys is worse than none.
            for (written, _, _) in files.iter().take(done) {
                drop(fs::remove_file(written));
            }
            return Err(e.into());
        }
    }
    Ok(made)
}

fn create_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = fs::DirBuilder::new();
    let created = builder.recursive(true).mode(0o700).create(folder);
    created.with_context(|| format!("create the folder {}", folder.display()))
}

fn write(path: &Path, text: &SecretString, mode: u32) -> anyhow::Result<()> {
    let new = NewFile::create(path, OverwritePolicy::Refuse);
    let new = new.with_context(|| format!("create {}", path.display()))?;
    let written = || -> std::io::Result<()> {
        let mut file = new.file();
        file.write_all(text.expose_secret().as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        new.finish().map(drop)
    };
    written().with_context(|| format!("write {}", path.display()))
}

impl Report for KeygenReport {
    fn page(&self, page: &mut Page) {
        let file = |path: &Path| path.display().to_string();
        page.heading("Opens restore points: for the people who restore, never for the cluster");
        page.fields([
            ("  private", file(&self.identity_file)),
            ("  public", self.recipient.clone()),
            (
                "  goes to",
                "`encryption.recipients` of the configuration, or --recipient".to_owned(),
            ),
        ]);
        page.heading("Signs restore points: for backupd alone");
        page.fields([
            ("  private", file(&self.signing_key_file)),
            (
                "  goes to",
                "`signing.key` of the configuration, or --signing-key".to_owned(),
            ),
            ("  public", file(&self.signing_public_file)),
            ("  key", self.signing_public_key.clone()),
            (
                "  goes to",
                "`reading.trust` where people restore, or restore-cli --trust".to_owned(),
            ),
        ]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};
    use backup_core::crypt::{Identities, PublicKey, Recipient};

    #[test]
    fn keys_are_written_for_their_owner_alone_and_never_over_others() {
        let parent = tempfile::TempDir::new().unwrap();
        let folder = parent.path().join("keys");
        let made = make(&folder).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&made.identity_file), 0o600);
        assert_eq!(mode(&made.signing_key_file), 0o600);

        let text = fs::read_to_string(&made.signing_key_file).unwrap();
        let key = SigningKey::parse("key", &text.into()).unwrap();
        let public = fs::read_to_string(&made.signing_public_file).unwrap();
        assert_eq!(PublicKey::parse(&public).unwrap(), *key.public());
        assert_eq!(key.public().to_string(), made.signing_public_key);
        let text = fs::read_to_string(&made.identity_file).unwrap();
        assert!(text.contains(&made.recipient));
        made.recipient.parse::<Recipient>().unwrap();
        Identities::none().add("identity", &text.into()).unwrap();

        let again = make(&folder).unwrap_err();
        assert_eq!(again.exit(), Exit::Refused);
        fs::remove_file(&made.identity_file).unwrap();
        assert_eq!(make(&folder).unwrap_err().exit(), Exit::Refused);
        assert!(!made.identity_file.exists());
    }

    #[test]
    fn it_says_which_half_goes_where() {
        let made = KeygenReport {
            identity_file: "keys/identity.key".into(),
            recipient: "age1public".to_owned(),
            signing_key_file: "keys/signing.key".into(),
            signing_public_file: "keys/signing.pub".into(),
            signing_public_key: "RWpublic".to_owned(),
        };
        insta::assert_snapshot!(render(&made, Format::Table, None).unwrap());
        insta::assert_snapshot!(render(&made, Format::Json, None).unwrap());
    }
}
