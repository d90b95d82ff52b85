//! When leftovers are looked for and removed: after a run, seldom, and never in a run's way.

use std::sync::Arc;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Pending, Work};
use crate::daemon::apart::apart;
use crate::daemon::leftovers::{self, Looked, Step};

/// How far the sweep is.
pub(super) struct Sweep {
    pub(super) work: Pending<Step>,
    /// Ends a removal at work; `None` while there is none.
    removal: Option<CancellationToken>,
    /// What waits to be removed, as a run is at work.
    looked: Option<Box<Looked>>,
    /// Whether a run was made since the last.
    owed: bool,
    next: Timestamp,
}

impl Sweep {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            work: None,
            removal: None,
            looked: None,
            owed: false,
            next: now,
        }
    }

    /// Notes that there is something to look at.
    pub(super) fn is_owed(&mut self) {
        self.owed = true;
    }

    /// Whether it removes at this moment.
    pub(super) fn removes(&self) -> bool {
        self.removal.is_some()
    }

    /// Tells a removal to stop if so many runs wait; whether they have to wait for that.
    pub(super) fn makes_room(&self, waiting: usize) -> bool {
        if let Some(cancel) = self.removal.as_ref().filter(|_| waiting > 0) {
            cancel.cancel();
        }
        self.removes()
    }
}

impl Work {
    /// Begins what is due of a sweep.
    pub(super) fn begin_sweep(&mut self, now: Timestamp) {
        let wanted = self
            .config
            .leftovers
            .filter(|_| self.lead.borrow().sweeps());
        let Some(wanted) = wanted else {
            self.sweep.looked = None;
            if let Some(cancel) = &self.sweep.removal {
                cancel.cancel();
            }
            return;
        };
        if self.sweep.work.is_some() {
            return;
        }
        if self.run.is_none()
            && let Some(looked) = self.sweep.looked.take()
        {
            let cancel = self.stop.child_token();
            self.sweep.removal = Some(cancel.clone());
            self.sweep.work = Some(apart(leftovers::remove(looked, cancel), leftovers::lost));
        } else if self.sweep.looked.is_none() && self.sweep.owed && now >= self.sweep.next {
            self.sweep.owed = false;
            let (config, clock) = (Arc::clone(&self.config), Arc::clone(&self.ground.clock));
            let environment = self.ground.environment.clone();
            let looks = leftovers::look(config, clock, environment, wanted);
            self.sweep.work = Some(apart(looks, leftovers::lost));
        }
    }

    pub(super) fn swept(&mut self, step: Step) {
        let now = self.ground.clock.now();
        let swept = match step {
            Step::Removable(looked) => {
                self.sweep.looked = Some(looked);
                return;
            }
            Step::Over(swept) => swept,
        };
        self.sweep.removal = None;
        let pause = self.config.leftovers.as_ref().map(leftovers::pause);
        if swept.was_stopped() {
            // What it found is not counted twice: the rest is looked for anew.
            self.sweep.owed = true;
        } else if let Some(pause) = pause {
            self.sweep.next = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        }
        let name = &self.ground.name;
        self.board(|cluster| {
            if let Some(view) = &mut cluster.view.leftovers {
                swept.tell(name, view, now);
            }
        });
    }
}
