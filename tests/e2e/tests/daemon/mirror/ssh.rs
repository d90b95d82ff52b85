//! Tests over ssh to a real `sshd`, with the key and the known hosts of the configuration, and without any
//! prompt.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::folder::set_mode;
use e2e::git::bare;
use e2e::programs;
use e2e::sshd::{self, SshHost, keygen};
use serde_json::json;

use super::super::running::configure;
use super::{Cluster, Daemon, TEAM, cause, commits, mirrored, show};

/// Folder name that a shell and ssh would both split.
const FOLDER: &str = "it's 100% ours";
/// Time limit. A host that does not answer is given up after 20 s.
const SILENT: Duration = Duration::from_secs(60);

/// Credentials, and what can be wrong with them.
struct Access {
    key: PathBuf,
    public: String,
    hosts: PathBuf,
    trap: PathBuf,
}

impl Access {
    async fn make(cluster: &Cluster) -> Result<Self> {
        let folder = cluster.site.folder.join(FOLDER);
        std::fs::create_dir(&folder)?;
        let (key, trap) = (folder.join("key"), folder.join("trap"));
        // A program that asks through it leaves a trace, and waits without end.
        let asks = "#!/bin/sh\necho \"$*\" >>\"$0.sprung\"\nexec sleep 3600\n";
        std::fs::write(&trap, asks)?;
        set_mode(&trap, 0o700)?;
        Ok(Self {
            public: keygen(&key, "").await?,
            hosts: folder.join("known_hosts"),
            key,
            trap,
        })
    }

    async fn daemon(&self, cluster: &Cluster, url: &str) -> Result<Daemon> {
        let lets_in =
            format!("  ssh-key: \"{FOLDER}/key\"\n  known-hosts: \"{FOLDER}/known_hosts\"\n");
        configure(&cluster.site, &cluster.config(url, &lets_in))?;
        let mut command = cluster.site.backupd("run");
        for name in ["SSH_ASKPASS", "GIT_ASKPASS"] {
            command = command.env(name, &self.trap);
        }
        let command = command
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("DISPLAY", ":0");
        Daemon::start_with(command).await
    }

    /// Takes a restore point, and checks that it is committed but not mirrored, and that the problem contains
    /// `told`.
    async fn refused(&self, cluster: &Cluster, daemon: &Daemon, told: &[&str]) -> Result<()> {
        cluster.rename("payments", &told.concat()).await?;
        let (id, mirror) = mirrored(daemon).await?;
        let cause = cause(&mirror)?;
        for told in told {
            ensure!(cause.contains(told), "{told} is not in: {cause}");
        }
        ensure!(!cause.contains('\n'), "{cause}");
        let list = cluster.site.restore_cli("list").ended_with(0).await?;
        ensure!(
            list.stdout.contains(&id),
            "{id} is not in:\n{}",
            list.stdout
        );
        Ok(())
    }
}

/// Starts the host, its repository, and a daemon that mirrors to it; `None` if the programs are missing.
async fn ground() -> Result<Option<(Cluster, Access, SshHost, PathBuf, Daemon)>> {
    if !programs::are_there(&sshd::NEEDED)? {
        return Ok(None);
    }
    let cluster = Cluster::with_teams().await?;
    let access = Access::make(&cluster).await?;
    let folder = cluster.folder.make("git")?;
    let host = SshHost::start(&folder).await?;
    let bare = bare(&folder, "fleet.git").await?;
    host.lets_in(&access.public)?;
    std::fs::write(&access.hosts, host.known_by(&host.key()?))?;
    let daemon = access.daemon(&cluster, &host.url(&bare)).await?;
    let first = daemon
        .until("a first commit", |c| c["mirror"]["commits"] == 1)
        .await?;
    ensure!(first["mirror"]["problem"].is_null(), "{first:#}");
    ensure!(first["mirror"]["unpushed"] == 0, "{first:#}");
    ensure!(commits(&bare).await? == 1, "not pushed");
    Ok(Some((cluster, access, host, bare, daemon)))
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_over_ssh_is_told_what_to_do() -> Result<()> {
    let Some((cluster, access, host, bare, daemon)) = Box::pin(ground()).await? else {
        return Ok(());
    };
    let there = format!("127.0.0.1 (port {})", host.port());
    let scan = format!("`ssh-keyscan -p {} 127.0.0.1", host.port());
    let (key, hosts) = (access.key.display(), access.hosts.display());

    // The key is not accepted. A password would be, and nobody is asked for one.
    host.lets_in("")?;
    let remedy = format!("`ssh-keygen -y -f {key}`");
    let told = [&there, "does not take", &remedy];
    access.refused(&cluster, &daemon, &told).await?;
    host.lets_in(&access.public)?;

    // The host is another one, or an unknown one.
    let other = keygen(&access.key.with_file_name("other"), "").await?;
    std::fs::write(&access.hosts, host.known_by(&other))?;
    let why = format!("another key than {hosts}");
    access
        .refused(&cluster, &daemon, &[&there, &why, &scan])
        .await?;
    std::fs::write(&access.hosts, "")?;
    let why = format!("{hosts} has no key for it");
    access
        .refused(&cluster, &daemon, &[&there, &why, &scan])
        .await?;
    std::fs::remove_file(&access.hosts)?;
    let why = format!("cannot read the known hosts {hosts}");
    access.refused(&cluster, &daemon, &[&why]).await?;
    std::fs::write(&access.hosts, host.known_by(&host.key()?))?;

    // Others may read the key; then only its group, which only ssh refuses.
    set_mode(&access.key, 0o644)?;
    let remedy = format!("`chmod 600 {key}`");
    access
        .refused(&cluster, &daemon, &["(mode 0644)", &remedy])
        .await?;
    set_mode(&access.key, 0o640)?;
    access
        .refused(&cluster, &daemon, &[&there, &remedy])
        .await?;
    set_mode(&access.key, 0o600)?;

    // Nobody is there to type a passphrase.
    let (kept, protected) = (
        std::fs::read(&access.key)?,
        access.key.with_file_name("protected"),
    );
    keygen(&protected, "canary-of-a-passphrase").await?;
    std::fs::write(&access.key, std::fs::read(&protected)?)?;
    let told = ["passphrase", "`ssh-keygen -p"];
    access.refused(&cluster, &daemon, &told).await?;
    std::fs::write(&access.key, &kept)?;

    // With everything right, the host gets the missed commits.
    cluster.rename("payments", "At last").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert_eq!(mirror["unpushed"], json!(0), "{mirror:#}");
    let team = show(&bare, &format!("main:{TEAM}/payments.yaml")).await?;
    assert!(team.contains("At last"), "{team}");
    let told = daemon.cluster().await?;
    assert_eq!(told["totals"]["failed"], 0, "{told:#}");
    let asked = std::fs::read_to_string(format!("{}.sprung", access.trap.display()));
    assert!(asked.is_err(), "somebody was asked: {asked:?}");
    let output = daemon.stop().await?.ended_with(0)?;
    for canary in ["canary", "PRIVATE KEY"] {
        assert!(!output.stderr.contains(canary), "{canary} is in the log");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_says_nothing_over_ssh_holds_nothing_up() -> Result<()> {
    let Some((cluster, access, mut host, bare, daemon)) = Box::pin(ground()).await? else {
        return Ok(());
    };
    host.freeze()?;
    let since = Instant::now();
    access.refused(&cluster, &daemon, &["timed out"]).await?;
    assert!(since.elapsed() < SILENT, "{:?}", since.elapsed());
    host.go_on()?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert_eq!(commits(&bare).await?, 2);
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
