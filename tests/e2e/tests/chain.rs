//! Tests of the whole chain: the programs as processes, a real etcd behind the Talos stand-in, a real S3
//! server, and everything that can go wrong between them.

mod access;
mod archive;
mod death;
mod disk;
mod files;
mod iam;
pub(crate) mod leftover_parts;
mod leftovers;
mod outages;
mod proxies;
mod secrets;
pub(crate) mod site;
mod streams;
mod tamper;
mod whole;
