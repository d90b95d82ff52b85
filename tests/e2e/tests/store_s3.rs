//! The S3 store on a real S3 server, and on one whose line fails.
#![cfg(test)]

mod store_s3 {
    mod access;
    mod contract;
    mod faults;
    mod outages;
    mod shared;
    mod wire;
}
