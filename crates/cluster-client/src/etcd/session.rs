//! Connections to the members of one etcd, and calls with time limits.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use secrecy::ExposeSecret as _;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::explain::{EtcdCall, EtcdFailure};
use super::identity::EtcdCredentials;
use super::proto::AuthenticateRequest;
use super::proto::auth_client::AuthClient;
use super::proto::kv_client::KvClient;
use super::proto::maintenance_client::MaintenanceClient;
use super::{EtcdConfigError, EtcdLogin, EtcdOptions, SourceError};
use crate::grpc::connect;
use crate::grpc::endpoint::Endpoint;
use backup_core::clock::Clock;
use backup_core::proxy::Proxies;

/// Port for etcd's clients.
const DEFAULT_PORT: u16 = 2379;
/// Largest message: etcd sends 32 KiB of a snapshot at once, or a status.
const MAX_MESSAGE: usize = 1 << 20;
/// Maximum number of members, more than any etcd cluster has; further endpoints are not queried.
const MAX_MEMBERS: usize = 32;

/// Client of one member.
pub(super) type EtcdClient = MaintenanceClient<Channel>;

/// State that one run needs to call one etcd.
pub(super) struct EtcdSession {
    owner: String,
    user: Option<String>,
    login: Option<EtcdLogin>,
    members: Vec<MemberConnection>,
    call_timeout: Duration,
}

/// One member, known by its endpoint.
struct MemberConnection {
    endpoint: String,
    client: EtcdClient,
    auth: AuthClient<Channel>,
    kv: KvClient<Channel>,
}

/// Parses the endpoints, and returns each once.
pub(super) fn endpoints(written: &[String]) -> Result<Vec<Endpoint>, EtcdConfigError> {
    let mut endpoints = Vec::new();
    for text in written {
        let parsed = Endpoint::parse(text.trim(), DEFAULT_PORT);
        let parsed = parsed.map_err(|problem| EtcdConfigError::Field {
            field: "endpoints",
            problem,
        })?;
        if !endpoints.contains(&parsed) {
            endpoints.push(parsed);
        }
    }
    if endpoints.is_empty() {
        return Err(EtcdConfigError::Field {
            field: "endpoints",
            problem: "empty: write at least one host:port".to_owned(),
        });
    }
    endpoints.truncate(MAX_MEMBERS);
    Ok(endpoints)
}

impl EtcdSession {
    /// Checks the options; connects only when a call is made.
    pub(super) fn begin(
        options: &EtcdOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let owner = options.name.clone();
        let unusable = |error: EtcdConfigError| SourceError {
            operation: format!("use the configuration of {owner}"),
            try_other_member: false,
            source: Some(Box::new(error)),
        };
        let endpoints = endpoints(&options.endpoints).map_err(unusable)?;
        let identity = EtcdCredentials::check(&options.tls, clock.now()).map_err(unusable)?;
        let shown = identity.own.as_ref();
        let shown = shown.map(|(chain, key)| (chain.as_slice(), key));
        let tls = connect::tls_config(&identity.authorities, shown, Arc::clone(clock));
        let tls = tls.map_err(|error| SourceError {
            operation: format!("prepare TLS for {owner}"),
            try_other_member: false,
            source: Some(Box::new(error)),
        })?;
        let mut members = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints {
            // A DataStore is reached from inside its own cluster.
            let direct = Proxies::default();
            let (tls, limit) = (Arc::clone(&tls), options.connect_timeout);
            let channel = connect::channel(&endpoint, tls, limit, None, &direct);
            let channel = channel.map_err(|error| SourceError {
                operation: format!("prepare the connection to {endpoint} of {owner}"),
                try_other_member: false,
                source: Some(error),
            })?;
            members.push(MemberConnection {
                endpoint: endpoint.to_string(),
                client: EtcdClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
                auth: AuthClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
                kv: KvClient::new(channel).max_decoding_message_size(MAX_MESSAGE),
            });
        }
        let signs_in = options.login.as_ref().map(|login| login.user.clone());
        Ok(Self {
            owner,
            user: signs_in.or(identity.user),
            login: options.login.clone(),
            members,
            call_timeout: options.call_timeout,
        })
    }

    /// Returns the members' endpoints, in the order of the configuration.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| member.endpoint.as_str())
    }

    /// Returns the time limit of a short call.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Describes a call of `method` at `endpoint`, for its failures.
    pub(super) fn about(&self, method: &'static str, endpoint: &str) -> EtcdCall {
        EtcdCall {
            method,
            endpoint: endpoint.to_owned(),
            owner: self.owner.clone(),
            user: self.user.clone(),
        }
    }

    /// Makes a call at one member, which has to end within `limit`.
    pub(super) async fn call<T, F>(
        &self,
        method: &'static str,
        endpoint: &str,
        limit: Duration,
        send: F,
    ) -> Result<T, EtcdFailure>
    where
        F: FnOnce(EtcdClient, EtcdHeaders) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send = |member: &MemberConnection, headers| send(member.client.clone(), headers);
        self.at(method, endpoint, limit, send).await
    }

    /// Makes a call of the key API at one member, which has to end within `limit`.
    pub(super) async fn keys<T, F>(
        &self,
        method: &'static str,
        endpoint: &str,
        limit: Duration,
        send: F,
    ) -> Result<T, EtcdFailure>
    where
        F: FnOnce(KvClient<Channel>, EtcdHeaders) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send = |member: &MemberConnection, headers| send(member.kv.clone(), headers);
        self.at(method, endpoint, limit, send).await
    }

    async fn at<T>(
        &self,
        method: &'static str,
        endpoint: &str,
        limit: Duration,
        send: impl FnOnce(&MemberConnection, EtcdHeaders) -> BoxFuture<'static, Result<T, Status>>,
    ) -> Result<T, EtcdFailure> {
        let call = self.about(method, endpoint);
        let member = self.members.iter().find(|m| m.endpoint == endpoint);
        let Some(member) = member else {
            return Err(call.failed(&Status::not_found("there is no such endpoint")));
        };
        let headers = self.sign_in(member).await?;
        match tokio::time::timeout(limit, send(member, headers)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => Err(call.failed(&status)),
            Err(_) => Err(call.hung(limit)),
        }
    }

    /// Gets a token, if a password is configured. A token lives for minutes, so each call gets its own; a
    /// stream that was started with one may outlive it.
    async fn sign_in(&self, member: &MemberConnection) -> Result<EtcdHeaders, EtcdFailure> {
        let Some(login) = &self.login else {
            return Ok(EtcdHeaders { token: None });
        };
        let call = self.about("Auth.Authenticate", &member.endpoint);
        let mut auth = member.auth.clone();
        let answer = auth.authenticate(AuthenticateRequest {
            name: login.user.clone(),
            password: login.password.expose_secret().to_owned(),
        });
        match tokio::time::timeout(self.call_timeout, answer).await {
            Ok(Ok(reply)) => Ok(EtcdHeaders {
                token: Some(reply.into_inner().token.into()),
            }),
            // Auth is off: everyone may do everything.
            Ok(Err(status))
                if status.code() == Code::FailedPrecondition
                    && status.message().contains("not enabled") =>
            {
                Ok(EtcdHeaders { token: None })
            }
            Ok(Err(status)) => Err(call.failed(&status)),
            Err(_) => Err(call.hung(self.call_timeout)),
        }
    }
}

/// Headers that a call carries beside its message.
pub(super) struct EtcdHeaders {
    token: Option<secrecy::SecretString>,
}

impl EtcdHeaders {
    /// Returns a request with these headers.
    pub(super) fn request<M>(self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let token = self.token.as_ref();
        let value: Option<tonic::metadata::MetadataValue<_>> =
            token.and_then(|token| token.expose_secret().parse().ok());
        if let Some(mut value) = value {
            value.set_sensitive(true);
            request.metadata_mut().insert("token", value);
        }
        request
    }
}
