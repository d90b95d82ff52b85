//! Tests that the lab's own parts do what the other tests assume.

mod components;
mod data;
mod death;
mod loss;
