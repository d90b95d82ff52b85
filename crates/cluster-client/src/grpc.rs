//! Parts that both gRPC clients share: connections, endpoints, the ranking of members, causes of failed
//! calls, snapshot streams.

pub(crate) mod connect;
pub(crate) mod endpoint;
pub(crate) mod ranking;
pub(crate) mod recheck;
pub(crate) mod status;
pub(crate) mod stream;
