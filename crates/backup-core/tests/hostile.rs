//! Tests with hostile objects in the place of stored ones: a reader refuses them or returns the original
//! bytes. It never returns other bytes, panics, or takes unlimited memory.
#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

mod changed;
mod forged;
mod lies;
mod original;
