//! Tests that run the script of FORMAT.md, "Recovery with stock tools", unchanged.
#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

mod by_hand;
mod pieces;
mod prefix;
mod script;
