//! The lab's own parts do what the other tests take for granted.

mod lab {
    mod components;
    mod data;
    mod death;
    mod loss;
}
