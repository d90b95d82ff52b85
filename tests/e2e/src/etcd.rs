//! A real etcd: one member or several, over TLS with client certificates.

mod auth;
mod client;
mod datastore;
mod member;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result};

pub use self::client::{EtcdClient, MAX_TXN_OPS, delete, put};
use self::member::{Member, make_tls};
use crate::Folder;
use crate::folder::make_private;
use crate::pki::{Authority, Files};
use crate::port::Port;
use crate::process::{Process, Signal};
use crate::tools::{self, EtcdLine, Tool};

/// Messages and clients of etcd's API.
#[expect(
    missing_docs,
    reason = "written by the compiler of rpc.proto, where the words are"
)]
pub mod rpc {
    tonic::include_proto!("etcdserverpb");
}

/// Time limit for the start. An etcd with little to read is up in a second; a machine that compiles next to
/// it is slow.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Time limit for the stop. etcd closes its file in order after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(30);
/// Options of an etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether clients use TLS, with certificates required of them; plain HTTP if not.
    pub tls: bool,
    /// Number of members.
    pub members: usize,
    /// Server program: one of those of [`crate::tools::EtcdLine`].
    pub server: Tool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: true,
            members: 1,
            server: Tool::Etcd,
        }
    }
}

/// One member: its process, or the data to start it again. The process ends with this.
#[derive(Debug)]
pub struct Etcd {
    member: Arc<Member>,
    now: Arc<Mutex<Now>>,
}

/// Present state of a member.
#[derive(Debug)]
struct Now {
    process: Option<Process>,
    data_dir: PathBuf,
}

/// Handle to a member for a component that runs it on the owner's behalf, as a Talos node does. It does not
/// keep the process alive.
#[derive(Debug, Clone)]
pub struct Handle {
    member: Arc<Member>,
    now: Weak<Mutex<Now>>,
}

impl Handle {
    /// Returns the member, for as long as an operation on it takes.
    ///
    /// # Errors
    /// Its owner dropped it.
    pub fn get(&self) -> Result<Etcd> {
        let now = self.now.upgrade();
        Ok(Etcd {
            member: Arc::clone(&self.member),
            now: now.with_context(|| format!("{} is gone", self.member.name))?,
        })
    }
}

impl Etcd {
    /// Starts a cluster of one member with TLS; its files go to `folder`/`name`.
    ///
    /// # Errors
    /// etcd cannot be found, built or started.
    pub async fn start(folder: &Folder, name: &str) -> Result<Self> {
        Self::start_line(folder, name, EtcdLine::LAB).await
    }

    /// Starts one as [`Etcd::start`] does, of another minor version.
    ///
    /// # Errors
    /// As [`Etcd::start`].
    pub async fn start_line(folder: &Folder, name: &str, line: EtcdLine) -> Result<Self> {
        let options = Options {
            server: line.etcd,
            ..Options::default()
        };
        let members = Self::start_with(folder, name, options).await?;
        members
            .into_iter()
            .next()
            .context("no member of etcd was started")
    }

    /// Starts a cluster; with several members they are called `NAME-0`, `NAME-1` and so on.
    ///
    /// # Errors
    /// etcd cannot be found, built or started.
    pub async fn start_with(folder: &Folder, name: &str, options: Options) -> Result<Vec<Self>> {
        let program = tools::path(options.server).await?;
        let tls = options.tls.then(|| make_tls(folder, name)).transpose()?;
        let mut members = Vec::with_capacity(options.members);
        for number in 0..options.members {
            let name = match options.members {
                1 => name.to_owned(),
                _ => format!("{name}-{number}"),
            };
            members.push(Member {
                folder: folder.make(&name)?,
                name,
                program: program.clone(),
                client_port: Port::reserve()?,
                peer_port: Port::reserve()?,
                initial_cluster: String::new(),
                tls: tls.clone(),
            });
        }
        let parts: Vec<_> = members.iter().map(Member::as_initial).collect();
        let members = members.into_iter().map(|member| {
            let initial_cluster = parts.join(",");
            Self::of(Member {
                initial_cluster,
                ..member
            })
        });
        let mut members: Vec<_> = members.collect();
        for member in &mut members {
            // Members become ready only together, so all are spawned before one is awaited.
            member.spawn()?;
        }
        for member in &mut members {
            member.ready().await?;
        }
        Ok(members)
    }

    fn of(member: Member) -> Self {
        let data_dir = member.folder.join("var/lib/etcd");
        Self {
            member: Arc::new(member),
            now: Arc::new(Mutex::new(Now {
                process: None,
                data_dir,
            })),
        }
    }

    /// Returns a handle that does not keep its process alive.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            member: Arc::clone(&self.member),
            now: Arc::downgrade(&self.now),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the member's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.member.name
    }

    /// Returns its address for clients, such as `https://127.0.0.1:21379`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.member.endpoint()
    }

    /// Returns its address for peers.
    #[must_use]
    pub fn peer_url(&self) -> String {
        self.member.peer_url()
    }

    /// Returns the value for `--initial-cluster`, all members.
    #[must_use]
    pub fn initial_cluster(&self) -> &str {
        &self.member.initial_cluster
    }

    /// Returns the files of a client that may do everything; `None` without TLS.
    #[must_use]
    pub fn client_files(&self) -> Option<&Files> {
        self.member.tls.as_ref().map(|tls| &tls.client)
    }

    /// Returns the authority of its certificates, to make more clients; `None` without TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&Authority> {
        self.member.tls.as_ref().map(|tls| tls.authority.as_ref())
    }

    /// Returns its data directory: the path that Talos uses, with [`Etcd::folder`] for the root of a node,
    /// unless it was started on another.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.now().data_dir.clone()
    }

    /// Returns the path of the database; it can be read while etcd is stopped.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.data_dir().join("member").join("snap").join("db")
    }

    /// Returns the folder with its data directory and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.member.folder
    }

    /// Connects to it.
    ///
    /// # Errors
    /// Nobody answers.
    pub async fn client(&self) -> Result<EtcdClient> {
        EtcdClient::connect(&self.endpoint(), self.client_files()).await
    }

    /// Reports whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.now().process.is_some()
    }

    /// Stops it in order. Ports and data directory stay reserved for [`Etcd::restart`].
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        let process = self.now().process.take();
        match process {
            Some(process) => process.stop(STOP_WITHIN).await,
            None => Ok(()),
        }
    }

    /// Kills it as a power cut would. Ports and data directory stay reserved.
    pub fn kill(&mut self) {
        let process = self.now().process.take();
        drop(process);
    }

    /// Sends it a signal, such as [`Signal::Stop`] to make it silent.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        let mut now = self.now();
        let process = now.process.as_mut();
        process
            .with_context(|| format!("{} does not run", self.member.name))?
            .signal(signal)
    }

    /// Starts it again on the same ports, with whatever its data directory now holds: after
    /// [`crate::etcdutl::restore`] into [`Etcd::data_dir`] that is the restored state.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.spawn()?;
        self.ready().await
    }

    /// Restarts it as [`Etcd::restart`] does, on another data directory, which it keeps.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn restart_on(&mut self, data_dir: &Path) -> Result<()> {
        self.stop().await?;
        self.now().data_dir = data_dir.to_owned();
        self.restart().await
    }

    /// Removes its data directory; it must be stopped.
    ///
    /// # Errors
    /// It runs, or the folder cannot be removed.
    pub fn wipe(&self) -> Result<()> {
        anyhow::ensure!(
            !self.is_running(),
            "{} runs; stop it before its data goes",
            self.member.name
        );
        let data = self.data_dir();
        if data.exists() {
            std::fs::remove_dir_all(&data)
                .with_context(|| format!("removing {}", data.display()))?;
        }
        Ok(())
    }

    /// Returns the last lines of its log, for errors.
    #[must_use]
    pub fn tail(&self) -> String {
        crate::process::tail(&self.member.folder.join(format!("{}.log", self.member.name)))
    }

    fn spawn(&mut self) -> Result<()> {
        let data_dir = self.data_dir();
        make_private(&data_dir)?;
        let process = self.member.start(&data_dir)?;
        self.now().process = Some(process);
        Ok(())
    }

    async fn ready(&mut self) -> Result<()> {
        let endpoint = self.endpoint();
        let files = self.client_files().cloned();
        let process = self.now().process.take();
        let mut process =
            process.with_context(|| format!("{} was not started", self.member.name))?;
        process
            .ready(READY_WITHIN, async || {
                let client = EtcdClient::connect(&endpoint, files.as_ref()).await?;
                // A linearizable read needs a leader, so the cluster as a whole is up.
                client.get("ready").await?;
                Ok(())
            })
            .await?;
        self.now().process = Some(process);
        Ok(())
    }
}
