//! Conversion between sizes in memory, numbers in the format, and durations.

use std::time::Duration;

/// Converts a size in memory. All of them fit on the systems that this is built for.
#[inline]
#[must_use]
pub fn to_u64(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

/// Converts a number to a size in memory: the largest one where it does not fit, which no buffer has.
#[inline]
#[must_use]
pub fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Converts a duration to milliseconds.
#[must_use]
pub fn to_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
