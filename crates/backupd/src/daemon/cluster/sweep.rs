//! Schedule of the sweep for leftovers: after a run, seldom, and never in a run's way.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Pending, Worker};
use crate::daemon::isolation::isolate;
use crate::daemon::leftovers::{self, Removal, SweepStep};

/// Progress of the sweep.
pub(super) struct Sweep {
    pub(super) work: Pending<SweepStep>,
    /// Token that stops a removal at work; `None` while there is none.
    removal: Option<CancellationToken>,
    /// Leftovers that wait to be removed while a run is at work.
    removable: Option<Box<Removal>>,
    /// Whether a run was made since the last sweep.
    owed: bool,
    next: Timestamp,
}

impl Sweep {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            work: None,
            removal: None,
            removable: None,
            owed: false,
            next: now,
        }
    }

    /// Notes that the store should be searched.
    pub(super) fn is_owed(&mut self) {
        self.owed = true;
    }

    /// Reports whether a removal is at work.
    pub(super) fn removes(&self) -> bool {
        self.removal.is_some()
    }

    /// Stops a removal if runs wait; returns whether they have to wait for its end.
    pub(super) fn makes_room(&self, waiting: usize) -> bool {
        if let Some(cancel) = self.removal.as_ref().filter(|_| waiting > 0) {
            cancel.cancel();
        }
        self.removes()
    }
}

impl Worker {
    /// Begins the next step of a sweep if it is due.
    pub(super) fn begin_sweep(&mut self, now: Timestamp) {
        let wanted = self
            .config
            .leftovers
            .filter(|_| self.lead.borrow().sweeps());
        let Some(wanted) = wanted else {
            self.sweep.removable = None;
            if let Some(cancel) = &self.sweep.removal {
                cancel.cancel();
            }
            return;
        };
        if self.sweep.work.is_some() {
            return;
        }
        if self.run.is_none()
            && let Some(removable) = self.sweep.removable.take()
        {
            let cancel = self.stop.child_token();
            self.sweep.removal = Some(cancel.clone());
            self.sweep.work = Some(isolate(
                leftovers::remove(removable, cancel),
                leftovers::failed,
            ));
        } else if self.sweep.removable.is_none() && self.sweep.owed && now >= self.sweep.next {
            self.sweep.owed = false;
            let (config, clock) = (Arc::clone(&self.config), Arc::clone(&self.context.clock));
            let environment = self.context.environment.clone();
            let looks = leftovers::search(config, clock, environment, wanted);
            self.sweep.work = Some(isolate(looks, leftovers::failed));
        }
    }

    pub(super) fn finish_sweep_step(&mut self, step: SweepStep) {
        let now = self.context.clock.now();
        let result = match step {
            SweepStep::Removable(removable) => {
                self.sweep.removable = Some(removable);
                return;
            }
            SweepStep::Over(result) => result,
        };
        self.sweep.removal = None;
        let pause = self.config.leftovers.as_ref().map(leftovers::pause);
        if result.was_stopped() {
            // The findings are not counted twice: a new search finds the rest.
            self.sweep.owed = true;
        } else if let Some(pause) = pause {
            self.sweep.next = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        }
        let name = &self.context.name;
        self.board(|cluster| {
            if let Some(view) = &mut cluster.view.leftovers {
                result.report(name, view, now);
            }
        });
    }
}
