//! Pause before a call is repeated that failed because the node was absent or not ready.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::super::EtcdRestoreError;
use super::Job;
use crate::etcd::log::EtcdPhase;
use cluster_client::talos::nodes::{CallError, CallErrorKind};

/// Duration and last reported reason of a call that is repeated.
pub(super) struct RetryTimer {
    what: &'static str,
    pub(super) begun: Instant,
    pub(super) within: Duration,
    told: Option<String>,
}

impl RetryTimer {
    pub(super) fn new(what: &'static str, within: Duration) -> Self {
        Self {
            what,
            begun: Instant::now(),
            within,
            told: None,
        }
    }
}

impl Job<'_> {
    /// Waits before a call is repeated that failed because the node was absent or not ready.
    pub(super) async fn wait(
        &self,
        waited: &mut RetryTimer,
        failure: CallError,
    ) -> Result<(), EtcdRestoreError> {
        let again = matches!(
            failure.kind,
            CallErrorKind::Unreachable | CallErrorKind::NotReady | CallErrorKind::Hung
        );
        if !again {
            return Err(EtcdRestoreError::Call {
                what: waited.what,
                source: failure,
            });
        }
        let why = failure.said().to_owned();
        if waited.begun.elapsed() >= waited.within {
            return Err(EtcdRestoreError::NotReady {
                node: self.target().to_owned(),
                why: format!("{failure} ({why})"),
                within: waited.within,
            });
        }
        if waited.told.as_deref() != Some(failure.said()) {
            self.reached(EtcdPhase::Waiting { why: why.clone() })?;
            waited.told = Some(why);
        }
        sleep(self.pace.poll).await;
        Ok(())
    }
}
