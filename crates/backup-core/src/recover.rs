//! Bringing a cluster back from a restore point.

pub mod etcd;
