//! Tests that run the script of FORMAT.md, "Recovery with stock tools", unchanged.
#![expect(clippy::as_conversions, reason = "numbers in tests are small and ours")]

#[cfg(test)]
#[path = "recovery/by_hand.rs"]
mod by_hand;
#[cfg(test)]
#[path = "recovery/pieces.rs"]
mod pieces;
#[cfg(test)]
#[path = "recovery/prefix.rs"]
mod prefix;
#[cfg(test)]
#[path = "recovery/script.rs"]
mod script;
