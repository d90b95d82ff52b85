//! Lease of `coordination.k8s.io`: at most one of several holders has it at a time.
//!
//! Clocks of two machines differ, so the times in a lease are never compared with the local clock: a
//! lease has expired when it was seen unchanged for its own duration.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::Instant;

use super::connect::KubeOptions;
use super::failure::KubeError;
use backup_core::source::SourceError;

/// Holder of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseState {
    /// This process holds it. The holder and this number identify one term: both change when it changes
    /// hands.
    Own {
        /// Number of times that it has changed hands.
        transitions: i64,
    },
    /// Another process holds it.
    Other {
        /// Identity of the holder.
        holder: String,
    },
}

/// Settings of a claim to a lease.
#[derive(Debug, Clone)]
pub struct LeaseOptions {
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Identity of this process, unique among all holders.
    pub holder: String,
    /// Duration of the lease without a renewal.
    pub lasts: Duration,
}

/// Handle of one lease for one holder.
pub struct LeaseHandle {
    api: Api<Lease>,
    server: String,
    options: LeaseOptions,
    /// Last version seen, and the time at which it was first seen.
    seen: Option<(String, Instant)>,
}

impl std::fmt::Debug for LeaseHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("LeaseHandle").field(&self.options).finish()
    }
}

impl LeaseHandle {
    /// Creates a handle; sends no request yet.
    ///
    /// # Errors
    /// When the kubeconfig or the service account cannot be used.
    pub async fn new(kube: &KubeOptions, options: LeaseOptions) -> Result<Self, SourceError> {
        let (client, server) = kube.connect().await?;
        Ok(Self {
            api: Api::namespaced(client, &options.namespace),
            server,
            options,
            seen: None,
        })
    }

    /// Takes the lease if it is free, renews it if it is ours, and returns its holder.
    ///
    /// # Errors
    /// When the API does not answer or refuses. The holder is then unknown.
    pub async fn claim(&mut self, now: Timestamp) -> Result<LeaseState, SourceError> {
        let failed = |e| failed(&self.server, &self.options, e);
        let Some(lease) = self.api.get_opt(&self.options.name).await.map_err(failed)? else {
            let lease = Lease {
                metadata: ObjectMeta {
                    name: Some(self.options.name.clone()),
                    ..ObjectMeta::default()
                },
                spec: Some(self.spec(micro(now), now, 0)),
            };
            let made = self.api.create(&PostParams::default(), &lease).await;
            return self.write_result(made, 0);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        let holder = spec.holder_identity.clone().unwrap_or_default();
        let own = holder == self.options.holder;
        if !own && !holder.is_empty() && !self.has_run_out(&lease, &spec) {
            return Ok(LeaseState::Other { holder });
        }
        let acquired = spec
            .acquire_time
            .filter(|_| own)
            .unwrap_or_else(|| micro(now));
        let transitions = if own {
            transitions
        } else {
            transitions.saturating_add(1)
        };
        let renewed = Lease {
            // The resource version makes the server refuse the write if another process was faster.
            metadata: lease.metadata,
            spec: Some(self.spec(acquired, now, transitions)),
        };
        let params = PostParams::default();
        let replaced = self
            .api
            .replace(&self.options.name, &params, &renewed)
            .await;
        self.write_result(replaced, transitions)
    }

    /// Gives the lease back, so that no other process has to wait for it to expire.
    ///
    /// # Errors
    /// When the API does not answer or refuses; the lease then expires on its own.
    pub async fn release(&self, now: Timestamp) -> Result<(), SourceError> {
        let failed = |e| failed(&self.server, &self.options, e);
        let Some(mut lease) = self.api.get_opt(&self.options.name).await.map_err(failed)? else {
            return Ok(());
        };
        let Some(spec) = lease.spec.as_mut() else {
            return Ok(());
        };
        if spec.holder_identity.as_ref() != Some(&self.options.holder) {
            return Ok(());
        }
        spec.holder_identity = None;
        spec.renew_time = Some(micro(now));
        let params = PostParams::default();
        match self.api.replace(&self.options.name, &params, &lease).await {
            Ok(_) => Ok(()),
            Err(e) if is_conflict(&e) => Ok(()),
            Err(e) => Err(failed(e)),
        }
    }

    fn spec(&self, acquired: MicroTime, now: Timestamp, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            acquire_time: Some(acquired),
            renew_time: Some(micro(now)),
            holder_identity: Some(self.options.holder.clone()),
            lease_duration_seconds: i32::try_from(self.options.lasts.as_secs()).ok(),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    /// Reports whether the lease was seen unchanged for its whole duration.
    fn has_run_out(&mut self, lease: &Lease, spec: &LeaseSpec) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let lasts = spec
            .lease_duration_seconds
            .and_then(|s| u64::try_from(s).ok());
        let lasts = lasts.map_or(self.options.lasts, Duration::from_secs);
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() > lasts,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn write_result(
        &self,
        written: kube::Result<Lease>,
        transitions: i32,
    ) -> Result<LeaseState, SourceError> {
        match written {
            Ok(_) => Ok(LeaseState::Own {
                transitions: i64::from(transitions),
            }),
            Err(e) if is_conflict(&e) => Ok(LeaseState::Other {
                holder: "another process that was faster".to_owned(),
            }),
            Err(e) => Err(failed(&self.server, &self.options, e)),
        }
    }
}

/// Converts a time. The library has another version of the time crate; microseconds suit both.
fn micro(time: Timestamp) -> MicroTime {
    let time = k8s_openapi::jiff::Timestamp::from_microsecond(time.as_microsecond());
    MicroTime(time.unwrap_or(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
}

/// Reports whether another process has created or changed the lease meanwhile.
fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

fn failed(server: &str, options: &LeaseOptions, error: kube::Error) -> SourceError {
    let lease = format!("{}/{}", options.namespace, options.name);
    let source: Box<dyn std::error::Error + Send + Sync> = match error {
        kube::Error::Api(status) if status.code == 403 => Box::new(KubeError::Forbidden {
            message: status.message.clone(),
        }),
        other => Box::new(other),
    };
    SourceError {
        operation: format!("cannot claim the lease {lease} at {server}"),
        try_other_member: false,
        source: Some(source),
    }
}
