//! How long work tells that it goes on; the programs decide what a person sees of it.

use std::fmt::Debug;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Sources are read and their bytes put into packs.
    Reading,
    /// Everything is read; what makes it a restore point is put.
    Storing,
}

/// Told of the steps and bytes of one piece of work. Calls are cheap and may come from any thread.
pub trait Progress: Debug + Send + Sync {
    /// A step begins, such as `reading etcd from cp-1`; `total` bytes are expected, if known.
    fn step(&self, title: &str, total: Option<u64>);
    /// `bytes` more of the current step are done.
    fn advance(&self, bytes: u64);
    /// Something that a person should know and that is no failure.
    fn note(&self, text: &str);
    /// A phase of a run begins.
    fn phase(&self, _: Phase) {}
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}
