//! Daemon that backs up the configured clusters when they are due and reports their state.
//!
//! This is the only place that starts tasks: two for each cluster (its runs, its watches), one for HTTP, one
//! for health, one for the lease. The tasks share the board, which holds all known state, and end by one
//! token.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use backup_cli::config::{Config, Encryption};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::id::ClusterName;
use cluster_client::kube::{KeptObjects, ObjectCache};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::cluster::{ClusterContext, Inputs};
use self::election::{Election, LeaseName};
use self::files::{ConfigFiles, LoadedFiles};
use self::http::Api;
use self::http::access::{AccessRules, Token};
use self::http::host::HostNames;
use self::http::listener::{Limits, serve};
use self::lead::Lead;
use self::queue::Queue;
use self::shard::Shard;
use self::status::StatusBoard;
use crate::run_builder::UNENCRYPTED;
use crate::tls;

pub(crate) mod cluster;
pub(crate) mod election;
mod files;
mod http;
pub(crate) mod isolation;
pub(crate) mod lead;
mod leftovers;
pub(crate) mod metrics;
mod mirror;
pub(crate) mod queue;
pub(crate) mod run_handle;
mod runner;
pub(crate) mod shard;
pub(crate) mod status;
mod store_view;
mod timetable;
mod watch_health;
mod watches;

/// Interval at which the files are checked, and the longest time until a changed clock is noticed.
const SLICE: Duration = Duration::from_secs(5);

/// Send buffer of the system for a client that does not read; the system's default grows to megabytes.
const SEND_BUFFER: u32 = 64 << 10;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Options of the daemon.
#[derive(Debug)]
pub(crate) struct Options {
    /// File with the configuration of a cluster, or folder with a file for each.
    pub(crate) config: PathBuf,
    /// Address of the API, metrics and pages.
    pub(crate) listen: SocketAddr,
    /// Address of the probes.
    pub(crate) health_listen: SocketAddr,
    /// Names that requests may be for.
    pub(crate) names: Vec<String>,
    /// File with the token of the API.
    pub(crate) token_file: Option<PathBuf>,
    /// Whether reads need no token and no certificate.
    pub(crate) open_reads: bool,
    /// Files for HTTPS.
    pub(crate) tls: Option<tls::TlsFiles>,
    /// Time that a run may continue after the stop.
    pub(crate) grace: Duration,
    /// Shard whose clusters are run.
    pub(crate) shard: Shard,
    /// Lease without which no run is made; `None` for no election.
    pub(crate) lease: Option<LeaseName>,
    /// Kubeconfig of the API server of the Lease.
    pub(crate) lease_kubeconfig: Option<PathBuf>,
    /// Time without an answer of that API server after which etcd is backed up without the Lease.
    pub(crate) alone_after: Duration,
}

/// Task of a cluster.
struct ClusterTask {
    task: Id,
    config: watch::Sender<Arc<Config>>,
    stop: CancellationToken,
}

struct Daemon<'a> {
    options: Options,
    frame: &'a Frame,
    board: Arc<StatusBoard>,
    lead: watch::Receiver<Lead>,
    seed: u64,
    stop: CancellationToken,
    tasks: JoinSet<()>,
    clusters: BTreeMap<ClusterName, ClusterTask>,
    elector: Option<Id>,
}

/// Runs until the frame is cancelled.
pub(crate) async fn run(options: Options, frame: &Frame) -> Result<Exit, Failure> {
    let mut files = ConfigFiles::new(options.config.clone(), options.shard);
    let loaded = files.load(frame.clock.now())?;
    let broken = loaded.files.iter().filter_map(|file| file.error.as_deref());
    let broken: Vec<&str> = broken.collect();
    if !broken.is_empty() && broken.len() == loaded.files.len() {
        return Err(Failure::message(Exit::Usage, broken.join("\n")));
    }
    let token = options.token_file.as_deref().map(Token::read).transpose()?;
    let tls = options
        .tls
        .clone()
        .map(tls::Listener::read)
        .transpose()?
        .map(Arc::new);
    let (listener, listens) = listen(options.listen)?;
    let (probed, health) = listen(options.health_listen)?;
    let mut hangups = signal(SignalKind::hangup()).context("listen for SIGHUP")?;

    let board = StatusBoard::new(frame.clock.now(), options.shard);
    let stop = CancellationToken::new();
    let (leads, lead) = watch::channel(Lead::Unelected);
    let over = CancellationToken::new();
    let (environment, clock) = (&frame.environment, &frame.clock);
    let election = Election::of(
        &options,
        environment,
        clock,
        &board,
        leads.clone(),
        over.clone(),
    );
    if let Some(election) = &election {
        leads.send_replace(election.before());
        board.set_lead(election.before());
    }
    let mut daemon = Daemon {
        options,
        frame,
        board: Arc::clone(&board),
        lead: lead.clone(),
        seed: rand::random(),
        stop: stop.clone(),
        tasks: JoinSet::new(),
        clusters: BTreeMap::new(),
        elector: None,
    };
    let access = AccessRules {
        token,
        certificates: tls.as_ref().is_some_and(|tls| tls.knows_clients()),
        open_reads: daemon.options.open_reads,
    };
    let names = HostNames {
        given: daemon
            .options
            .names
            .iter()
            .cloned()
            .chain(frame.environment.host.clone())
            .collect(),
        tls: tls.clone(),
    };
    let clock = Arc::clone(&frame.clock);
    let environment = frame.environment.clone();
    let allowed = (access, names);
    let api = Api::new(board, clock, lead, allowed, stop.clone(), environment);
    let api = Arc::new(api);
    if let Some(election) = election {
        daemon.elector = Some(daemon.tasks.spawn(election.hold()).id());
    }
    let (pages, probes) = (http::api_routes(&api), http::health_routes(&api));
    daemon
        .tasks
        .spawn(serve(listener, tls, pages, Limits::API, over.clone()));
    daemon
        .tasks
        .spawn(serve(probed, None, probes, Limits::HEALTH, over.clone()));
    daemon.configure(loaded);
    tracing::info!(%listens, %health, clusters = daemon.clusters.len(), shard = %daemon.options.shard, "backupd runs");

    let ended = daemon.watch(&mut files, &mut hangups).await;
    stop.cancel();
    tracing::info!("stopping");
    if daemon.clusters.is_empty() {
        over.cancel();
    }
    while let Some(joined) = daemon.tasks.join_next_with_id().await {
        let (task, ()) = joined.map_err(panic_failure)?;
        daemon.clusters.retain(|_, cluster| cluster.task != task);
        if daemon.clusters.is_empty() {
            // The election ends only now, because a run at work is made under the lease.
            over.cancel();
        }
    }
    ended
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Failure> {
    let bound = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = bound().with_context(|| format!("listen on {address}"))?;
    let listens = listener.local_addr().context("ask where it listens")?;
    Ok((listener, listens))
}

fn panic_failure(error: JoinError) -> Failure {
    Failure::from(
        anyhow::Error::new(error).context("a part of the daemon failed; please report this"),
    )
}

impl Daemon<'_> {
    /// Keeps the tasks in step with the configuration, until the end.
    async fn watch(
        &mut self,
        files: &mut ConfigFiles,
        hangups: &mut Signal,
    ) -> Result<Exit, Failure> {
        loop {
            tokio::select! {
                () = self.frame.cancel.cancelled() => return Ok(Exit::Complete),
                Some(joined) = self.tasks.join_next_with_id() => match joined {
                    Err(error) => return Err(panic_failure(error)),
                    Ok((task, ())) => self.clusters.retain(|_, cluster| cluster.task != task),
                },
                _ = hangups.recv() => self.load(files),
                () = tokio::time::sleep(SLICE) => {
                    if files.changed() {
                        self.load(files);
                    }
                }
            }
        }
    }

    fn load(&mut self, files: &mut ConfigFiles) {
        tracing::info!("reading the configuration again");
        match files.load(self.frame.clock.now()) {
            Ok(loaded) => self.configure(loaded),
            Err(error) => {
                tracing::error!(%error, "the configuration cannot be read; the last one stays in force");
                self.board.broken(&self.options.config, &error.to_string());
            }
        }
    }

    /// Starts, reconfigures and ends the tasks of clusters as the configuration says.
    fn configure(&mut self, loaded: LoadedFiles) {
        for file in &loaded.files {
            if let Some(error) = &file.error {
                let file = file.path.display();
                tracing::error!(%file, error, "a file cannot be used; what it said before stays in force");
            }
        }
        self.board.set_files(loaded.files);
        for (name, cluster) in &self.clusters {
            if !loaded.clusters.contains_key(name) && !cluster.stop.is_cancelled() {
                tracing::warn!(cluster = %name, "it is not configured any more");
                cluster.stop.cancel();
                self.board.remove(name);
            }
        }
        for (name, config) in loaded.clusters {
            match self
                .clusters
                .get(&name)
                .filter(|cluster| !cluster.stop.is_cancelled())
            {
                // The task exists as long as the cluster is in the list.
                Some(cluster) => drop(cluster.config.send(config)),
                None => self.start(name, config),
            }
        }
    }

    fn start(&mut self, name: ClusterName, config: Arc<Config>) {
        if config.encryption == Some(Encryption::None) {
            tracing::warn!(cluster = %name, "{UNENCRYPTED}");
        }
        let queue = Arc::new(Queue::default());
        self.board
            .add(name.clone(), Arc::clone(&queue), Arc::clone(&config));
        let kept = KeptObjects::from(ObjectCache::new(self.frame.environment.temp.clone()));
        let stop = self.stop.child_token();
        let (sender, receiver) = watch::channel(config);
        let context = ClusterContext {
            name: name.clone(),
            board: Arc::clone(&self.board),
            queue,
            clock: Arc::clone(&self.frame.clock),
            environment: self.frame.environment.clone(),
            kept: kept.clone(),
            seed: self.seed,
            slice: SLICE,
            grace: self.options.grace,
        };
        let watches = watches::WatchContext {
            name: name.clone(),
            board: Arc::clone(&self.board),
            queue: Arc::clone(&context.queue),
            clock: Arc::clone(&self.frame.clock),
            environment: self.frame.environment.clone(),
            kept,
        };
        let inputs = Inputs {
            config: receiver,
            lead: self.lead.clone(),
            stop: stop.clone(),
        };
        let (watched, ends) = (inputs.clone(), stop.clone());
        self.tasks.spawn(isolation::repeat(
            "watching a cluster",
            isolation::PAUSE,
            ends,
            move || watches::keep(watches.clone(), watched.clone()),
        ));
        let ends = stop.clone();
        let work = isolation::repeat("the work on a cluster", isolation::PAUSE, ends, move || {
            cluster::run_worker(context.clone(), inputs.clone())
        });
        let task = self.tasks.spawn(work).id();
        let cluster = ClusterTask {
            task,
            config: sender,
            stop,
        };
        self.clusters.insert(name, cluster);
    }
}
