//! Finding of a run or an audit, as manifests and reports hold it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How serious a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// A person should look at it; everything can be restored.
    Warning,
    /// Something cannot be restored or cannot be trusted.
    Error,
}

/// One thing that a run or an audit reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How serious it is.
    pub severity: Severity,
    /// The object that it is about: an object's key, a member, a restore point.
    pub object: String,
    /// What was found.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    /// Makes a finding about `object`.
    #[must_use]
    pub fn new(
        severity: Severity,
        object: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            object: object.into(),
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }

    /// Makes a finding that something cannot be restored or cannot be trusted.
    #[must_use]
    pub fn error(
        object: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, object, cause, remedy)
    }

    /// Makes a finding that a person should look at.
    #[must_use]
    pub fn warning(
        object: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, object, cause, remedy)
    }

    /// Makes a finding that is good to know.
    #[must_use]
    pub fn info(
        object: impl Into<String>,
        cause: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Info, object, cause, remedy)
    }
}
