//! Removing leftovers of runs that died, as the command and the daemon do it: by which rules.

use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::{Config, ConfigError, Encryption};
use backup_core::clock::Clock;
use backup_core::crypt::Trust;
use backup_core::leftovers::Rules;
use jiff::SignedDuration;

/// The rules that follow from the configuration. Trusted are the keys that it names, and the one that this
/// very configuration signs with.
///
/// # Errors
/// When it names no cluster, or no key.
pub(crate) fn rules(
    config: &Config,
    grace: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<Rules, ConfigError> {
    let cluster = config.need_cluster()?.clone();
    let mut keys = match &config.trust {
        Some(Trust::Keys(keys)) => keys.clone(),
        // Whoever is believed by everybody could have restore points deleted.
        Some(Trust::Anyone) | None => Vec::new(),
    };
    if config.signing_key.is_some() {
        keys.push(config.need_signing_key()?.public().clone());
    } else {
        // Who looks from elsewhere has the public half alone.
        config.need_trust()?;
    }
    Ok(Rules {
        cluster,
        trust: Trust::Keys(keys),
        grace: SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
        unencrypted: config.encryption == Some(Encryption::None),
        past_the_brake: false,
        clock: Arc::clone(clock),
    })
}
