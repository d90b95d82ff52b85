//! Tests that the lab's Butler scenario is as the tests on it assume.

mod parts;
mod scenario;
