//! Tests of the S3 store on a real S3 server, and through a failing proxy.
mod access;
mod contract;
mod faults;
mod outages;
mod shared;
mod wire;
