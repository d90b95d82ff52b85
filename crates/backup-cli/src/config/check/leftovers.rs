//! Checks for the removal of leftovers of runs that died.

use jiff::SignedDuration;

use super::Checker;
use crate::config::raw::RawLeftovers;
use crate::config::{Leftovers, Runs};

/// Longest grace time. A longer wait means that leftovers are to stay.
const LONGEST: SignedDuration = SignedDuration::from_hours(90 * 24);

impl Checker {
    pub(super) fn leftovers(&mut self, raw: RawLeftovers, runs: &Runs) -> Option<Leftovers> {
        let text = self.sourced(raw.grace, "leftovers.grace");
        let origin = text.origin.clone();
        let grace = self.duration_up_to(text, LONGEST)?;
        let shortest = Leftovers::shortest(runs.deadline);
        if grace < shortest {
            let seconds = runs.deadline.as_secs();
            let message = format!(
                "it is less than twice `runs.deadline` ({seconds} s), so what a run at work has put could \
                 be taken for a leftover; want {} s or more, or a shorter `runs.deadline`",
                shortest.as_secs()
            );
            self.wrong(origin, message);
            return None;
        }
        Some(Leftovers { grace })
    }
}
