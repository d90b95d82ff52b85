//! Tests of step 1 of a restore on real parts: the Talos stand-in with the real etcd and the real etcdutl
//! behind it, a restore point in a store, and everything that can be in the way.

mod blockers;
mod datastore;
mod death;
mod lineage;
mod log;
mod outcomes;
mod retries;
mod schemas;
mod site;
mod versions;
mod whole;
