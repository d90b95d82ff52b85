//! Formatter that writes sizes, ages and times for people.

use indicatif::BinaryBytes;
use jiff::tz::TimeZone;
use jiff::{RoundMode, SignedDuration, Span, SpanRound, Timestamp, Unit};

/// Formats a size, as in `5.61 MiB`.
#[must_use]
pub fn bytes(bytes: u64) -> String {
    BinaryBytes(bytes).to_string()
}

/// Formats a time in UTC, to the second, as in `2026-11-23 12:45:00Z`.
#[must_use]
pub fn utc(time: Timestamp) -> String {
    let time = time.to_zoned_datetime(TimeZone::UTC);
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Formats the time since `then` in at most two units, as in `3h 12m`.
#[must_use]
pub fn age(now: Timestamp, then: Timestamp) -> String {
    let passed = now.duration_since(then);
    if passed.is_negative() {
        // The clocks of two machines differ; say so instead of printing a negative age.
        return format!("{} ahead", span(passed.abs()));
    }
    span(passed)
}

/// Formats a duration in at most two units, rounded down: `45s`, `3m 5s`, `2h 10m`, `4d 3h`.
#[must_use]
pub fn span(duration: SignedDuration) -> String {
    let smallest = match duration.as_secs() {
        ..3_600 => Unit::Second,
        3_600..86_400 => Unit::Minute,
        _ => Unit::Hour,
    };
    let round = SpanRound::new()
        .largest(Unit::Day)
        .smallest(smallest)
        .mode(RoundMode::Trunc)
        .days_are_24_hours();
    // A span of seconds can represent any difference of two timestamps.
    match Span::new()
        .try_seconds(duration.as_secs())
        .and_then(|s| s.round(round))
    {
        Ok(span) => format!("{span:#}"),
        Err(_) => format!("{}s", duration.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_two_units_at_most() {
        let now: Timestamp = "2026-11-23T12:45:00Z".parse().unwrap();
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (185, "3m 5s"),
            (3_600, "1h"),
            (7_859, "2h 10m"),
            (356_400, "4d 3h"),
            (40_000_000, "462d 23h"),
            (-65, "1m 5s ahead"),
        ] {
            let then = now - SignedDuration::from_secs(seconds);
            assert_eq!(age(now, then), text);
        }
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(5_882_511), "5.61 MiB");
        assert_eq!(
            utc("2026-11-23T12:45:00.7Z".parse().unwrap()),
            "2026-11-23 12:45:00Z"
        );
    }
}
