//! Controllers, webhooks and GitOps objects that must stop while objects are written.
//!
//! Nothing is deleted. A Deployment is scaled to zero replicas, a webhook gets a selector that matches
//! nothing, and each carries its earlier state, so that it can be put back by hand too.

mod find;
mod park;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::find::{ParkList, find};
pub(super) use self::park::{is_ready, park, unpark};
use backup_core::archive::ObjectPath;
use backup_core::causes;
use cluster_client::kube::{KubeError, WriteError};

/// Annotation with the number of replicas that a Deployment had.
pub const REPLICAS: &str = "backup.butlerlabs.dev/replicas";
/// Label that no object has: a parked webhook selects it.
pub const PARKED: &str = "backup.butlerlabs.dev/parked";
const DEPLOYMENTS: &str = "deployments.apps";

/// Part of the platform that something belongs to, in the order of resuming.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformRole {
    /// sealed-secrets, which makes Secrets with its keys.
    SealedSecrets,
    /// Steward, which runs tenants' control planes.
    Steward,
    /// Cluster API and its providers.
    ClusterApi,
    /// Butler's own controllers.
    Butler,
    /// Flux.
    Flux,
}

impl PlatformRole {
    /// All roles, in the order of resuming.
    pub const ALL: [Self; 5] = [
        Self::SealedSecrets,
        Self::Steward,
        Self::ClusterApi,
        Self::Butler,
        Self::Flux,
    ];
}

/// Controller, webhook configuration or object that is stopped, with its earlier state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum ParkedItem {
    /// Controller.
    #[serde(rename_all = "camelCase")]
    Deployment {
        /// Namespace of the Deployment.
        namespace: String,
        /// Name of the Deployment.
        name: String,
        /// Number of replicas that it had.
        replicas: u64,
        /// Part of the platform.
        role: PlatformRole,
    },
    /// Webhook configuration that would refuse writes while its server is stopped.
    #[serde(rename_all = "camelCase")]
    Webhooks {
        /// `validatingwebhookconfigurations` or `mutatingwebhookconfigurations`.
        plural: String,
        /// Name of the configuration.
        name: String,
        /// Earlier object selector of each webhook, by the webhook's name.
        selectors: Vec<(String, Option<Value>)>,
        /// Part of the platform.
        role: PlatformRole,
    },
    /// Object that acts on others, such as a Flux object or a Cluster.
    #[serde(rename_all = "camelCase")]
    Object {
        /// Path of the object in the archive.
        path: String,
        /// Field below `spec`: `suspend` or `paused`.
        field: String,
        /// Earlier value of the field.
        before: Option<Value>,
        /// Part of the platform.
        role: PlatformRole,
    },
}

impl ParkedItem {
    /// Returns the name for people, which is also the name in the journal.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Deployment {
                namespace, name, ..
            } => format!("deployment {namespace}/{name}"),
            Self::Webhooks { plural, name, .. } => format!("{plural} {name}"),
            Self::Object { path, field, .. } => format!("{path} spec.{field}"),
        }
    }

    /// Returns the part of the platform.
    #[must_use]
    pub fn role(&self) -> PlatformRole {
        match self {
            Self::Deployment { role, .. }
            | Self::Webhooks { role, .. }
            | Self::Object { role, .. } => *role,
        }
    }

    /// Returns the command that puts it back by hand.
    #[must_use]
    pub fn by_hand(&self) -> String {
        match self {
            Self::Deployment {
                namespace,
                name,
                replicas,
                ..
            } => format!("kubectl -n {namespace} scale deployment {name} --replicas={replicas}"),
            Self::Webhooks { plural, name, .. } => format!(
                "kubectl edit {plural} {name}, and take the objectSelector with `{PARKED}` out"
            ),
            Self::Object {
                path,
                field,
                before,
                ..
            } => {
                let before = before.as_ref().map_or("null".to_owned(), Value::to_string);
                let path: Option<ObjectPath> = path.parse().ok();
                let (resource, namespace, name) = path.map_or_else(Default::default, |p| {
                    let namespace = p.namespace.map(|n| format!(" -n {n}"));
                    (
                        p.resource.to_string(),
                        namespace.unwrap_or_default(),
                        p.name,
                    )
                });
                format!(
                    "kubectl patch {resource} {name}{namespace} --type merge -p \
                     '{{\"spec\":{{\"{field}\":{before}}}}}'"
                )
            }
        }
    }
}

/// Error while something is stopped or put back.
#[derive(Debug, thiserror::Error)]
pub enum QuiesceError {
    /// The object could not be read.
    #[error("cannot read {what}")]
    Read {
        /// Object or kind.
        what: String,
        /// Error of the read.
        source: KubeError,
    },
    /// The object could not be written.
    #[error("cannot write {what}")]
    Write {
        /// Name of the object.
        what: String,
        /// Error of the write.
        source: WriteError,
    },
    /// Pods still run after the time limit.
    #[error(
        "{what} still has {left} running pods after {} s; see why they do not end, then continue \
         with `restore-cli resume`",
        .limit.as_secs()
    )]
    StillRuns {
        /// Name of the Deployment.
        what: String,
        /// Number of pods that still run.
        left: u64,
        /// Time limit.
        limit: Duration,
    },
}

impl QuiesceError {
    /// Whether the whole API is unreachable.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_of_the_server(),
            Self::Write { source, .. } => source.is_of_the_server(),
            Self::StillRuns { .. } => false,
        }
    }

    /// Formats the error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        causes::line(self)
    }
}
