//! Clients of a management cluster: its Talos API, its etcd and its Kubernetes API, for backups, restores and
//! the daemon.
//!
//! For a backup they read snapshots and objects: they implement the traits of [`backup_core::source`]. For a
//! restore they write, watch, and hold a Lease. They never print, read the ambient clock or start a task that
//! they do not join.
//!
//! A snapshot from the best member of an etcd, through the Talos API:
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use backup_core::clock::SystemClock;
//! use backup_core::source::SnapshotSource as _;
//! use cluster_client::talos::{ConfigSearch, TalosOptions, TalosSource};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = TalosOptions::new(ConfigSearch::at("/etc/butler-backup/talosconfig"));
//! let source = TalosSource::new(options, Arc::new(SystemClock));
//! let members = source.members().await?;
//! let best = members.candidates.first().ok_or("no member")?;
//! let blocks = source.open(best).await?;
//! # drop(blocks);
//! # Ok(())
//! # }
//! ```

pub mod etcd;

pub mod kube;
pub mod recovery_files;
pub mod talos;

// Parts that the clients share.
mod at_rest;
mod classification;
mod grpc;
mod pem;
mod yaml;

/// Any error, as the cause of another.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
