//! Schedule that decides when a component is due: a cron expression in a time zone.

use std::fmt;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ZonedDateTime};

/// Cron expression of five fields as in crontab(5), in a time zone with daylight saving time.
///
/// A day matches when day of month *or* day of week matches, if both are restricted; 1 is Monday.
///
/// Where the clocks change, a schedule with fixed hours runs as often as the calendar says: once for a
/// repeated hour, at its first occurrence, and right after the gap for skipped times. A schedule whose hour
/// field begins with `*` follows elapsed time.
#[derive(Clone)]
pub struct Schedule {
    cron: String,
    zone: TimeZone,
    zone_name: String,
    times: Times,
}

/// Method of finding the times.
#[derive(Clone)]
enum Times {
    /// Instants whose local time matches.
    Passing(Crontab),
    /// Calendar times, computed as if there were no zone and converted into instants here.
    Calendar(Crontab),
}

/// Longest step back of any zone's clocks; times from this long ago may still come.
const FOLD: SignedDuration = SignedDuration::from_hours(25);

/// Reason why a schedule is invalid.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The zone is unknown.
    #[error(
        "`{name}` is not a time zone that this machine knows; use a name like `Europe/Zurich` or \
         `UTC`, and check that tzdata is installed"
    )]
    Zone {
        /// Zone as given.
        name: String,
    },
    /// The expression does not have five fields.
    #[error(
        "`{cron}` is not a cron expression: want five fields (minute, hour, day of month, month, \
         day of week), as in `0 3 * * *` for each night at three; found {fields}"
    )]
    Fields {
        /// Expression as given.
        cron: String,
        /// Number of its fields.
        fields: usize,
    },
    /// A field is wrong.
    #[error("`{cron}` is not a cron expression: {problem}")]
    Syntax {
        /// Expression as given.
        cron: String,
        /// Message of the library.
        problem: String,
    },
    /// The expression is valid but never due.
    #[error("`{cron}` never fires: no such day comes in the next four years")]
    Never {
        /// Expression as given.
        cron: String,
    },
}

impl Schedule {
    /// Parses `cron` in the zone called `zone`, and checks that it fires after `now`.
    ///
    /// # Errors
    /// Returns the matching [`ScheduleError`].
    pub fn parse(cron: &str, zone: &str, now: Timestamp) -> Result<Self, ScheduleError> {
        let name = || ScheduleError::Zone {
            name: zone.to_owned(),
        };
        let time_zone = TimeZone::get(zone).map_err(|_| name())?;
        let fields = cron.split_whitespace().count();
        if fields != 5 {
            let cron = cron.to_owned();
            return Err(ScheduleError::Fields { cron, fields });
        }
        let hour = cron.split_whitespace().nth(1).unwrap_or_default();
        let passing = hour.starts_with('*');
        let read_in = if passing { zone } else { "UTC" };
        let crontab = cronexpr::parse_crontab(&format!("{cron} {read_in}")).map_err(|e| {
            let text = e.to_string();
            let problem = text.lines().last().unwrap_or_default();
            ScheduleError::Syntax {
                cron: cron.to_owned(),
                problem: problem.trim_start_matches([' ', '^']).to_owned(),
            }
        })?;
        let schedule = Self {
            cron: cron.to_owned(),
            zone: time_zone,
            zone_name: zone.to_owned(),
            times: if passing {
                Times::Passing(crontab)
            } else {
                Times::Calendar(crontab)
            },
        };
        match schedule.next(now) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never {
                cron: cron.to_owned(),
            }),
        }
    }

    /// Returns the expression as written.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// Returns the name of the zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// Returns the first due time after `after`; `None` if it is more than four years off.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Passing(crontab) => find(crontab, after),
            Times::Calendar(crontab) => {
                let before = after.checked_sub(FOLD).ok()?;
                let same = self.zone.to_offset(before) == self.zone.to_offset(after);
                let from = self.calendar(if same { after } else { before })?;
                // At most the minutes of a day and an hour lie before `after`.
                std::iter::successors(find(crontab, from), |last| find(crontab, *last))
                    .filter_map(|time| self.instant(time))
                    .find(|time| *time > after)
            }
        }
    }

    /// Returns the newest due time that is after `after` and not after `now`.
    #[must_use]
    pub fn last(&self, after: Timestamp, now: Timestamp) -> Option<Timestamp> {
        // Searches from near to far, so that a schedule of each minute is not counted through for years.
        let spans = [1, 24, 31 * 24, 366 * 24].map(SignedDuration::from_hours);
        let from = spans
            .into_iter()
            .filter_map(|span| now.checked_sub(span).ok());
        let near = from.take_while(|from| *from > after);
        let begins = near.chain([after]);
        begins
            .map(|begin| std::iter::successors(self.next(begin), |time| self.next(*time)))
            .find_map(|times| times.take_while(|time| *time <= now).last())
    }

    /// Returns the local time at `instant`, read as if it were UTC.
    fn calendar(&self, instant: Timestamp) -> Option<Timestamp> {
        let local = self.zone.to_datetime(instant);
        local
            .to_zoned_datetime(TimeZone::UTC)
            .ok()
            .map(|utc| utc.timestamp())
    }

    /// Returns the instant of a local time that was read as if it were UTC.
    fn instant(&self, calendar: Timestamp) -> Option<Timestamp> {
        let local: DateTime = TimeZone::UTC.to_datetime(calendar);
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } => {
                let before = ambiguous.earlier().ok()?;
                self.zone
                    .following(before)
                    .next()
                    .map(|gap| gap.timestamp())
            }
            _ => ambiguous.earlier().ok(),
        }
    }

    /// Returns the next `count` due times after `after`, in the schedule's zone.
    #[must_use]
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<ZonedDateTime> {
        std::iter::successors(self.next(after), |last| self.next(*last))
            .take(count)
            .map(|time| time.to_zoned_datetime(self.zone.clone()))
            .collect()
    }
}

fn find(crontab: &Crontab, after: Timestamp) -> Option<Timestamp> {
    // The library uses another version of the time crate, so times are passed as seconds.
    let after = MakeTimestamp::from_second(after.as_second()).ok()?;
    let next = crontab.find_next(after).ok()?;
    Timestamp::from_second(next.timestamp().as_second()).ok()
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} {})", self.cron, self.zone_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-10-24T12:00:00Z".parse().unwrap()
    }

    fn upcoming(cron: &str, zone: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(cron, zone, now()).unwrap();
        let times = schedule.upcoming(now(), count);
        times.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn summer_time_moves_the_hour_and_loses_no_run() {
        assert_eq!(
            upcoming("0 3 * * *", "Europe/Berlin", 2),
            [
                "2026-10-25T03:00:00+01:00[Europe/Berlin]",
                "2026-10-26T03:00:00+01:00[Europe/Berlin]"
            ]
        );
        // Half past two comes twice that night; an hourly schedule runs both times.
        let hourly = upcoming("30 * * * *", "Europe/Berlin", 14);
        assert!(hourly.contains(&"2026-10-25T02:30:00+02:00[Europe/Berlin]".to_owned()));
        assert!(hourly.contains(&"2026-10-25T02:30:00+01:00[Europe/Berlin]".to_owned()));
    }

    #[test]
    fn ten_years_in_four_zones_lose_no_run_and_double_none() {
        let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let end: Timestamp = "2036-01-01T00:00:00Z".parse().unwrap();
        let all = |cron: &str, zone: &str| -> Vec<ZonedDateTime> {
            let schedule = Schedule::parse(cron, zone, begin).unwrap();
            let times = std::iter::successors(schedule.next(begin), |last| schedule.next(*last));
            let times = times.take_while(|time| *time < end);
            times
                .map(|time| time.to_zoned_datetime(schedule.zone.clone()))
                .collect()
        };
        // A shift of a whole hour in the northern summer and in the southern summer, of half an hour, and no
        // shift.
        for (zone, cron, changes) in [
            ("Europe/Berlin", "30 2 * * *", 10),
            ("America/Santiago", "30 0 * * *", 10),
            ("Australia/Lord_Howe", "15 2 * * *", 10),
            ("Asia/Kolkata", "30 2 * * *", 0),
        ] {
            let daily = all(cron, zone);
            let mut days: Vec<_> = daily.iter().map(ZonedDateTime::date).collect();
            assert!(
                daily.iter().zip(daily.iter().skip(1)).all(|(a, b)| a < b),
                "{zone}"
            );
            let runs = days.len();
            days.dedup();
            assert_eq!(days.len(), runs, "{zone}: twice in a day");
            let first = *days.first().unwrap();
            let days_between = days.last().unwrap().since(first).unwrap().get_days();
            assert_eq!(
                runs,
                usize::try_from(days_between).unwrap() + 1,
                "{zone}: a day without"
            );
            // Skipped times are made up for at the end of the gap.
            let minute: i8 = cron.split(' ').next().unwrap().parse().unwrap();
            let moved = daily.iter().filter(|time| time.minute() != minute).count();
            assert_eq!(moved, changes, "{zone}");
            // A schedule that follows elapsed time runs in each hour that passes.
            let hourly = all("0 * * * *", zone);
            let pairs = hourly.iter().zip(hourly.iter().skip(1));
            let gaps = pairs.map(|(a, b)| b.duration_since(a).as_mins());
            assert!(gaps.clone().all(|gap| (30..=90).contains(&gap)), "{zone}");
            let odd = gaps.filter(|gap| *gap != 60).count();
            assert!(odd == 0 || zone.ends_with("Lord_Howe"), "{zone}: {odd}");
        }
    }

    #[test]
    fn the_last_time_is_found_near_and_far() {
        let schedule = |cron| Schedule::parse(cron, "Europe/Berlin", now()).unwrap();
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let minute = schedule("* * * * *");
        let year = at("2025-10-24T12:00:00Z");
        assert_eq!(minute.last(year, now()), Some(now()));
        let yearly = schedule("0 3 1 1 *");
        assert_eq!(
            yearly.last(at("2016-05-01T00:00:00Z"), now()),
            Some(at("2026-01-01T02:00:00Z"))
        );
        assert_eq!(yearly.last(at("2026-01-01T02:00:00Z"), now()), None);
    }

    #[test]
    fn days_are_those_of_crontab() {
        // 2026-10-26 is a Monday.
        assert_eq!(
            upcoming("0 0 * * 1", "UTC", 1),
            ["2026-10-26T00:00:00+00:00[UTC]"]
        );
        // Day of month or day of week.
        assert_eq!(
            upcoming("0 0 28 * 1", "UTC", 3),
            [
                "2026-10-26T00:00:00+00:00[UTC]",
                "2026-10-28T00:00:00+00:00[UTC]",
                "2026-11-02T00:00:00+00:00[UTC]"
            ]
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let error = |cron, zone| Schedule::parse(cron, zone, now()).unwrap_err().to_string();
        let all = [
            error("0 3 * * *", "Europe/Zürich"),
            error("0 3 * * * Europe/Berlin", "UTC"),
            error("@daily", "UTC"),
            error("61 * * * *", "UTC"),
            error("0 3 * * FRY", "UTC"),
            error("0 3 31 2 *", "UTC"),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }
}
