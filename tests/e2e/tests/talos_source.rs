//! Tests of the Talos source against the stand-in, which serves fixed bytes: no tools are needed.

mod faults;
mod lab;
mod machine_config;
mod members;
mod stand_in;
mod trust;
mod wire;
