//! A DataStore's etcd, real and with auth on: what a direct snapshot holds, and what it says when it
//! cannot be had.

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
