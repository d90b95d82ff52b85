//! Tests of the daemon as a process: a real etcd behind the Talos stand-in, a real S3 server, a real API
//! server, and everything that can go wrong while it runs.

#[cfg(test)]
mod daemon {
    #[path = "../chain/bed.rs"]
    #[allow(dead_code, reason = "shared with the tests of the chain")]
    mod bed;
    #[path = "../chain/ground.rs"]
    #[allow(dead_code, reason = "shared with the tests of the chain")]
    mod ground;
    #[path = "../chain/leftover_parts.rs"]
    mod leftover_parts;

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
}
