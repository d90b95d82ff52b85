//! Tests of `restore-cli resources`, `diff`, `show`, `prune` and `fetch --tenant` as a process, on restore points in a
//! folder: output, exit codes, and that no secret value is shown unless requested.

mod cluster;
mod diff;
mod get;
mod looks;
mod planted;
mod prune;
mod runbook;
mod tenant;
mod world;
