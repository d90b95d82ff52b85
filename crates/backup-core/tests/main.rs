//! Tests of the library from outside, as one program.

#![cfg(test)]

mod frozen;
mod gc;
mod hostile;
mod objects;
mod run;
mod schema;
mod store;
