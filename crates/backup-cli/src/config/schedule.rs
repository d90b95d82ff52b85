//! When a component is due: a cron expression in a time zone.

use std::fmt;

use cronexpr::{Crontab, MakeTimestamp};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// A cron expression of five fields as crontab(5) has them, in a time zone with its summer time.
///
/// A day matches when day of month *or* day of week do, if both are restricted; 1 is Monday.
#[derive(Clone)]
pub struct Schedule {
    cron: String,
    zone: TimeZone,
    zone_name: String,
    crontab: Crontab,
}

/// Why a schedule cannot be.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The zone is unknown.
    #[error(
        "`{name}` is not a time zone that this machine knows; use a name such as `Europe/Zurich` \
         or `UTC`, and see that tzdata is installed"
    )]
    Zone {
        /// What was given.
        name: String,
    },
    /// Not five fields.
    #[error(
        "`{cron}` is not a cron expression: want five fields (minute, hour, day of month, month, \
         day of week), as in `0 3 * * *` for each night at three; found {fields}"
    )]
    Fields {
        /// What was given.
        cron: String,
        /// How many fields it has.
        fields: usize,
    },
    /// A field is wrong.
    #[error("`{cron}` is not a cron expression: {problem}")]
    Syntax {
        /// What was given.
        cron: String,
        /// The library's words.
        problem: String,
    },
    /// It is right and yet never due.
    #[error("`{cron}` never fires: no such day comes in the next four years")]
    Never {
        /// What was given.
        cron: String,
    },
}

impl Schedule {
    /// Reads `cron` in the zone called `zone`, and sees that it fires after `now`.
    ///
    /// # Errors
    /// As [`ScheduleError`] says.
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
        let crontab = cronexpr::parse_crontab(&format!("{cron} {zone}")).map_err(|e| {
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
            crontab,
        };
        match schedule.next(now) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never {
                cron: cron.to_owned(),
            }),
        }
    }

    /// The expression as it was written.
    #[must_use]
    pub fn cron(&self) -> &str {
        &self.cron
    }

    /// The zone's name.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// The first time after `after` that it is due; `None` if that is more than four years off.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        // The library has another version of the time crate: seconds cross between them.
        let after = MakeTimestamp::from_second(after.as_second()).ok()?;
        let next = self.crontab.find_next(after).ok()?;
        Timestamp::from_second(next.timestamp().as_second()).ok()
    }

    /// The next `count` times after `after`, in the schedule's zone.
    #[must_use]
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<ZonedDateTime> {
        std::iter::successors(self.next(after), |last| self.next(*last))
            .take(count)
            .map(|time| time.to_zoned_datetime(self.zone.clone()))
            .collect()
    }
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
        // Half past two comes twice that night; an hourly schedule runs in both.
        let hourly = upcoming("30 * * * *", "Europe/Berlin", 14);
        assert!(hourly.contains(&"2026-10-25T02:30:00+02:00[Europe/Berlin]".to_owned()));
        assert!(hourly.contains(&"2026-10-25T02:30:00+01:00[Europe/Berlin]".to_owned()));
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
