//! Tests that the lab's Butler scenario is as the tests on it assume.

#[cfg(test)]
mod butler {
    mod scenario;
}
