//! Policy as people write it: `last=3,hourly=24,daily=7,weekly=5,monthly=12,yearly=3,within=2d`.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

/// Largest number of a rule: more than anybody needs, and few enough to count.
const MAX_COUNT: u32 = 10_000;

/// Stretch of the calendar (UTC) in which the newest restore point stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cadence {
    /// Hours.
    Hourly,
    /// Days.
    Daily,
    /// Weeks that begin on Monday.
    Weekly,
    /// Months.
    Monthly,
    /// Years.
    Yearly,
}

impl Cadence {
    /// All cadences, the shortest first.
    pub const ALL: [Self; 5] = [
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    /// Returns the key in a policy.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }
}

impl fmt::Display for Cadence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Numbers of restore points that stay, for each component of each lineage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Number of newest restore points that stay.
    pub last: u32,
    /// Number of hours, counted back over those that have a restore point.
    pub hourly: u32,
    /// Number of days.
    pub daily: u32,
    /// Number of weeks.
    pub weekly: u32,
    /// Number of months.
    pub monthly: u32,
    /// Number of years.
    pub yearly: u32,
    /// Age up to which everything stays.
    pub within: Option<SignedDuration>,
}

/// Reason why a policy cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A rule has an unknown key.
    #[error(
        "`{key}` is not a rule; use last, hourly, daily, weekly, monthly, yearly and within, as in \
         `hourly=24,daily=7`"
    )]
    Key {
        /// The key as given.
        key: String,
    },
    /// A rule has no usable value.
    #[error("`{key}={value}` has no usable value; {expected}")]
    Value {
        /// Key of the rule.
        key: &'static str,
        /// Value as given.
        value: String,
        /// Values that can be used.
        expected: &'static str,
    },
    /// A rule is given twice.
    #[error("`{key}` is given twice")]
    Twice {
        /// Key of the rule.
        key: &'static str,
    },
    /// No rule keeps anything.
    #[error("the policy keeps nothing; give a rule, as in `hourly=24,daily=7`")]
    Empty,
}

impl RetentionPolicy {
    /// Returns the number of stretches of `cadence` that stay.
    #[must_use]
    pub fn count(&self, cadence: Cadence) -> u32 {
        match cadence {
            Cadence::Hourly => self.hourly,
            Cadence::Daily => self.daily,
            Cadence::Weekly => self.weekly,
            Cadence::Monthly => self.monthly,
            Cadence::Yearly => self.yearly,
        }
    }

    fn count_mut(&mut self, key: &str) -> Option<(&'static str, &mut u32)> {
        Some(match key {
            "last" => ("last", &mut self.last),
            "hourly" => ("hourly", &mut self.hourly),
            "daily" => ("daily", &mut self.daily),
            "weekly" => ("weekly", &mut self.weekly),
            "monthly" => ("monthly", &mut self.monthly),
            "yearly" => ("yearly", &mut self.yearly),
            _ => return None,
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), PolicyError> {
        if key == "within" {
            let duration = value.parse::<SignedDuration>().ok();
            let duration = duration.filter(SignedDuration::is_positive);
            let duration = duration.ok_or_else(|| PolicyError::Value {
                key: "within",
                value: value.to_owned(),
                expected: "give a duration, as in `48h`",
            })?;
            return match self.within.replace(duration) {
                None => Ok(()),
                Some(_) => Err(PolicyError::Twice { key: "within" }),
            };
        }
        let unknown = || PolicyError::Key {
            key: key.to_owned(),
        };
        let (key, count) = self.count_mut(key).ok_or_else(unknown)?;
        let number = value.parse::<u32>().ok();
        let number = number.filter(|number| (1..=MAX_COUNT).contains(number));
        let number = number.ok_or_else(|| PolicyError::Value {
            key,
            value: value.to_owned(),
            expected: "give a number from 1 to 10000",
        })?;
        match std::mem::replace(count, number) {
            0 => Ok(()),
            _ => Err(PolicyError::Twice { key }),
        }
    }
}

impl FromStr for RetentionPolicy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::default();
        let rules = text.split(',').map(str::trim);
        for rule in rules.filter(|rule| !rule.is_empty()) {
            let (key, value) = rule.split_once('=').unwrap_or((rule, ""));
            policy.set(key.trim(), value.trim())?;
        }
        if policy == Self::default() {
            return Err(PolicyError::Empty);
        }
        Ok(policy)
    }
}

impl fmt::Display for RetentionPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = Cadence::ALL.map(|cadence| (cadence.key(), self.count(cadence)));
        let counts = std::iter::once(("last", self.last)).chain(counts);
        let counts = counts.filter(|(_, count)| *count > 0);
        let mut rules: Vec<String> = counts
            .map(|(key, count)| format!("{key}={count}"))
            .collect();
        rules.extend(self.within.map(|within| format!("within={within:#}")));
        f.write_str(&rules.join(","))
    }
}
