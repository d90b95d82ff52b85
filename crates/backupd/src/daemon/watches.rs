//! Watches on one cluster: each change becomes a wanted run of the components that it concerns.

use std::collections::BTreeSet;
use std::sync::Arc;

use backup_cli::config::Config;
use backup_cli::environment::Environment;
use backup_cli::open::kube_options;
use backup_core::clock::Clock;
use backup_core::id::{ClusterName, ComponentName};
use cluster_client::kube::watch::{Change, WatchListener, WatchOptions, WatchState, watch};
use cluster_client::kube::{KeptObjects, KubeOptions};
use tracing::Instrument as _;

use super::cluster::Inputs;
use super::queue::Queue;
use super::status::{self, StatusBoard, WatchStatus, WatchView};

/// Fixed inputs of the watches.
#[derive(Debug, Clone)]
pub(crate) struct WatchContext {
    pub(crate) name: ClusterName,
    pub(crate) board: Arc<StatusBoard>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) environment: Environment,
    pub(crate) kept: KeptObjects,
}

/// Connection and kinds to watch; `None` for no watches.
type WatchPlan = Option<(KubeOptions, WatchOptions)>;

/// Keeps the watches that the configuration asks for, until the stop.
///
/// Only the daemon that makes runs watches. When it begins to, everything counts as changed.
pub(crate) async fn keep(context: WatchContext, mut inputs: Inputs) {
    let span = tracing::error_span!("watch", cluster = %context.name);
    let stop = inputs.stop.clone();
    let work = async {
        loop {
            let config = Arc::clone(&inputs.config.borrow_and_update());
            let leads = inputs.lead.borrow_and_update().takes_demands();
            let plan = plan(&context, &config).filter(|_| leads);
            context.board(|cluster| cluster.view.watches.clear());
            context.kept.clear();
            let watching = async {
                match &plan {
                    Some((options, wanted)) => {
                        watch(options, wanted, &context.kept, &context).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = watching => {}
                () = changed(&context, &mut inputs, &plan) => {}
            }
        }
    };
    tokio::select! {
        () = work.instrument(span) => {}
        () = stop.cancelled() => {}
    }
}

/// Waits until the plan changes.
async fn changed(context: &WatchContext, inputs: &mut Inputs, plan: &WatchPlan) {
    loop {
        // The senders are dropped at the end, when the stop is cancelled too.
        tokio::select! {
            Ok(()) = inputs.config.changed() => {}
            Ok(()) = inputs.lead.changed() => {}
            else => std::future::pending().await,
        }
        let config = Arc::clone(&inputs.config.borrow_and_update());
        let leads = inputs.lead.borrow_and_update().takes_demands();
        let next = self::plan(context, &config).filter(|_| leads);
        if !same(&next, plan) {
            return;
        }
    }
}

fn same(one: &WatchPlan, other: &WatchPlan) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some((a_options, a)), Some((b_options, b))) => {
            let way = |options: &KubeOptions| {
                let KubeOptions {
                    kubeconfig,
                    context,
                    request_timeout,
                    ..
                } = options;
                (kubeconfig.clone(), context.clone(), *request_timeout)
            };
            a == b && way(a_options) == way(b_options)
        }
        _ => false,
    }
}

fn plan(context: &WatchContext, config: &Config) -> WatchPlan {
    let wanted = config.components.iter();
    let wanted = wanted.filter(|component| component.on_change && !component.paused);
    let components: BTreeSet<ComponentName> = wanted.map(|c| c.name.clone()).collect();
    if components.is_empty() {
        return None;
    }
    let Some(options) = kube_options(config, &context.environment) else {
        tracing::warn!("no way to the Kubernetes API is configured: no change is noticed");
        return None;
    };
    let selection = config.kubernetes.selection.clone();
    let wanted = WatchOptions {
        selection,
        components,
    };
    Some((options, wanted))
}

impl WatchContext {
    fn board(&self, change: impl FnOnce(&mut status::ClusterEntry)) {
        self.board.with(&self.name, change);
    }
}

impl WatchListener for WatchContext {
    fn changed(&self, change: Change) {
        tracing::debug!(what = change.what, "changed");
        self.queue
            .changed(&change.components, &change.what, self.clock.now());
        self.board(|cluster| {
            let changes = &mut cluster.view.totals.changes;
            *changes = changes.saturating_add(1);
        });
    }

    fn state(&self, kind: &str, components: &[ComponentName], state: WatchState) {
        let now = self.clock.now();
        let (state, problem) = match state {
            WatchState::Watching => (WatchStatus::Watching, None),
            WatchState::Broken(problem) => (WatchStatus::Broken, Some(problem)),
            WatchState::Refused(problem) => (WatchStatus::Refused, Some(problem)),
        };
        let mut before = None;
        self.board(|cluster| {
            let watches = &mut cluster.view.watches;
            before = watches.get(kind).map(|watch| watch.state);
            let watch = watches.entry(kind.to_owned()).or_insert_with(|| WatchView {
                components: components.to_vec(),
                state,
                since: now,
                heard: None,
                problem: None,
            });
            if watch.state != state {
                watch.since = now;
            }
            if state == WatchStatus::Watching {
                watch.heard = Some(now);
            }
            watch.state = state;
            watch.problem.clone_from(&problem);
            if state == WatchStatus::Broken && before == Some(WatchStatus::Watching) {
                let breaks = &mut cluster.view.totals.watch_breaks;
                *breaks = breaks.saturating_add(1);
            }
        });
        // Each state is logged once.
        if before == Some(state) {
            return;
        }
        let problem = problem.unwrap_or_default();
        match state {
            WatchStatus::Watching => tracing::info!(kind, "watching"),
            WatchStatus::Broken => tracing::warn!(kind, problem, "the watch broke; trying again"),
            WatchStatus::Refused => tracing::error!(
                kind,
                problem,
                "it cannot be watched; its components go by their cron"
            ),
        }
    }

    fn heard(&self, kind: &str) {
        let now = self.clock.now();
        self.board(|cluster| {
            if let Some(watch) = cluster.view.watches.get_mut(kind) {
                watch.heard = Some(now);
            }
        });
    }

    fn lost(&self, kind: &str) {
        tracing::warn!(
            kind,
            "the watch fell behind (410); all of it is taken again"
        );
        self.board(|cluster| {
            let lost = &mut cluster.view.totals.watches_lost;
            *lost = lost.saturating_add(1);
        });
    }

    fn ended(&self, kind: &str) {
        self.board(|cluster| {
            cluster.view.watches.remove(kind);
        });
    }
}
