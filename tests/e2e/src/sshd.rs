//! Git host over ssh: OpenSSH's own `sshd`, with keys of its own, that runs nothing but `git`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use crate::port::Port;
use crate::process::{Process, Program, Signal};
use crate::programs;
use crate::run::Command;

/// Time limit for the start. It is up at once; a busy machine gets more.
const LIMIT: Duration = Duration::from_secs(30);
/// Folder to which `sshd` confines itself before a login, if it runs as root; it does not make the folder.
const LOCKED_IN: &str = "/run/sshd";

/// Running host. It ends when dropped.
#[derive(Debug)]
pub struct SshHost {
    folder: PathBuf,
    user: String,
    port: Port,
    sshd: Process,
}

/// Programs that a [`SshHost`] and its clients need.
pub const NEEDED: [&str; 3] = ["ssh", "ssh-keygen", "sshd"];

impl SshHost {
    /// Starts it with its files in `folder`; no key is admitted yet.
    ///
    /// # Errors
    /// It cannot be started, or does not listen in time.
    pub async fn start(folder: &Path) -> Result<Self> {
        let path = programs::find("sshd").context("this machine has no sshd")?;
        let user = Command::new("id").arg("-un").output().await?;
        let user = user.ended_with(0)?.stdout.trim().to_owned();
        if user == "root" && !Path::new(LOCKED_IN).exists() {
            std::fs::create_dir(LOCKED_IN).with_context(|| format!("making {LOCKED_IN}"))?;
        }
        keygen(&folder.join("host_key"), "").await?;
        let port = Port::reserve()?;
        let config = folder.join("sshd_config");
        let files = folder.display();
        // It offers passwords, so that a client which asks for one is noticed.
        let text = format!(
            "ListenAddress 127.0.0.1\nPort {port}\nHostKey \"{files}/host_key\"\nPidFile none\n\
             AuthorizedKeysFile \"{files}/authorized_keys\"\nStrictModes no\nUsePAM no\nUseDNS no\n\
             PasswordAuthentication yes\nPermitRootLogin yes\nLogLevel VERBOSE\n"
        );
        std::fs::write(&config, text).context("writing the configuration of sshd")?;
        std::fs::write(folder.join("authorized_keys"), "")?;
        let mut sshd = Process::start(&Program {
            name: "sshd",
            path: &path,
            args: ["-D", "-e", "-f", &config.display().to_string()]
                .map(Into::into)
                .into(),
            env: Vec::new(),
            folder,
        })?;
        let number = port.number();
        sshd.ready(LIMIT, || greeted(number)).await?;
        Ok(Self {
            folder: folder.to_owned(),
            user,
            port,
            sshd,
        })
    }

    /// Returns the address of the repository in the folder `bare`.
    #[must_use]
    pub fn url(&self, bare: &Path) -> String {
        let (user, port) = (&self.user, &self.port);
        format!("ssh://{user}@127.0.0.1:{port}{}", bare.display())
    }

    /// Returns its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Admits the owner of the private half of the public key `key` alone; `git` is the only command.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn lets_in(&self, key: &str) -> Result<()> {
        let only = r#"restrict,command="git shell -c \"$SSH_ORIGINAL_COMMAND\"""#;
        let path = self.folder.join("authorized_keys");
        std::fs::write(path, format!("{only} {key}\n")).context("writing who is let in")
    }

    /// Returns the line for a file of known hosts that names `key` as this host's key, in place of its own.
    #[must_use]
    pub fn known_by(&self, key: &str) -> String {
        format!("[127.0.0.1]:{} {key}\n", self.port)
    }

    /// Returns its public key.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn key(&self) -> Result<String> {
        let text = std::fs::read_to_string(self.folder.join("host_key.pub"))?;
        Ok(text.trim().to_owned())
    }

    /// Freezes it: clients are connected, and get no answer.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze(&mut self) -> Result<()> {
        self.sshd.signal(Signal::Stop)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// It has ended.
    pub fn go_on(&mut self) -> Result<()> {
        self.sshd.signal(Signal::Continue)
    }
}

/// Makes a pair of keys, the private half in `path`; returns the public one.
///
/// # Errors
/// `ssh-keygen` failed.
pub async fn keygen(path: &Path, passphrase: &str) -> Result<String> {
    let make = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-C", "", "-N"]);
    let make = make.arg(passphrase).arg("-f").arg(path);
    make.output().await?.ended_with(0)?;
    let public = std::fs::read_to_string(format!("{}.pub", path.display()))?;
    Ok(public.trim().to_owned())
}

async fn greeted(port: u16) -> Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut greeting = [0; 8];
    stream.read_exact(&mut greeting).await?;
    ensure!(&greeting == b"SSH-2.0-", "another greeting");
    Ok(())
}
