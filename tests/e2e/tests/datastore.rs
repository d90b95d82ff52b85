//! Tests of a DataStore's etcd, real and with auth on: the content of a direct snapshot, and the errors when
//! there is none.

mod ground;
mod kit;
mod refusals;
mod whole;
