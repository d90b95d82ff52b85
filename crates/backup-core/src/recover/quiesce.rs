//! What must stand still while objects are written: controllers, webhooks that need them, GitOps.
//!
//! Nothing is deleted. A Deployment goes to no replicas, a webhook to a selector that meets nothing,
//! and each carries how it was, so that it can be put back by hand too.

mod find;
mod park;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::find::{Found, find};
pub(super) use self::park::{is_ready, park, unpark};
use crate::archive::ObjectPath;
use crate::source::kube::{KubeError, WriteError};

/// How many replicas a Deployment had.
pub const REPLICAS: &str = "backup.butlerlabs.dev/replicas";
/// The label that no object has: what a parked webhook waits for.
pub const PARKED: &str = "backup.butlerlabs.dev/parked";
const DEPLOYMENTS: &str = "deployments.apps";

/// Whose part of the platform something is; the order is that of going on again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// sealed-secrets: its keys are there, and it makes Secrets.
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

impl Role {
    /// All, in the order of going on again.
    pub const ALL: [Self; 5] = [
        Self::SealedSecrets,
        Self::Steward,
        Self::ClusterApi,
        Self::Butler,
        Self::Flux,
    ];
}

/// Something that is stopped, and how it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "what")]
pub enum Parked {
    /// A controller.
    #[serde(rename_all = "camelCase")]
    Deployment {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// How many replicas it had.
        replicas: u64,
        /// Whose it is.
        role: Role,
    },
    /// A webhook configuration that would refuse writes while its server is stopped.
    #[serde(rename_all = "camelCase")]
    Webhooks {
        /// `validatingwebhookconfigurations` or `mutatingwebhookconfigurations`.
        plural: String,
        /// Its name.
        name: String,
        /// For each webhook its object selector, by its name.
        selectors: Vec<(String, Option<Value>)>,
        /// Whose it is.
        role: Role,
    },
    /// An object of Flux or a Cluster that works on others.
    #[serde(rename_all = "camelCase")]
    Object {
        /// Its path in the archive.
        path: String,
        /// The field below `spec`: `suspend` or `paused`.
        field: String,
        /// What it was.
        before: Option<Value>,
        /// Whose it is.
        role: Role,
    },
}

impl Parked {
    /// What it is, for people and as its name in a journal.
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

    /// Whose it is.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Deployment { role, .. }
            | Self::Webhooks { role, .. }
            | Self::Object { role, .. } => *role,
        }
    }

    /// The command that puts it back by hand.
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

/// Why something could not be stopped or put back.
#[derive(Debug, thiserror::Error)]
pub enum QuiesceError {
    /// It could not be read.
    #[error("cannot read {what}")]
    Read {
        /// What.
        what: String,
        /// Why not.
        source: KubeError,
    },
    /// It could not be written.
    #[error("cannot write {what}")]
    Write {
        /// What.
        what: String,
        /// Why not.
        source: WriteError,
    },
    /// It goes on running.
    #[error(
        "{what} still has {left} running pods after {} s; see why they do not end, then go on with \
         `restore-cli resume`",
        .limit.as_secs()
    )]
    StillRuns {
        /// What.
        what: String,
        /// How many pods.
        left: u64,
        /// How long it was waited for.
        limit: Duration,
    },
}

impl QuiesceError {
    /// Whether the whole API is out of reach.
    #[must_use]
    pub fn is_of_the_server(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_of_the_server(),
            Self::Write { source, .. } => source.is_of_the_server(),
            Self::StillRuns { .. } => false,
        }
    }

    /// The error and its causes in one line.
    #[must_use]
    pub fn line(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("{self}: {}", source.line()),
            Self::Write { source, .. } => format!("{self}: {}", source.line()),
            Self::StillRuns { .. } => self.to_string(),
        }
    }
}
