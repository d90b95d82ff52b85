//! The messages and servers of the stand-in, generated without `protoc`.
#![expect(
    missing_docs,
    reason = "the fields' meaning stands in the .proto files"
)]

/// What every reply carries.
pub mod common {
    include!(concat!(env!("OUT_DIR"), "/talos/common.rs"));
}

/// Packages below `google`.
pub mod google {
    /// The status inside in-band errors.
    pub mod rpc {
        include!(concat!(env!("OUT_DIR"), "/talos/google.rpc.rs"));
    }
}

/// Packages below `cosi`.
pub mod cosi {
    /// The resources of a node.
    #[expect(
        clippy::as_conversions,
        clippy::clone_on_ref_ptr,
        reason = "generated servers are written so"
    )]
    pub mod resource {
        include!(concat!(env!("OUT_DIR"), "/talos/cosi.resource.rs"));
    }
}

/// The API of a node.
#[expect(
    clippy::as_conversions,
    clippy::clone_on_ref_ptr,
    reason = "generated servers are written so"
)]
pub mod machine {
    include!(concat!(env!("OUT_DIR"), "/talos/machine.rs"));
}

/// The part of etcd's API that machined uses.
pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/talos/etcdserverpb.rs"));
}
