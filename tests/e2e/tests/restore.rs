//! Tests of the restore on real components: a whole Butler cluster comes back in place and on another one,
//! with a real garbage collector at work.

mod broken;
mod compare;
mod data;
mod definitions;
mod fill;
mod fixed;
mod guards;
mod held;
mod in_place;
mod killed;
mod lacking;
mod latest;
mod legal;
mod mirror;
mod own;
mod owners;
mod partial;
mod programs;
mod prune;
mod rebuild;
mod refused;
mod runbook;
mod runner;
mod sources;
mod stored;
mod unreadable;
mod volumes;
mod wrong;
