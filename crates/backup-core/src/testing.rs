//! What tests of this and other crates share: the stores' contract, and stores that fail on
//! purpose.

pub mod contract;
pub mod fault;
