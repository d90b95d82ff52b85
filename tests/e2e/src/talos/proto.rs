//! Messages and servers of the stand-in, generated without `protoc`.
#![expect(
    missing_docs,
    reason = "the fields' meaning stands in the .proto files"
)]

/// Parts of every reply.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/talos/common.rs"));
}

/// Packages below `google`.
pub mod google {
    /// Status inside in-band errors.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/talos/google.rpc.rs"));
    }
}

/// Packages below `cosi`.
pub mod cosi {
    /// Resources of a node.
    #[expect(
        clippy::as_conversions,
        clippy::clone_on_ref_ptr,
        reason = "generated servers are written so"
    )]
    pub mod resource {
        include!(concat!(env!("OUT_DIR"), "/talos/cosi.resource.rs"));
    }
}

/// API of a node.
#[expect(
    clippy::as_conversions,
    clippy::clone_on_ref_ptr,
    reason = "generated servers are written so"
)]
pub mod machine {
    include!(concat!(env!("OUT_DIR"), "/talos/machine.rs"));
}

/// Part of etcd's API that machined uses.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/talos/etcdserverpb.rs"));
}
