//! What somebody may put in the place of stored objects: a reader says no, or gives the bytes that
//! went in. Never other bytes, never a panic, never memory without bound.
#![expect(
    clippy::as_conversions,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on has failed, and its numbers are small and ours"
)]

mod hostile {
    mod changed;
    mod forged;
    mod lies;
    mod world;
}
