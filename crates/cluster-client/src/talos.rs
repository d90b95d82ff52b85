//! Source of etcd snapshots that uses the Talos API.
//!
//! The talosconfig is read again for every run, since certificates in a cluster live for hours. Each
//! call names its `node`; endpoints only forward calls, and another one is used when one is down. A
//! stream that ends without an error is not necessarily a complete snapshot: the server hides read
//! errors. Only the snapshot's own trailer proves completeness, and the reader of the bytes checks it.

mod addresses;
mod config;
mod explain;
mod identity;
mod machine_config;
mod members;
pub mod nodes;
mod proto;
mod roles;
mod search;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Status;

pub use self::addresses::TalosAddresses;
pub use self::config::TalosConfigError;
use self::config::TalosContext;
use self::identity::TalosCredentials;
pub use self::machine_config::MachineConfigSource;
pub use self::roles::Roles;
pub use self::search::ConfigSearch;
use self::session::{TalosSession, in_band};
use crate::grpc::stream::{
    FIRST_BYTE, SnapshotMessage, SnapshotStream, StallHandler, StatusExplainer, StreamLimits,
};
use backup_core::clock::Clock;
use backup_core::proxy::Proxies;
use backup_core::source::{
    ByteStream, Candidate, Members, SnapshotSource, SourceError, UnusableMember,
};

/// Settings that locate a cluster's Talos API, and time limits.
#[derive(Debug, Clone)]
pub struct TalosOptions {
    /// Places to search for the talosconfig.
    pub search: ConfigSearch,
    /// Context to use; `None` for the current context of the file.
    pub context: Option<String>,
    /// Endpoints to use in place of the context's, if any.
    pub endpoints: Vec<String>,
    /// Nodes to use in place of the context's, if any; addresses or names without a port.
    pub nodes: Vec<String>,
    /// Time limit for a connection to come up, TLS included.
    pub connect_timeout: Duration,
    /// Time limit for each short call: a server whose etcd hangs never ends a call on its own.
    pub call_timeout: Duration,
    /// Longest time that a snapshot may go without a byte, its start included.
    pub idle_timeout: Duration,
    /// Time limit for a whole snapshot.
    pub total_timeout: Duration,
    /// Proxies for endpoints, as `talosctl` uses them.
    pub proxies: Proxies,
}

impl TalosOptions {
    /// Creates options with the default time limits, for a talosconfig found by `search`.
    #[must_use]
    pub fn new(search: ConfigSearch) -> Self {
        Self {
            search,
            context: None,
            endpoints: Vec::new(),
            nodes: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            // A restarting etcd answers after 6 s.
            call_timeout: Duration::from_secs(12),
            idle_timeout: Duration::from_secs(60),
            // 8 GiB at 5 MB/s.
            total_timeout: Duration::from_secs(30 * 60),
            proxies: Proxies::default(),
        }
    }

    fn overrides(&self) -> config::Overrides<'_> {
        config::Overrides {
            context: self.context.as_deref(),
            endpoints: &self.endpoints,
            nodes: &self.nodes,
        }
    }
}

/// Source of the etcd of one Talos cluster.
pub struct TalosSource {
    options: TalosOptions,
    clock: Arc<dyn Clock>,
    /// Session that the last call of `members` created; `open` continues with it.
    session: Mutex<Option<Arc<TalosSession>>>,
}

impl fmt::Debug for TalosSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalosSource")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TalosSource {
    /// Creates a source that reads nothing and does not connect until it is used.
    #[must_use]
    pub fn new(options: TalosOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            options,
            clock,
            session: Mutex::new(None),
        }
    }

    /// Returns the time at which the talosconfig's client certificate expires. Calls no server.
    ///
    /// # Errors
    /// When the talosconfig or its certificate cannot be used.
    pub async fn valid_until(&self) -> Result<Timestamp, TalosConfigError> {
        let path = self.options.search.find()?;
        let context = TalosContext::load(&path, &self.options.overrides()).await?;
        Ok(TalosCredentials::check(&context, self.clock.now())?.not_after)
    }

    async fn begin(&self) -> Result<Arc<TalosSession>, SourceError> {
        let session = Arc::new(TalosSession::begin(&self.options, &self.clock).await?);
        *self.session.lock().await = Some(Arc::clone(&session));
        Ok(session)
    }
}

#[async_trait]
impl SnapshotSource for TalosSource {
    async fn members(&self) -> Result<Members, SourceError> {
        let session = self.begin().await?;
        let mut answers = members::ask_all(&session).await;
        // If all are silent over one endpoint, the endpoint itself may be the cause.
        if answers.iter().all(members::TalosMemberAnswers::hung) && session.rotate() {
            answers = members::ask_all(&session).await;
        }
        let others = members::ask_others(&session, &answers).await;
        let findings = members::differences(session.node_source, &answers);
        let mut members = members::rank(answers, others).map_err(|mut error| {
            // A warning about the talosconfig may well be the reason.
            for warning in &session.warnings {
                error.operation = format!("{}; {warning}", error.operation);
            }
            error
        })?;
        members.warnings.extend(session.warnings.iter().cloned());
        members.findings = findings;
        for candidate in &mut members.candidates {
            candidate.talos_authorities.clone_from(&session.authorities);
        }
        Ok(members)
    }

    async fn lost_members(&self, members: &Members) -> Vec<UnusableMember> {
        match self.session.lock().await.clone() {
            Some(session) => members::ask_again(&session, members).await,
            None => Vec::new(),
        }
    }

    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError> {
        let known = self.session.lock().await.clone();
        let session = match known {
            Some(session) => session,
            None => self.begin().await?,
        };
        let target = session.target(&candidate.node);
        let begun = Instant::now();
        let idle = self.options.idle_timeout.min(self.options.total_timeout);
        let limit = idle.min(FIRST_BYTE);
        let opened = session
            .call_by(
                "EtcdSnapshot",
                target.node.as_deref(),
                limit,
                |mut client, mut to| {
                    Box::pin(async move {
                        let request = to.request(proto::machine::EtcdSnapshotRequest {});
                        let mut messages = client.etcd_snapshot(request).await?.into_inner();
                        // The refusal of a call may arrive with its first message, and a server
                        // without etcd ends the stream with OK before any byte.
                        let mut first = Bytes::new();
                        while first.is_empty() {
                            let Some(data) = messages.message().await? else {
                                return Ok(None);
                            };
                            in_band(data.metadata.as_ref())?;
                            first = data.bytes;
                        }
                        Ok::<_, Status>(Some((messages, first)))
                    })
                },
            )
            .await;
        let (messages, first, endpoint) = match opened {
            Ok((Some((messages, first)), endpoint)) => (messages, first, endpoint),
            Ok((None, _)) => {
                return Err(SourceError {
                    operation: format!(
                        "EtcdSnapshot at node {}: ended well without a single byte, which is how \
                         Talos reports that the node's etcd failed: see `talosctl service etcd`",
                        target.label
                    ),
                    try_other_member: true,
                    source: None,
                });
            }
            Err(failure) => {
                return Err(SourceError {
                    operation: failure.text(),
                    try_other_member: true,
                    source: Some(Box::new(failure.cause)),
                });
            }
        };
        let origin = format!("node {}", target.label);
        let watched = Arc::clone(&session);
        let explain: StatusExplainer = Box::new(move |status| {
            let failure = session.stream_failure(&target, endpoint, status);
            (failure.text(), failure.cause)
        });
        // The next member is reached over another endpoint: this one may be the part that hangs.
        let stalled: StallHandler = Box::new(move || watched.avoid(endpoint));
        let limits = StreamLimits {
            idle: self.options.idle_timeout,
            total: self.options.total_timeout,
            begun,
        };
        let stream = SnapshotStream::new(origin, (explain, stalled), messages, first, limits);
        Ok(Box::pin(stream))
    }
}

impl SnapshotMessage for proto::common::Data {
    fn bytes(self) -> Result<Bytes, Status> {
        in_band(self.metadata.as_ref())?;
        Ok(self.bytes)
    }
}

/// Fault of the talosconfig: another member does no better.
fn config_error(error: TalosConfigError) -> SourceError {
    SourceError {
        operation: "use the talosconfig".to_owned(),
        try_other_member: false,
        source: Some(Box::new(error)),
    }
}
