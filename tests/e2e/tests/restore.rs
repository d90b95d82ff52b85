//! The restore, on real components: a whole Butler cluster comes back on another one, with a real
//! garbage collector looking.

#[path = "restore/bed.rs"]
mod bed;
#[path = "restore/compare.rs"]
mod compare;
#[path = "restore/guards.rs"]
mod guards;
#[path = "restore/in_place.rs"]
mod in_place;
#[path = "restore/rebuild.rs"]
mod rebuild;
#[path = "restore/refused.rs"]
mod refused;
#[path = "restore/runner.rs"]
mod runner;
