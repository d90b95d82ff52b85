//! Tests of the whole chain: the programs as processes, a real etcd behind the Talos stand-in, a real S3
//! server, and everything that can go wrong between them.

#[cfg(test)]
mod chain {
    mod access;
    mod archive;
    mod bed;
    mod death;
    mod disk;
    mod files;
    mod ground;
    mod leftover_parts;
    mod leftovers;
    mod outages;
    mod proxies;
    mod secrets;
    mod streams;
    mod tamper;
    mod whole;
}
