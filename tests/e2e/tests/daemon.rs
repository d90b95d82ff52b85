//! Tests of the daemon as a process: a real etcd behind the Talos stand-in, a real S3 server, a real API
//! server, and everything that can go wrong while it runs.

mod alone;
mod api;
mod changes;
mod config;
mod demand;
mod election;
mod http;
mod leftovers;
mod mirror;
mod outages;
mod partial;
mod running;
mod tls;
mod upgrade;
mod whole;
mod worker;

use crate::chain::{leftover_parts, site};
