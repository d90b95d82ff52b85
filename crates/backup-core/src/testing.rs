//! Helpers for tests of this and other crates: the contract of stores, stores that fail on purpose, and a world
//! in which restore points are taken, of made-up objects too.

pub mod contract;
pub mod fault;
pub mod objects;
pub mod world;
