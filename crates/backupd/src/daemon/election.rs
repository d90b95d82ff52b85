//! Election by a lease, so that one of several daemons makes runs.
//!
//! The store needs no lock, because everything in it is written once. A lease only spares work, so an API
//! server that is away for long must not stop work that does not need it.

use std::sync::Arc;
use std::time::Duration;

use backup_cli::environment::Environment;
use backup_cli::failure::Failure;
use backup_core::clock::Clock;
use backup_core::source::SourceError;
use cluster_client::kube::KubeOptions;
use cluster_client::kube::lease::{LeaseHandle, LeaseOptions, LeaseState};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Options;
use super::isolation::isolate;
use super::lead::Lead;
use super::status::StatusBoard;

/// Duration of a lease without renewal: the longest time without a leader after a death.
const LASTS: Duration = Duration::from_secs(15);
/// Time for which a holder relies on its last renewal; shorter than the others' wait.
const BELIEVED: Duration = Duration::from_secs(10);
/// Interval between two claims.
const EVERY: Duration = Duration::from_secs(2);
/// Time limit for one claim; two claims fit into [`BELIEVED`].
const CLAIM: Duration = Duration::from_secs(4);

/// Namespace and name of a Lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseName {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// One lease and the lead that it decides.
#[derive(Debug)]
pub(crate) struct Election {
    options: LeaseOptions,
    kube: KubeOptions,
    alone_after: Duration,
    clock: Arc<dyn Clock>,
    board: Arc<StatusBoard>,
    lead: watch::Sender<Lead>,
    /// Token that ends the election, when no run is at work any more.
    over: CancellationToken,
}

impl Election {
    /// Returns the election that the flags ask for, if any.
    pub(crate) fn of(
        options: &Options,
        environment: &Environment,
        clock: &Arc<dyn Clock>,
        board: &Arc<StatusBoard>,
        lead: watch::Sender<Lead>,
        over: CancellationToken,
    ) -> Option<Self> {
        let lease = options.lease.as_ref()?;
        let host = environment.host.as_deref().unwrap_or("backupd");
        let name = if options.shard.is_one_of_many() {
            format!("{}-{}", lease.name, options.shard.index())
        } else {
            lease.name.clone()
        };
        let kubeconfig = options.lease_kubeconfig.clone();
        let kubeconfig = kubeconfig.or_else(|| environment.kubeconfig.clone());
        Some(Self {
            options: LeaseOptions {
                namespace: lease.namespace.clone(),
                name,
                holder: format!("{host}-{}", uuid::Uuid::new_v4().simple()),
                lasts: LASTS,
            },
            kube: KubeOptions {
                proxies: environment.proxies.clone(),
                ..KubeOptions::new(kubeconfig, None).within(CLAIM)
            },
            alone_after: options.alone_after,
            clock: Arc::clone(clock),
            board: Arc::clone(board),
            lead,
            over,
        })
    }

    /// Returns the lead before the first claim.
    pub(crate) fn before(&self) -> Lead {
        self.following(None, None)
    }

    fn lease(&self) -> String {
        format!("{}/{}", self.options.namespace, self.options.name)
    }

    fn following(&self, holder: Option<String>, problem: Option<String>) -> Lead {
        Lead::Following {
            lease: self.lease(),
            holder,
            problem,
        }
    }

    /// Claims the lease repeatedly until `over` is cancelled, then releases it.
    pub(crate) async fn hold(self) {
        let mut handle: Option<LeaseHandle> = None;
        let mut renewed: Option<Instant> = None;
        let mut answered = Instant::now();
        loop {
            let began = Instant::now();
            let (kube, options) = (self.kube.clone(), self.options.clone());
            let claim = claim(handle.take(), kube, options, self.clock.now());
            let held;
            // A claim that panics is a failed claim.
            (handle, held) = isolate(claim, |cause| (None, Err(cause))).await;
            match held {
                Ok(LeaseState::Own { transitions }) => {
                    (renewed, answered) = (Some(began), began);
                    self.set(Lead::Leading {
                        lease: self.lease(),
                        holder: self.options.holder.clone(),
                        transitions,
                    });
                }
                Ok(LeaseState::Other { holder }) => {
                    (renewed, answered) = (None, began);
                    self.set(self.following(Some(holder), None));
                }
                Err(problem) => {
                    // The kubeconfig or a token may have been renewed.
                    handle = None;
                    let believed = renewed.is_some_and(|at| at.elapsed() < BELIEVED);
                    if answered.elapsed() >= self.alone_after {
                        let lease = self.lease();
                        self.set(Lead::Alone { lease, problem });
                    } else if !believed {
                        self.set(self.following(None, Some(problem)));
                    }
                }
            }
            // A leader checks again before [`BELIEVED`] has passed.
            let pause = renewed.map_or(EVERY, |at| {
                EVERY
                    .min(BELIEVED.saturating_sub(at.elapsed()))
                    .max(Duration::from_millis(200))
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.over.cancelled() => break,
            }
        }
        if let (Some(handle), Some(_)) = (handle, renewed) {
            let released = tokio::time::timeout(CLAIM, handle.release(self.clock.now())).await;
            if let Ok(Err(error)) = released {
                tracing::warn!(error = line(error), "the lease was not given back");
            }
        }
    }

    fn set(&self, lead: Lead) {
        self.lead.send_if_modified(|old| {
            if *old == lead {
                return false;
            }
            let changed = std::mem::discriminant(old) != std::mem::discriminant(&lead);
            if changed {
                match &lead {
                    Lead::Leading {
                        lease, transitions, ..
                    } => {
                        tracing::info!(lease, transitions, "this daemon leads");
                    }
                    Lead::Following {
                        lease,
                        holder,
                        problem,
                    } => {
                        tracing::warn!(lease, holder, problem, "this daemon does not lead");
                    }
                    Lead::Alone { lease, problem } => {
                        tracing::error!(
                            lease,
                            problem,
                            "the API server is away: etcd snapshots continue"
                        );
                    }
                    Lead::Unelected => {}
                }
            }
            self.board.set_lead(lead.clone());
            *old = lead;
            changed
        });
    }
}

/// Claims the lease once. Returns the handle for the next claim, if there is one.
async fn claim(
    handle: Option<LeaseHandle>,
    kube: KubeOptions,
    options: LeaseOptions,
    now: Timestamp,
) -> (Option<LeaseHandle>, Result<LeaseState, String>) {
    let mut handle = handle;
    let claimed = async {
        let handle = match &mut handle {
            Some(handle) => handle,
            None => handle.insert(LeaseHandle::new(&kube, options).await?),
        };
        handle.claim(now).await
    };
    let held = match tokio::time::timeout(CLAIM, claimed).await {
        Ok(held) => held.map_err(line),
        Err(_) => Err(format!("no answer within {} s", CLAIM.as_secs())),
    };
    (handle, held)
}

fn line(error: SourceError) -> String {
    Failure::from(error).one_line()
}
