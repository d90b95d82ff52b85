//! Tests on the lab of real components, as one program.

#![cfg(test)]

mod alerts;
mod butler;
mod chain;
mod cluster;
mod daemon;
mod datastore;
mod dependencies;
mod etcd_restore;
mod export;
mod lab;
mod recovery;
mod restore;
mod sound;
mod store_s3;
mod talos_real;
mod talos_source;
mod tenants;
