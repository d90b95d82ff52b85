//! Rules for removing leftovers of runs that died, shared by the command and the daemon.

use std::sync::Arc;
use std::time::Duration;

use backup_cli::config::{Config, ConfigError, Encryption};
use backup_core::clock::Clock;
use backup_core::crypt::Trust;
use backup_core::gc::RemovalRules;
use jiff::SignedDuration;

/// Returns the rules that follow from the configuration. Trusted are the keys that it names, and the key that
/// this configuration signs with.
///
/// # Errors
/// Fails when the configuration names no cluster or no key.
pub(crate) fn rules(
    config: &Config,
    grace: Duration,
    clock: &Arc<dyn Clock>,
) -> Result<RemovalRules, ConfigError> {
    let cluster = config.need_cluster()?.clone();
    let mut keys = match &config.trust {
        Some(Trust::Keys(keys)) => keys.clone(),
        // Trust in everyone would let anyone have restore points deleted.
        Some(Trust::Anyone) | None => Vec::new(),
    };
    if config.signing_key.is_some() {
        keys.push(config.need_signing_key()?.public().clone());
    } else {
        // A sweep from elsewhere has only the public half.
        config.need_trust()?;
    }
    Ok(RemovalRules {
        cluster,
        trust: Trust::Keys(keys),
        grace: SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
        unencrypted: config.encryption == Some(Encryption::None),
        force: false,
        clock: Arc::clone(clock),
    })
}
