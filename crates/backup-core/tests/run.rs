//! Tests from a snapshot file to a restore point and back, on the memory store: the same bytes come out, a
//! repeated run costs next to nothing, and nobody reads without a key.

mod apart;
mod built_upon;
mod kit;
mod planted;
mod readers;
mod stored;
