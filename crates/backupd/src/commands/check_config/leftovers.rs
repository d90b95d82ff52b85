//! Part of the checked configuration for leftovers of runs that died.

use backup_cli::config::{Config, Encryption};
use backup_cli::human;
use backup_cli::output::Page;
use jiff::SignedDuration;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Leftovers {
    grace_seconds: u64,
}

impl Leftovers {
    pub(super) fn of(config: &Config, warnings: &mut Vec<String>) -> Option<Self> {
        let leftovers = config.leftovers?;
        if config.encryption == Some(Encryption::None) {
            warnings.push(
                "leftovers are not removed while encryption is none: two runs may give equal bytes one name"
                    .to_owned(),
            );
        }
        Some(Self {
            grace_seconds: leftovers.grace.as_secs(),
        })
    }

    pub(super) fn show(&self, page: &mut Page) {
        let grace = SignedDuration::from_secs(self.grace_seconds.try_into().unwrap_or(i64::MAX));
        page.heading("Leftovers of runs that died");
        page.fields([(
            "Removed",
            format!("once they are older than {}", human::span(grace)),
        )]);
    }
}
