//! Tests of `restore-cli resources`, `diff`, `show` and `fetch --tenant` as a process, on restore points in a
//! folder: output, exit codes, and that no secret value is shown unless requested.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot start has failed"
)]

mod diff;
mod get;
mod looks;
mod planted;
mod runbook;
mod tenant;
mod world;
