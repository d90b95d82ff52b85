//! The Butler scenario of the lab is what the tests on it take for granted.

#[cfg(test)]
mod butler {
    mod scenario;
}
