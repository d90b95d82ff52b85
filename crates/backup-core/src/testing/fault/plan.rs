//! Plan of the calls that fail, and counts of all calls.

use super::Fault;
use crate::num::to_u64;

/// Kind of call to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StoreCall {
    /// [`Store::create`](crate::store::Store::create)
    Create,
    /// [`Store::get`](crate::store::Store::get)
    Get,
    /// [`Store::get_range`](crate::store::Store::get_range)
    GetRange,
    /// [`Store::head`](crate::store::Store::head)
    Head,
    /// [`Store::list`](crate::store::Store::list)
    List,
    /// [`Store::delete`](crate::store::Store::delete)
    Delete,
    /// [`Store::probe`](crate::store::Store::probe)
    Probe,
}

/// Selection of the calls that a fault applies to; every call by default.
#[derive(Debug, Clone)]
pub struct CallFilter {
    call: Option<StoreCall>,
    prefix: String,
    /// Number of matching calls that succeed first.
    spared: u64,
    /// Number of calls that then fail.
    times: u64,
}

impl CallFilter {
    /// Selects every call of any kind.
    #[must_use]
    pub fn any() -> Self {
        Self {
            call: None,
            prefix: String::new(),
            spared: 0,
            times: u64::MAX,
        }
    }

    /// Selects every call of this kind.
    #[must_use]
    pub fn call(call: StoreCall) -> Self {
        Self {
            call: Some(call),
            ..Self::any()
        }
    }

    /// Limits the selection to keys or listed prefixes that begin with `prefix`.
    #[must_use]
    pub fn under(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Limits the selection to the `nth` matching call and later ones; the first is 1.
    #[must_use]
    pub fn from(mut self, nth: u64) -> Self {
        self.spared = nth.saturating_sub(1);
        self
    }

    /// Limits the selection to this number of calls.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    fn fits(&self, call: StoreCall, at: &str) -> bool {
        self.call.is_none_or(|wanted| wanted == call) && at.starts_with(&self.prefix)
    }
}

/// Counts of the calls to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CallCounts {
    /// Calls of `create`.
    pub creates: u64,
    /// Calls of `get`.
    pub gets: u64,
    /// Calls of `get_range`.
    pub ranges: u64,
    /// Calls of `head`.
    pub heads: u64,
    /// Calls of `list`, one per page.
    pub lists: u64,
    /// Calls of `delete`.
    pub deletes: u64,
    /// Calls of `probe`.
    pub probes: u64,
    /// Bytes given to `create`, including those of objects that existed already.
    pub put_bytes: u64,
    /// Bytes that `get` and `get_range` returned.
    pub got_bytes: u64,
}

impl CallCounts {
    /// Returns the number of calls of any kind.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.creates
            + self.gets
            + self.ranges
            + self.heads
            + self.lists
            + self.deletes
            + self.probes
    }
}

#[derive(Debug, Default)]
pub(super) struct FaultPlan {
    rules: Vec<(CallFilter, Fault)>,
    counts: CallCounts,
}

impl FaultPlan {
    pub(super) fn add(&mut self, when: CallFilter, fault: Fault) {
        self.rules.push((when, fault));
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn counts(&self) -> CallCounts {
        self.counts
    }

    /// Counts a call that puts `bytes` bytes, and returns its fault.
    pub(super) fn count(&mut self, call: StoreCall, at: &str, bytes: usize) -> Option<Fault> {
        let counts = &mut self.counts;
        let count = match call {
            StoreCall::Create => &mut counts.creates,
            StoreCall::Get => &mut counts.gets,
            StoreCall::GetRange => &mut counts.ranges,
            StoreCall::Head => &mut counts.heads,
            StoreCall::List => &mut counts.lists,
            StoreCall::Delete => &mut counts.deletes,
            StoreCall::Probe => &mut counts.probes,
        };
        *count += 1;
        counts.put_bytes += to_u64(bytes);
        let mut happens = None;
        for (when, fault) in &mut self.rules {
            if !when.fits(call, at) {
                continue;
            }
            if when.spared > 0 {
                when.spared -= 1;
            } else if happens.is_none() && when.times > 0 {
                when.times -= 1;
                happens = Some(*fault);
            }
        }
        happens
    }

    pub(super) fn brought(&mut self, bytes: usize) {
        self.counts.got_bytes += to_u64(bytes);
    }
}
