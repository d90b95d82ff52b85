//! Tests of a DataStore's etcd, real and with auth on: the content of a direct snapshot, and the errors when
//! there is none.

mod kit;
mod refusals;
mod tenants;
mod whole;
