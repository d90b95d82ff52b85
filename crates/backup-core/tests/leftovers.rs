//! What runs that died left is removed, and nothing else, whatever is the matter with the prefix.

#![cfg(test)]

mod leftovers {
    mod removal;
    mod rules;
    mod world;
}
