//! Source of etcd snapshots: members of one cluster, and a stream of plain bytes from one of them.

use std::fmt::Debug;

use async_trait::async_trait;

use super::{ByteStream, SourceError};
use crate::digest::Digest;
use crate::format::manifest::Finding;

/// A member that a snapshot may be taken from, with what its server reported about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Address of the node as configured, without a port.
    pub node: String,
    /// Name of the member, if reported.
    pub member_name: Option<String>,
    /// Id of the member, if reported.
    pub member_id: Option<u64>,
    /// Version of its etcd server, if reported.
    pub etcd_version: Option<String>,
    /// Version of Talos, if reported.
    pub talos_version: Option<String>,
    /// SHA-256 of each authority certificate that its Talos was verified against; empty for a member
    /// without Talos.
    pub talos_authorities: Vec<Digest>,
    /// Whether it is the leader, if reported.
    pub leader: Option<bool>,
    /// Problems of this member: an alarm, a lag, a call without an answer.
    pub warnings: Vec<String>,
}

impl Candidate {
    /// Creates a candidate of which only the place is known.
    #[must_use]
    pub fn at(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            member_name: None,
            member_id: None,
            etcd_version: None,
            talos_version: None,
            talos_authorities: Vec::new(),
            leader: None,
            warnings: Vec::new(),
        }
    }
}

/// Members of one cluster, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Members to try, best first; never empty.
    pub candidates: Vec<Candidate>,
    /// Members that were expected and cannot be tried.
    pub unwell: Vec<UnusableMember>,
    /// Warnings about all of them, or about the connection to them.
    pub warnings: Vec<String>,
    /// Mismatches between the configuration and the members found.
    pub findings: Vec<Finding>,
}

/// A member that was expected and cannot be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusableMember {
    /// Address of the node, in the form that [`Candidate::node`] has.
    pub node: String,
    /// Reason why it cannot be tried.
    pub cause: String,
}

/// Source of etcd snapshots of one cluster.
#[async_trait]
pub trait SnapshotSource: Debug + Send + Sync {
    /// Queries the state of each member.
    ///
    /// # Errors
    /// When no member can be queried; the error names each member and the reason.
    async fn members(&self) -> Result<Members, SourceError>;

    /// Queries again the candidates of `members` that had no warnings, and returns those that fail now.
    /// Queries only their state, since a query for alarms adds an entry to etcd's log.
    async fn lost_members(&self, members: &Members) -> Vec<UnusableMember>;

    /// Starts a snapshot of `candidate`.
    ///
    /// # Errors
    /// When the member refuses or cannot be reached. Later failures arrive in the stream.
    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError>;
}
