//! Session with the endpoints of one cluster: a call goes to one node, over any endpoint that reaches it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::Status;
use tonic::transport::Channel;

use super::config::TalosContext;
use super::explain::{TalosCall, TalosFailure, TalosFailureReason};
use super::identity::TalosCredentials;
use super::proto::cosi::resource::state_client::StateClient;
use super::proto::machine::machine_service_client::MachineServiceClient;
use super::{SourceError, TalosOptions};
use crate::grpc::connect;
use crate::grpc::status::Cause;
use backup_core::clock::Clock;
use backup_core::digest::Digest;

mod reply;
mod targets;

pub(super) use self::reply::{TalosHeaders, host_of, in_band, only};
pub(super) use self::targets::{NodeSource, NodeTarget};

/// Client of one endpoint.
pub(super) type TalosClient = MachineServiceClient<Channel>;

/// Largest message: the server accepts and sends messages up to this size since Talos 1.5; those it
/// sends are 1 KiB.
const MAX_MESSAGE: usize = 32 << 20;

/// Time limit for an endpoint to answer for itself, which needs neither etcd nor another node.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);

/// Methods that must not be sent twice: when an answer is lost, the action may have been done.
const SENT_ONCE: [&str; 3] = ["EtcdRecover", "Bootstrap", "ServiceRestart"];

/// State that one run needs to call one cluster.
pub(super) struct TalosSession {
    connections: Vec<EndpointConnection>,
    /// Endpoint that answered last: the next call starts there.
    good: AtomicUsize,
    targets: Vec<NodeTarget>,
    /// Origin of the names of the nodes.
    pub(super) node_source: NodeSource,
    /// Nodes of the talosconfig's context, regardless of those that the run uses.
    own_nodes: Vec<String>,
    cluster: Option<String>,
    pub(super) roles: BTreeSet<String>,
    /// Warnings about the talosconfig.
    pub(super) warnings: Vec<String>,
    /// Context of the talosconfig.
    pub(super) context: String,
    /// SHA-256 of each accepted authority certificate.
    pub(super) authorities: Vec<Digest>,
    call_timeout: Duration,
}

struct EndpointConnection {
    name: String,
    /// Host as written.
    host: String,
    /// Whether it, or a node behind it, hung once: other endpoints are then used first.
    stalled: AtomicBool,
    client: TalosClient,
    state: StateClient<Channel>,
}

impl TalosSession {
    /// Reads the talosconfig again, checks the certificate, and determines the nodes.
    pub(super) async fn begin(
        options: &TalosOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let path = options.search.find().map_err(super::config_error)?;
        let context = TalosContext::load(&path, &options.overrides())
            .await
            .map_err(super::config_error)?;
        let identity =
            TalosCredentials::check(&context, clock.now()).map_err(super::config_error)?;
        let shown = (identity.chain.as_slice(), &identity.key);
        let tls = connect::tls_config(&identity.authorities, Some(shown), Arc::clone(clock))
            .map_err(|error| SourceError {
                operation: format!(
                    "prepare TLS from {}, context {:?}",
                    context.file, context.name
                ),
                try_other_member: false,
                source: Some(Box::new(error)),
            })?;
        let mut connections = Vec::new();
        for endpoint in &context.endpoints {
            let (tls, limit) = (Arc::clone(&tls), options.connect_timeout);
            let channel = connect::channel(
                endpoint,
                tls,
                limit,
                context.proxy.as_ref(),
                &options.proxies,
            )
            .map_err(|error| SourceError {
                operation: format!("prepare the connection to {endpoint}"),
                try_other_member: false,
                source: Some(error),
            })?;
            connections.push(EndpointConnection {
                name: endpoint.to_string(),
                host: endpoint.host().to_owned(),
                stalled: AtomicBool::new(false),
                state: StateClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
                client: TalosClient::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE),
            });
        }
        let mut session = Self {
            connections,
            good: AtomicUsize::new(0),
            targets: Vec::new(),
            node_source: NodeSource::of(options, &context),
            own_nodes: context.own_nodes.clone(),
            cluster: context.cluster.clone(),
            roles: identity.roles,
            warnings: identity.warnings,
            context: context.name.clone(),
            authorities: identity
                .authorities
                .iter()
                .map(|ca| Digest::of(ca))
                .collect(),
            call_timeout: options.call_timeout,
        };
        session.targets = session.find_targets(&context).await;
        Ok(session)
    }

    /// Makes the next call start at the next endpoint; returns false if there is only one.
    pub(super) fn rotate(&self) -> bool {
        let next = (self.good.load(Ordering::Relaxed) + 1) % self.connections.len().max(1);
        self.good.store(next, Ordering::Relaxed);
        self.connections.len() > 1
    }

    /// Makes later calls prefer other endpoints, if there are any.
    pub(super) fn avoid(&self, endpoint: usize) {
        if let Some(connection) = self.connections.get(endpoint) {
            connection.stalled.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the endpoints in the order in which they are tried: the one that answered last, then those
    /// after it, and those that hung at the end.
    fn order(&self, node: Option<&str>) -> Vec<(usize, &EndpointConnection)> {
        // A node never has such a name: it is an endpoint, with its port.
        let named = self
            .connections
            .iter()
            .position(|connection| node == Some(&connection.name));
        if let Some(connection) = named.and_then(|at| Some((at, self.connections.get(at)?))) {
            return vec![connection];
        }
        let start = self.good.load(Ordering::Relaxed);
        let connections = self.connections.iter().enumerate();
        let mut order: Vec<_> = connections.collect();
        let start = start.checked_rem(order.len()).unwrap_or(0);
        order.rotate_left(start);
        order.sort_by_key(|(_, connection)| connection.stalled.load(Ordering::Relaxed));
        order
    }

    /// Reports whether an endpoint answers for itself: a refusal is an answer.
    async fn is_alive(&self, connection: &EndpointConnection) -> bool {
        let (mut client, mut to) = (
            connection.client.clone(),
            TalosHeaders {
                node: None,
                cluster: self.cluster.clone(),
            },
        );
        let asked = client.version(to.request(()));
        match tokio::time::timeout(ALIVE_WITHIN, asked).await {
            Ok(Ok(_)) => true,
            Ok(Err(status)) => std::error::Error::source(&status).is_none(),
            Err(_) => false,
        }
    }

    /// Makes one call at `node`, trying one endpoint after the other while they cannot be reached.
    ///
    /// A call that hangs is made again over one more endpoint, unless it must not be sent twice; if it
    /// hangs again, the node is the cause. `limit` bounds each attempt; the number of endpoints bounds the
    /// attempts.
    pub(super) async fn call<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<T, TalosFailure>
    where
        F: Fn(TalosClient, TalosHeaders) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send =
            |connection: &EndpointConnection, headers| send(connection.client.clone(), headers);
        Ok(self.over(method, node, limit, send).await?.0)
    }

    /// Does the same as `call`, and also returns the index of the endpoint that was used.
    pub(super) async fn call_by<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<(T, usize), TalosFailure>
    where
        F: Fn(TalosClient, TalosHeaders) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send =
            |connection: &EndpointConnection, headers| send(connection.client.clone(), headers);
        self.over(method, node, limit, send).await
    }

    /// Does the same as `call`, for the API of resources.
    pub(super) async fn state<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<T, TalosFailure>
    where
        F: Fn(StateClient<Channel>, TalosHeaders) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send =
            |connection: &EndpointConnection, headers| send(connection.state.clone(), headers);
        Ok(self.over(method, node, limit, send).await?.0)
    }

    async fn over<T>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: impl Fn(&EndpointConnection, TalosHeaders) -> BoxFuture<'static, Result<T, Status>>,
    ) -> Result<(T, usize), TalosFailure> {
        let mut failures = Vec::new();
        let mut hung: Option<TalosFailure> = None;
        for (index, connection) in self.order(node) {
            let node = node.filter(|node| *node != connection.name);
            let call = TalosCall {
                method,
                endpoint: &connection.name,
                node,
                roles: &self.roles,
            };
            let headers = TalosHeaders {
                node: node.map(str::to_owned),
                cluster: self.cluster.clone(),
            };
            let failure = match tokio::time::timeout(limit, send(connection, headers)).await {
                Ok(Ok(value)) => {
                    self.good.store(index, Ordering::Relaxed);
                    return Ok((value, index));
                }
                Ok(Err(status)) => call.failed(&status),
                Err(_) if self.is_alive(connection).await => {
                    let failure = call.hung(limit);
                    let own = node.is_none_or(|node| node == connection.host);
                    if own || hung.is_some() || SENT_ONCE.contains(&method) {
                        return Err(failure);
                    }
                    // The connection from this endpoint to the node may be the part that hangs.
                    hung = Some(failure);
                    continue;
                }
                Err(_) => {
                    self.avoid(index);
                    let failure = call.stalled(limit);
                    if SENT_ONCE.contains(&method) {
                        return Err(failure);
                    }
                    failure
                }
            };
            if !failure.reason.of_endpoint() {
                return Err(failure);
            }
            failures.push(failure);
        }
        if let Some(hung) = hung {
            return Err(hung);
        }
        Err(
            TalosFailure::merge(failures).unwrap_or_else(|| TalosFailure {
                reason: TalosFailureReason::Other,
                code: tonic::Code::Unknown,
                at: method.to_owned(),
                advice: "there is no endpoint to ask".to_owned(),
                cause: Cause("the list of endpoints is empty".to_owned()),
            }),
        )
    }

    /// Returns the time limit of a short call.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// Returns the failure of a stream that was already open over this endpoint.
    pub(super) fn stream_failure(
        &self,
        target: &NodeTarget,
        endpoint: usize,
        status: &Status,
    ) -> TalosFailure {
        let call = TalosCall {
            method: "EtcdSnapshot",
            endpoint: self
                .connections
                .get(endpoint)
                .map_or("", |connection| connection.name.as_str()),
            node: target.node.as_deref(),
            roles: &self.roles,
        };
        call.failed(status)
    }
}
