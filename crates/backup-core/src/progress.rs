//! Progress reports of long work; each program decides what it shows to a person.

use std::fmt::Debug;

/// Phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Sources are read and their bytes put into packs.
    Reading,
    /// Everything is read; the objects that complete the restore point are written.
    Storing,
}

/// Receiver of the steps and bytes of one piece of work. Calls are cheap and may come from any thread.
pub trait Progress: Debug + Send + Sync {
    /// Begins a step, such as `reading etcd from cp-1`; `total` bytes are expected, if known.
    fn step(&self, title: &str, total: Option<u64>);
    /// Adds `bytes` to the progress of the current step.
    fn advance(&self, bytes: u64);
    /// Reports something that a person should know and that is not a failure.
    fn note(&self, text: &str);
    /// Begins a phase of a run.
    fn phase(&self, _: Phase) {}
}

/// Receiver that shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct SilentProgress;

impl Progress for SilentProgress {
    fn step(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}
