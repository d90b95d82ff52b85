//! Exports a cluster's objects through the Kubernetes API.
//!
//! Discovery decides what there is; [`Selection`] decides what of it is taken. Every kind is
//! listed in pages, one of which is worked on while the next one comes. What cannot be listed
//! costs its own kind alone, and is told in the manifest.
//!
//! A daemon that watches a cluster keeps what it has read ([`Kept`]): a run for a change then reads
//! only what the watches told of.

mod connect;
pub mod datastores;
mod discover;
mod export;
mod failure;
mod kept;
pub mod kubeconfig;
pub mod lease;
mod list;
mod object;
mod pieces;
mod reading;
mod refer;
mod request;
mod scope;
pub mod sealed;
mod secrets;
mod select;
pub mod target;
mod tenants;
pub mod watch;

pub use connect::KubeOptions;
pub use export::{KubeArchive, KubeExport, KubeSource};
pub use failure::KubeError;
pub use kept::{Holds, Kept};
pub use reading::Memory;
pub use request::WriteError;
pub use scope::NOISE;
pub use select::{ParseSelectionError, Selection};
pub use tenants::{ClusterView, PlaneView, TenantNow, Unmet, control_plane};
