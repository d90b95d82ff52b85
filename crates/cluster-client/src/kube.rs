//! Export of a cluster's objects through the Kubernetes API.
//!
//! Discovery finds the kinds that exist; [`Selection`] decides which of them are taken. Every kind is
//! listed in pages; one page is processed while the next one is loaded. A kind that cannot be listed
//! does not affect the others, and the manifest records it.
//!
//! A daemon that watches a cluster keeps the objects it has read ([`KeptObjects`]): a run for a change then
//! reads only the objects that the watches reported.

mod cache;
mod connect;
pub mod datastores;
mod discover;
mod export;
mod failure;
mod kept_objects;
mod kind;
pub mod kubeconfig;
pub mod lease;
mod list;
mod object;
mod reader;
mod references;
mod request;
mod scope;
pub mod sealed;
mod secrets;
mod select;
mod server;
mod skipping_reader;
pub mod target;
mod tenants;
pub mod watch;

pub use cache::ObjectCache;
pub use connect::KubeOptions;
pub use export::{KubeArchive, KubeExport, KubeSource};
pub use failure::KubeError;
pub use kept_objects::{KeptObjects, KeptObjectsUse, KeptStats};
pub use request::WriteError;
pub use scope::NOISE;
pub use select::{ParseSelectionError, Selection};
pub use tenants::{ClusterView, PlaneView, TenantState, UnmetCondition, control_plane};
