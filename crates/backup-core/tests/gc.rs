//! Tests that a sweep removes the orphans of dead runs, and nothing else, whatever the state of the prefix.

mod removal;
mod rules;
mod sweeper;
