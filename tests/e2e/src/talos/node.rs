//! Node of the stand-in: its properties, its state, and its faults.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail};
use jiff::SignedDuration;
use tokio::task::JoinSet;

use super::backend::Etcd;
use super::fault::Faults;
use super::machine_config;
use super::recover::Host;
use super::roles::TalosVersion;

/// Properties of a node.
pub struct NodeSpec {
    /// Address that `node` names, and that talosconfigs carry.
    pub address: String,
    /// Host name, which `node` may name as well.
    pub hostname: String,
    /// Whether it is a control plane node; a worker if not.
    pub control_plane: bool,
    /// Version of Talos.
    pub version: TalosVersion,
    /// Member of etcd that runs on it, if any, and again once it has joined after a reset.
    pub etcd: Option<Arc<dyn Etcd>>,
    /// Machine configuration, if it has one.
    pub machine_config: Option<String>,
    /// Folder that stands for its file system.
    pub root: Option<PathBuf>,
    /// Host that restores, starts and stops etcd on it; without it, Bootstrap fails.
    pub host: Option<Arc<dyn Host>>,
    /// Names and addresses in its server certificate besides its own and 127.0.0.1.
    pub extra_names: Vec<String>,
    /// Expiry of its server certificate, relative to the start.
    pub server_valid_for: SignedDuration,
}

impl NodeSpec {
    /// Makes a control plane node of the newest version with `etcd` running on it.
    #[must_use]
    pub fn control_plane(address: &str, hostname: &str, etcd: Arc<dyn Etcd>) -> Self {
        Self {
            etcd: Some(etcd),
            ..Self::empty(address, hostname)
        }
    }

    /// Makes a control plane node of the newest version that waits to be bootstrapped.
    #[must_use]
    pub fn empty(address: &str, hostname: &str) -> Self {
        Self {
            address: address.to_owned(),
            hostname: hostname.to_owned(),
            control_plane: true,
            version: TalosVersion::NEWEST,
            etcd: None,
            machine_config: Some(machine_config::of(hostname, true, TalosVersion::NEWEST)),
            root: None,
            host: None,
            extra_names: Vec::new(),
            server_valid_for: SignedDuration::from_hours(24),
        }
    }

    /// Makes a worker node.
    #[must_use]
    pub fn worker(address: &str, hostname: &str) -> Self {
        Self {
            control_plane: false,
            machine_config: Some(machine_config::of(hostname, false, TalosVersion::NEWEST)),
            ..Self::empty(address, hostname)
        }
    }
}

/// State of a service, as a word on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// Waits to join a cluster or to be bootstrapped.
    Preparing,
    /// Was stopped.
    Finished,
    /// Runs; healthy if its first check has passed.
    Running,
    /// Has given up.
    Failed,
}

impl ServiceState {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Preparing => "Preparing",
            Self::Finished => "Finished",
            Self::Running => "Running",
            Self::Failed => "Failed",
        }
    }
}

/// Etcd service of a node.
pub(super) struct EtcdService {
    pub(super) state: ServiceState,
    pub(super) healthy: bool,
    /// Whether it was checked since it started.
    pub(super) checked: bool,
    /// States and texts, oldest first, at most 64.
    pub(super) events: Vec<(ServiceState, String)>,
    pub(super) etcd: Option<Arc<dyn Etcd>>,
}

impl EtcdService {
    pub(super) fn turn(&mut self, state: ServiceState, text: impl Into<String>) {
        /// Number of events that the real server keeps.
        const KEPT: usize = 64;
        self.state = state;
        self.healthy = false;
        self.checked = false;
        self.events.push((state, text.into()));
        if self.events.len() > KEPT {
            self.events.remove(0);
        }
    }

    pub(super) fn run(&mut self, etcd: Arc<dyn Etcd>) {
        self.etcd = Some(etcd);
        self.turn(ServiceState::Running, "Started task etcd");
        self.check();
    }

    /// Passes its first health check, if it still runs.
    pub(super) fn check(&mut self) {
        if self.state == ServiceState::Running {
            self.turn(ServiceState::Running, "Health check successful");
            self.healthy = true;
            self.checked = true;
        }
    }
}

/// Running node.
pub struct Node {
    pub(super) spec: NodeSpec,
    pub(super) service: Mutex<EtcdService>,
    faults: Mutex<Faults>,
    pub(super) shut: Arc<AtomicBool>,
    pub(super) frozen: Arc<AtomicBool>,
    pub(super) pings: Arc<AtomicU64>,
    /// Services that were restarted through the API, in order.
    pub(super) restarted: Mutex<Vec<String>>,
    /// Bootstraps at work, so that they end with the stand-in.
    tasks: Mutex<JoinSet<()>>,
}

impl Node {
    pub(super) fn new(spec: NodeSpec) -> Self {
        let (state, text) = if spec.etcd.is_some() {
            (ServiceState::Running, "Health check successful")
        } else {
            (ServiceState::Preparing, "Running pre state")
        };
        Self {
            service: Mutex::new(EtcdService {
                state,
                healthy: spec.etcd.is_some(),
                checked: spec.etcd.is_some(),
                events: vec![(state, text.to_owned())],
                etcd: spec.etcd.clone(),
            }),
            spec,
            faults: Mutex::default(),
            shut: Arc::default(),
            frozen: Arc::default(),
            pings: Arc::default(),
            restarted: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Returns the address that `node` names.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.spec.address
    }

    /// Turns switches; they hold until they are turned again.
    pub fn fault(&self, turn: impl FnOnce(&mut Faults)) {
        let mut faults = self.lock_faults();
        turn(&mut faults);
        self.shut.store(faults.unreachable, Ordering::SeqCst);
        self.frozen.store(faults.frozen, Ordering::SeqCst);
    }

    /// Turns all switches off.
    pub fn heal(&self) {
        self.fault(|faults| *faults = Faults::default());
    }

    pub(super) fn faults(&self) -> Faults {
        self.lock_faults().clone()
    }

    pub(super) fn lock_faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lock_service(&self) -> MutexGuard<'_, EtcdService> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the state of the etcd service and the text of its last event.
    #[must_use]
    pub fn etcd_state(&self) -> (ServiceState, bool, String) {
        let service = self.lock_service();
        let text = service.events.last().map(|(_, text)| text.clone());
        (service.state, service.healthy, text.unwrap_or_default())
    }

    /// Puts the etcd service into this state, as if it had reached it on its own.
    pub fn etcd_turns(&self, state: ServiceState, text: &str, etcd: Option<Arc<dyn Etcd>>) {
        let mut service = self.lock_service();
        service.turn(state, text);
        service.healthy = etcd.is_some();
        service.checked = etcd.is_some();
        service.etcd = etcd;
    }

    /// Returns the services that were restarted through the API, in order.
    #[must_use]
    pub fn restarted(&self) -> Vec<String> {
        let restarted = self.restarted.lock();
        restarted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends etcd on it and empties its disk, as a reset of its partition `EPHEMERAL` does; it then
    /// waits to join or to be bootstrapped.
    pub(super) async fn reset(&self) -> Result<()> {
        let bootstraps = std::mem::take(&mut *self.lock_tasks());
        drop(bootstraps);
        let Some(host) = &self.spec.host else {
            bail!("nothing runs etcd on {}", self.spec.hostname);
        };
        host.stop().await?;
        if let Some(var_lib) = self.var_lib() {
            let emptied =
                std::fs::remove_dir_all(&var_lib).and_then(|()| std::fs::create_dir_all(&var_lib));
            emptied.with_context(|| format!("emptying {}", var_lib.display()))?;
        }
        let mut service = self.lock_service();
        service.etcd = None;
        service.turn(ServiceState::Preparing, "Running pre state");
        Ok(())
    }

    /// Joins the cluster that was bootstrapped elsewhere, if it waits for one and has a member.
    pub(super) fn join(&self) {
        let mut service = self.lock_service();
        if let (ServiceState::Preparing, Some(etcd)) = (service.state, &self.spec.etcd) {
            let data = self.var_lib().map(|var_lib| var_lib.join("etcd/member"));
            match data.map(std::fs::create_dir_all).transpose() {
                Ok(_) => service.run(Arc::clone(etcd)),
                Err(error) => service.turn(ServiceState::Failed, format!("joining: {error}")),
            }
        }
    }

    pub(super) fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the folder that stands for `/var/lib` on this node.
    #[must_use]
    pub fn var_lib(&self) -> Option<PathBuf> {
        self.spec.root.as_ref().map(|root| root.join("var/lib"))
    }
}
