//! Source of snapshots of an etcd that is reached directly, such as the one behind a DataStore.
//!
//! All inputs come from memory: certificates and passwords are never files. A member is known by its
//! endpoint, and each is queried separately. A stream that ends without an error is not necessarily a
//! complete snapshot: only its own trailer proves that, and the reader of the bytes checks it.

mod explain;
mod identity;
mod keys;
mod members;
mod proto;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tonic::Status;

pub use self::identity::{EtcdClientCertificate, EtcdTls};
pub use self::keys::{SchemaKeys, schema_keys};
use self::session::EtcdSession;
use crate::grpc::stream::{
    FIRST_BYTE, SnapshotMessage, SnapshotStream, StallHandler, StatusExplainer, StreamLimits,
};
use backup_core::clock::Clock;
use backup_core::source::{
    ByteStream, Candidate, Members, SnapshotSource, SourceError, UnusableMember,
};

/// Connection settings and time limits of an etcd. The debug output contains no secret.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// Owner of the etcd, for messages, as in ``DataStore `default` ``.
    pub name: String,
    /// Members, as `host:port`.
    pub endpoints: Vec<String>,
    /// Certificates of both sides.
    pub tls: EtcdTls,
    /// User with a password, unless the client certificate names the user.
    pub login: Option<EtcdLogin>,
    /// Time limit for a connection to come up, TLS included.
    pub connect_timeout: Duration,
    /// Time limit for each short call: an etcd without quorum may never answer.
    pub call_timeout: Duration,
    /// Longest time that a snapshot may go without a byte, its start included.
    pub idle_timeout: Duration,
    /// Time limit for a whole snapshot.
    pub total_timeout: Duration,
}

/// User of an etcd.
#[derive(Debug, Clone)]
pub struct EtcdLogin {
    /// Name of the user.
    pub user: String,
    /// Password of the user.
    pub password: SecretString,
}

/// Error in the settings of an etcd. Quotes no secret.
#[derive(Debug, thiserror::Error)]
pub enum EtcdConfigError {
    /// A field has an unusable value.
    #[error("`{field}`: {problem}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// Problem, and what to do.
        problem: String,
    },
}

impl EtcdOptions {
    /// Creates options with the default time limits.
    #[must_use]
    pub fn new(name: String, endpoints: Vec<String>, tls: EtcdTls) -> Self {
        Self {
            name,
            endpoints,
            tls,
            login: None,
            connect_timeout: Duration::from_secs(5),
            // An etcd that is electing a leader needs this long.
            call_timeout: Duration::from_secs(12),
            idle_timeout: Duration::from_secs(60),
            // 8 GiB at 5 MB/s.
            total_timeout: Duration::from_secs(30 * 60),
        }
    }

    /// Checks endpoints, certificates and key without connecting.
    ///
    /// # Errors
    /// When one cannot be read, or the client certificate is not valid at `now`.
    pub fn check(&self, now: Timestamp) -> Result<(), EtcdConfigError> {
        session::endpoints(&self.endpoints)?;
        identity::EtcdCredentials::check(&self.tls, now).map(drop)
    }
}

/// Source that reaches an etcd directly.
pub struct EtcdSource {
    options: EtcdOptions,
    clock: Arc<dyn Clock>,
    /// Session that the last call of `members` created; `open` continues with it.
    session: Mutex<Option<Arc<EtcdSession>>>,
}

impl fmt::Debug for EtcdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdSource")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl EtcdSource {
    /// Creates a source that does not connect until it is used.
    #[must_use]
    pub fn new(options: EtcdOptions, clock: Arc<dyn Clock>) -> Self {
        Self {
            options,
            clock,
            session: Mutex::new(None),
        }
    }

    async fn begin(&self) -> Result<Arc<EtcdSession>, SourceError> {
        let session = Arc::new(EtcdSession::begin(&self.options, &self.clock)?);
        *self.session.lock().await = Some(Arc::clone(&session));
        Ok(session)
    }
}

#[async_trait]
impl SnapshotSource for EtcdSource {
    async fn members(&self) -> Result<Members, SourceError> {
        let session = self.begin().await?;
        members::rank(&self.options.name, members::ask_all(&session).await)
    }

    async fn lost_members(&self, members: &Members) -> Vec<UnusableMember> {
        match self.session.lock().await.clone() {
            Some(session) => members::ask_again(&session, members).await,
            None => Vec::new(),
        }
    }

    async fn open(&self, candidate: &Candidate) -> Result<ByteStream, SourceError> {
        const METHOD: &str = "Maintenance.Snapshot";
        let known = self.session.lock().await.clone();
        let session = match known {
            Some(session) => session,
            None => self.begin().await?,
        };
        let limits = StreamLimits {
            idle: self.options.idle_timeout,
            total: self.options.total_timeout,
            begun: Instant::now(),
        };
        let endpoint = &candidate.node;
        let limit = limits.idle.min(limits.total).min(FIRST_BYTE);
        let opened = session.call(METHOD, endpoint, limit, |mut client, headers| {
            Box::pin(async move {
                let request = headers.request(proto::SnapshotRequest {});
                let mut messages = client.snapshot(request).await?.into_inner();
                // The refusal of a call may arrive in place of its first message.
                let mut first = Bytes::new();
                while first.is_empty() {
                    let Some(message) = messages.message().await? else {
                        return Err(Status::unknown("it ended without a single byte"));
                    };
                    first = message.blob;
                }
                Ok((messages, first))
            })
        });
        let (messages, first) = opened.await?;
        let call = session.about(METHOD, endpoint);
        let explain: StatusExplainer = Box::new(move |status| {
            let failure = call.failed(status);
            (failure.text, failure.cause)
        });
        // Each member is a separate endpoint: the next one is reached over another connection.
        let stalled: StallHandler = Box::new(|| ());
        let origin = format!("{endpoint} of {}", self.options.name);
        let stream = SnapshotStream::new(origin, (explain, stalled), messages, first, limits);
        Ok(Box::pin(stream))
    }
}

impl SnapshotMessage for proto::SnapshotResponse {
    fn bytes(self) -> Result<Bytes, Status> {
        Ok(self.blob)
    }
}
