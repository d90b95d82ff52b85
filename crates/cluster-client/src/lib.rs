//! Clients of a management cluster: its Talos API, its etcd and its Kubernetes API.
//!
//! They read snapshots and objects for a backup, and write, watch and lease for a restore and the daemon.
//! The traits that a backup reads from are those of [`backup_core::source`]; this crate implements them.
//! It never prints, asks the ambient clock or starts a task that it does not join.

pub mod etcd;
pub mod kit;
pub mod kube;
pub mod talos;

// Parts that the clients share.
mod at_rest;
mod grpc;
mod pem;
