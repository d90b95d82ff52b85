//! Parts that both gRPC clients share: connections, endpoints, causes of failed calls, snapshot streams.

pub(crate) mod connect;
pub(crate) mod endpoint;
pub(crate) mod recheck;
pub(crate) mod status;
pub(crate) mod stream;
