//! Messages and clients of etcd's API, generated from `proto/etcd.proto`.
#![expect(
    unreachable_pub,
    reason = "generated code is public, and this module is not"
)]

tonic::include_proto!("etcdserverpb");
