//! OwnerMarker that ties a prefix to one cluster, so that two clusters never share it.

use serde::{Deserialize, Serialize};

use super::FormatError;
use crate::id::ClusterName;

/// Largest owner marker that is read.
const MAX_OWNER_MARKER: usize = 64 << 10;

/// The content of `claim.json`, created if absent by the first run and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Claim")]
pub struct OwnerMarker {
    /// The format version, 1.
    pub version: u64,
    /// The cluster that owns the prefix.
    pub cluster: ClusterName,
    /// 16 random bytes in hex: they distinguish this prefix from another of the same cluster.
    pub id: String,
    /// When it was claimed.
    #[schemars(with = "String")]
    pub claimed: jiff::Timestamp,
    /// The tool and version that claimed it.
    pub tool: String,
}

impl OwnerMarker {
    /// Returns its stored form.
    ///
    /// # Errors
    /// Only if the JSON library fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        super::manifest::to_json("claim", self)
    }

    /// Parses the stored form.
    ///
    /// # Errors
    /// When it is damaged or of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > MAX_OWNER_MARKER {
            return Err(FormatError::damaged("claim", "it is above 64 KiB"));
        }
        super::parse_json("claim", bytes)
    }
}
