//! Tests of the program as a process, as one program.

#![cfg(test)]

mod cli;
mod objects;
