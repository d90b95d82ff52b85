//! What tests of this and other crates share: the stores' contract, stores that fail on purpose,
//! and restore points of made-up objects.

pub mod contract;
pub mod fault;
pub mod objects;
