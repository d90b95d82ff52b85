//! What `backupd` and `restore-cli` share at the terminal: flags, configuration, output,
//! progress, logs, errors and exit codes.
//!
//! The environment and files of configuration are read here and nowhere below; the library
//! `backup-core` gets values.

// Words.
pub mod clean;
pub mod exit;
pub mod failure;
pub mod human;

// What a person sees.
pub mod findings;
pub mod logging;
pub mod output;
pub mod packing;
pub mod progress;
pub mod terminal;

// What a person says.
pub mod config;
pub mod environment;
pub mod flags;

// What a command works on.
pub mod open;

// The frame that a command runs in.
pub mod program;

/// The system's allocator keeps an arena for each thread that reads, packs or uploads: at a
/// snapshot of 2 GiB they held 50 MiB that nobody used. How much this one keeps is in
/// `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
