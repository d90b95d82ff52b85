//! The connection to a cluster's API.

use std::path::PathBuf;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::failure::KubeError;

/// How a cluster's API is found and how long it may take.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// The kubeconfig; `None` for the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// The context to use; `None` for the file's own choice.
    pub context: Option<String>,
    /// How long a connection may take to come up.
    pub connect_timeout: Duration,
    /// How long one request may take, its answer included. A conversion webhook that hangs is
    /// given 30 s by the API server.
    pub request_timeout: Duration,
    /// For how long a request is tried again: an API server that restarts is back by then.
    pub retry_for: Duration,
}

impl KubeOptions {
    /// The usual times.
    #[must_use]
    pub fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Self {
        Self {
            kubeconfig,
            context,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(45),
            retry_for: Duration::from_secs(60),
        }
    }

    /// With another time for one request; an API server that restarts is waited for a third longer.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self {
            connect_timeout: self.connect_timeout.min(timeout),
            request_timeout: timeout,
            retry_for: timeout.saturating_add(timeout / 3),
            ..self
        }
    }

    /// A client and the server's address; asks nothing yet.
    pub(super) async fn connect(&self) -> Result<(Client, String), KubeError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let (what, config) = match &self.kubeconfig {
            Some(path) => {
                let what = format!("the kubeconfig {}", path.display());
                // Read here, so that certificates that are renewed are found by the next run.
                let read = Kubeconfig::read_from(path).map_err(|e| unusable(&what, e))?;
                let config = Config::from_custom_kubeconfig(read, &options).await;
                (what.clone(), config.map_err(|e| unusable(&what, e))?)
            }
            None => {
                let what = "the service account of the pod".to_owned();
                let config = Config::incluster().map_err(|e| unusable(&what, e))?;
                (what, config)
            }
        };
        let mut config = config;
        config.connect_timeout = Some(self.connect_timeout);
        // Requests have one limit in all, and are tried again in one place.
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|e| unusable(&what, e))?;
        Ok((client, server))
    }
}

fn unusable(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> KubeError {
    KubeError::Config {
        what: what.to_owned(),
        source: Box::new(source),
    }
}
