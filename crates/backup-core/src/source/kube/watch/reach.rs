//! The connection that all watches share, made anew when it may be the reason for a break.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::connect::KubeOptions;
use super::super::failure::KubeError;
use super::super::request::Api;

/// Many watches break at once: they share the next connection, too.
const FRESH: Duration = Duration::from_secs(5);

/// See the module.
pub(super) struct Reach {
    options: KubeOptions,
    current: Mutex<Option<(Api, Instant)>>,
}

impl Reach {
    pub(super) fn new(options: KubeOptions) -> Self {
        Self {
            // Watches try again by themselves, and tell that they do.
            options: KubeOptions {
                retry_for: Duration::ZERO,
                ..options
            },
            current: Mutex::default(),
        }
    }

    /// The API; reads the kubeconfig if there is no connection.
    pub(super) async fn api(&self) -> Result<Api, KubeError> {
        let mut current = self.current.lock().await;
        if let Some((api, _)) = current.as_ref() {
            return Ok(api.clone());
        }
        let api = Api::connect(&self.options).await?;
        *current = Some((api.clone(), Instant::now()));
        Ok(api)
    }

    /// Has the kubeconfig read anew by the next: its certificates may have been renewed.
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
