//! Tests of a DataStore's etcd, real and with auth on: the content of a direct snapshot, and the errors when
//! there is none.

#[cfg(test)]
#[path = "datastore/ground.rs"]
mod ground;
#[cfg(test)]
#[path = "datastore/kit.rs"]
mod kit;
#[cfg(test)]
#[path = "datastore/refusals.rs"]
mod refusals;
#[cfg(test)]
#[path = "datastore/whole.rs"]
mod whole;
