//! Helpers for tests of this and other crates: the contract of stores, stores that fail on purpose, and
//! restore points of made-up objects.

pub mod contract;
pub mod fault;
pub mod objects;
