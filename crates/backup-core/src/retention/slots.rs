//! Stretches of the calendar, and the restore points that they choose.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::KeepReason;
use super::policy::{Cadence, RetentionPolicy};
use crate::id::ComponentName;

/// Stretch of the calendar in UTC, as numbers that rise with time: year, and number in it.
type Stretch = (i16, i16, i8);

/// Returns the places in `times`, which run from new to old, that the policy chooses, with the reason of
/// each.
pub(super) fn reasons(
    policy: &RetentionPolicy,
    times: &[Timestamp],
    name: &ComponentName,
) -> Vec<(usize, KeepReason)> {
    let last = usize::try_from(policy.last).unwrap_or(usize::MAX);
    let mut chosen: Vec<(usize, KeepReason)> = (0..times.len().min(last))
        .map(|place| (place, KeepReason::Last(name.clone())))
        .collect();
    for cadence in Cadence::ALL {
        let reason = KeepReason::Newest(cadence, name.clone());
        let places = newest_of_each(times, cadence, policy.count(cadence));
        chosen.extend(places.into_iter().map(|place| (place, reason.clone())));
    }
    chosen
}

/// Returns the place of the newest time in each of the `count` newest stretches that have one.
fn newest_of_each(times: &[Timestamp], cadence: Cadence, count: u32) -> Vec<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut places = Vec::new();
    let mut before: Option<Stretch> = None;
    for (place, time) in times.iter().enumerate() {
        if places.len() >= count {
            break;
        }
        let stretch = stretch(*time, cadence);
        if before != Some(stretch) {
            places.push(place);
            before = Some(stretch);
        }
    }
    places
}

/// Returns the stretch of `cadence` that `time` is in.
fn stretch(time: Timestamp, cadence: Cadence) -> Stretch {
    let time = TimeZone::UTC.to_datetime(time);
    let (date, week) = (time.date(), time.date().iso_week_date());
    match cadence {
        Cadence::Hourly => (date.year(), date.day_of_year(), time.hour()),
        Cadence::Daily => (date.year(), date.day_of_year(), 0),
        Cadence::Weekly => (week.year(), i16::from(week.week()), 0),
        Cadence::Monthly => (date.year(), i16::from(date.month()), 0),
        Cadence::Yearly => (date.year(), 0, 0),
    }
}
