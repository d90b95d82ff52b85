//! Connection shared by all watches, which is renewed when it may be the cause of a break.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::connect::KubeOptions;
use super::super::failure::KubeError;
use super::super::request::Api;

/// Age below which a connection is not renewed: many watches break at once and share the next one.
const FRESH: Duration = Duration::from_secs(5);

/// Shared connection; see the module.
pub(super) struct WatchConnection {
    options: KubeOptions,
    current: Mutex<Option<(Api, Instant)>>,
}

impl WatchConnection {
    pub(super) fn new(options: KubeOptions) -> Self {
        Self {
            // The watches retry on their own, and report it.
            options: KubeOptions {
                retry_for: Duration::ZERO,
                ..options
            },
            current: Mutex::default(),
        }
    }

    /// Returns the API; reads the kubeconfig if there is no connection.
    pub(super) async fn api(&self) -> Result<Api, KubeError> {
        let mut current = self.current.lock().await;
        if let Some((api, _)) = current.as_ref() {
            return Ok(api.clone());
        }
        let api = Api::connect(&self.options).await?;
        *current = Some((api.clone(), Instant::now()));
        Ok(api)
    }

    /// Makes the next call read the kubeconfig again: its certificates may have been renewed.
    pub(super) async fn renew(&self) {
        let mut current = self.current.lock().await;
        if current
            .as_ref()
            .is_some_and(|(_, made)| made.elapsed() > FRESH)
        {
            *current = None;
        }
    }
}
