//! Claim that ties a prefix to one cluster, so that two clusters never share it.

use serde::{Deserialize, Serialize};

use super::FormatError;
use crate::id::ClusterName;

/// Largest claim that is read.
const MAX_CLAIM: usize = 64 << 10;

/// The content of `claim.json`, created if absent by the first run and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
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

impl Claim {
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
        if bytes.len() > MAX_CLAIM {
            return Err(FormatError::damaged("claim", "it is above 64 KiB"));
        }
        super::parse_json("claim", bytes)
    }
}
