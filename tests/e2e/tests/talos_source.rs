//! Tests of the Talos source against the stand-in, which serves fixed bytes: no tools are needed.

#[cfg(test)]
#[path = "talos_source/faults.rs"]
mod faults;
#[cfg(test)]
#[path = "talos_source/lab.rs"]
mod lab;
#[cfg(test)]
#[path = "talos_source/machine_config.rs"]
mod machine_config;
#[cfg(test)]
#[path = "talos_source/members.rs"]
mod members;
#[cfg(test)]
#[path = "talos_source/stand_in.rs"]
mod stand_in;
#[cfg(test)]
#[path = "talos_source/trust.rs"]
mod trust;
#[cfg(test)]
#[path = "talos_source/wire.rs"]
mod wire;
