//! Terminal layer that `backupd` and `restore-cli` share: flags, configuration, output, progress, logs,
//! errors and exit codes.
//!
//! Only this crate reads the environment and configuration files; the library `backup-core` gets values.

// Basic types and text.
pub mod clean;
pub mod exit;
pub mod failure;
pub mod human;

// Output to the user.
pub mod findings;
pub mod logging;
pub mod output;
pub mod packing;
pub mod progress;
pub mod terminal;

// Input from the user.
pub mod config;
pub mod environment;
pub mod flags;

// Access to the store and the cluster.
pub mod open;

// Frame that a command runs in.
pub mod program;

/// Allocator of both programs. The system's allocator keeps an arena for each thread that reads, packs or
/// uploads: at a snapshot of 2 GiB the arenas held 50 MiB of unused memory. `.cargo/config.toml` sets how
/// much memory jemalloc keeps.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
