//! Tests of the program as a process, as one program.

mod cli;
mod objects;
