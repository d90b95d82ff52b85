//! The endpoints of one run: a call goes to one node, over whichever endpoint reaches it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Status};

use super::config::Context;
use super::explain::{Call, Failure, Reason};
use super::identity::Identity;
use super::proto::common::Metadata;
use super::proto::cosi::resource::state_client::StateClient;
use super::proto::machine::EtcdMemberListRequest;
use super::proto::machine::machine_service_client::MachineServiceClient;
use super::{SourceError, TalosOptions};
use crate::clock::Clock;
use crate::digest::Digest;
use crate::source::connect;
use crate::source::status::Cause;

/// The client of one endpoint.
pub(super) type Client = MachineServiceClient<Channel>;

/// The server takes and sends messages up to this size since Talos 1.5; what it sends is 1 KiB.
const MAX_MESSAGE: usize = 32 << 20;

/// More members than any etcd cluster has; what a server tells beyond is not asked.
const MAX_MEMBERS: usize = 32;

/// How long an endpoint may take to answer for itself, which needs neither etcd nor another node.
const ALIVE_WITHIN: Duration = Duration::from_secs(3);

/// What must not be sent twice: where an answer is lost it may have been done.
const SENT_ONCE: [&str; 3] = ["EtcdRecover", "Bootstrap", "ServiceRestart"];

/// Everything one run needs to speak with one cluster.
pub(super) struct Session {
    links: Vec<Link>,
    /// The endpoint that answered last: the next call begins there.
    good: AtomicUsize,
    targets: Vec<Target>,
    /// Who named them.
    pub(super) naming: Naming,
    /// The nodes of the talosconfig's context, whichever are spoken about.
    own_nodes: Vec<String>,
    cluster: Option<String>,
    pub(super) roles: BTreeSet<String>,
    /// What a person should know of the talosconfig.
    pub(super) warnings: Vec<String>,
    /// The context of the talosconfig.
    pub(super) context: String,
    /// The SHA-256 of the accepted authorities' certificates.
    pub(super) authorities: Vec<Digest>,
    call_timeout: Duration,
}

struct Link {
    name: String,
    /// The host as written.
    host: String,
    /// It, or what it forwards to, once hung: others are used first from then on.
    stalled: AtomicBool,
    client: Client,
    state: StateClient<Channel>,
}

/// Who named the nodes that are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// The configuration, or a flag over it.
    Configuration,
    /// The context of the talosconfig.
    Talosconfig,
    /// Its endpoints are taken for nodes.
    Endpoints,
    /// etcd itself, or nobody.
    Nobody,
}

impl Naming {
    /// Where the nodes are named.
    pub(super) fn place(self) -> Option<&'static str> {
        match self {
            Self::Configuration => Some("talos.nodes"),
            Self::Talosconfig => Some("the nodes of the talosconfig"),
            Self::Endpoints => Some("the endpoints of the talosconfig"),
            Self::Nobody => None,
        }
    }

    /// Where a node is best added.
    pub(super) fn add(self) -> &'static str {
        match self {
            Self::Configuration | Self::Nobody => "`talos.nodes`",
            Self::Talosconfig => "the context's `nodes`, or name all of them in `talos.nodes`",
            Self::Endpoints => "the context's `endpoints`, or name all nodes in `talos.nodes`",
        }
    }
}

/// A member that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// How it is named to people and in a `Candidate`.
    pub(super) label: String,
    /// What goes into the `node` header; nothing if only the endpoint is known.
    pub(super) node: Option<String>,
}

impl Session {
    /// Reads the talosconfig anew, checks the certificate, and finds out which nodes there are.
    pub(super) async fn begin(
        options: &TalosOptions,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let path = options.search.find().map_err(SourceError::fixed)?;
        let context = Context::load(&path, &options.overrides())
            .await
            .map_err(SourceError::fixed)?;
        let identity = Identity::check(&context, clock.now()).map_err(SourceError::fixed)?;
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
        let mut links = Vec::new();
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
            links.push(Link {
                name: endpoint.to_string(),
                host: endpoint.host().to_owned(),
                stalled: AtomicBool::new(false),
                state: StateClient::new(channel.clone()).max_decoding_message_size(MAX_MESSAGE),
                client: Client::new(channel)
                    .max_decoding_message_size(MAX_MESSAGE)
                    .max_encoding_message_size(MAX_MESSAGE),
            });
        }
        let mut session = Self {
            links,
            good: AtomicUsize::new(0),
            targets: Vec::new(),
            naming: match (options.nodes.is_empty(), context.nodes.is_empty()) {
                (false, _) => Naming::Configuration,
                (true, false) => Naming::Talosconfig,
                (true, true) if context.endpoints.iter().all(|e| e.ip().is_some()) => {
                    Naming::Endpoints
                }
                (true, true) => Naming::Nobody,
            },
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

    /// The members to ask, in the order of the configuration; never empty.
    pub(super) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// All nodes that the talosconfig knows of: those of its context, and its endpoints. An endpoint
    /// that is no address which a node could be called by is named with its port, and calls about that
    /// name go to it alone.
    pub(super) fn known(&self) -> Vec<String> {
        let endpoints = self
            .links
            .iter()
            .map(|link| match link.host.parse::<IpAddr>() {
                Ok(address) if !address.is_loopback() => address.to_string(),
                _ => link.name.clone(),
            });
        let mut known: Vec<String> = Vec::new();
        for name in self.own_nodes.iter().cloned().chain(endpoints) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        known
    }

    /// The target that a candidate's `node` stands for.
    pub(super) fn target(&self, label: &str) -> Target {
        let known = self.targets.iter().find(|target| target.label == label);
        known.cloned().unwrap_or_else(|| Target {
            label: label.to_owned(),
            node: Some(label.to_owned()),
        })
    }

    /// Lets the next call begin at the next endpoint; false if there is only one.
    pub(super) fn rotate(&self) -> bool {
        let next = (self.good.load(Ordering::Relaxed) + 1) % self.links.len().max(1);
        self.good.store(next, Ordering::Relaxed);
        self.links.len() > 1
    }

    /// The nodes as configured, or else the endpoints, or else the members the cluster names.
    ///
    /// An endpoint given by name is a load balancer or the Service in a cluster: a node would not
    /// know it by that name, so it cannot be the value of `node`.
    async fn find_targets(&mut self, context: &Context) -> Vec<Target> {
        let named = |node: String| Target {
            label: node.clone(),
            node: Some(node),
        };
        if !context.nodes.is_empty() {
            return context.nodes.iter().cloned().map(named).collect();
        }
        let addresses: Vec<IpAddr> = context
            .endpoints
            .iter()
            .filter_map(crate::source::endpoint::Endpoint::ip)
            .collect();
        if addresses.len() == context.endpoints.len() {
            let mut targets: Vec<Target> = Vec::new();
            for address in addresses {
                let target = named(address.to_string());
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
            return targets;
        }
        match self.members_of_any().await {
            Ok(found) if !found.is_empty() => found.into_iter().map(named).collect(),
            other => {
                let reason = match other {
                    Err(failure) => failure.to_string(),
                    Ok(_) => "the members advertise no address but their own host's".to_owned(),
                };
                self.warnings.push(format!(
                    "the talosconfig names no `nodes` and the cluster did not tell its members, so \
                     whichever node answers is used: set `nodes` ({reason})"
                ));
                let mut targets: Vec<Target> = Vec::new();
                for endpoint in &context.endpoints {
                    let target = Target {
                        label: endpoint.host().to_owned(),
                        node: None,
                    };
                    if !targets.contains(&target) {
                        targets.push(target);
                    }
                }
                // Without `node` one target stands for all: fail-over is between endpoints.
                targets.truncate(1);
                targets
            }
        }
    }

    /// The addresses of the cluster's members, as whichever endpoint answers knows them.
    async fn members_of_any(&self) -> Result<Vec<String>, Failure> {
        let members = self
            .call(
                "EtcdMemberList",
                None,
                self.call_timeout,
                |mut client, mut to| {
                    Box::pin(async move {
                        let request = to.request(EtcdMemberListRequest { query_local: true });
                        let reply = client.etcd_member_list(request).await?.into_inner();
                        only(reply.messages, |message| message.metadata.as_ref())
                    })
                },
            )
            .await?;
        let mut found = Vec::new();
        for member in members.members.into_iter().take(MAX_MEMBERS) {
            let address = member.client_urls.iter().find_map(|url| host_of(url));
            if let Some(address) = address
                && !address.is_loopback()
                && !address.is_unspecified()
                && !found.contains(&address.to_string())
            {
                found.push(address.to_string());
            }
        }
        Ok(found)
    }

    /// Lets calls go over other endpoints from now on, as long as there are any.
    pub(super) fn avoid(&self, endpoint: usize) {
        if let Some(link) = self.links.get(endpoint) {
            link.stalled.store(true, Ordering::Relaxed);
        }
    }

    /// The endpoints in the order in which they are tried: the one that answered last, those after it,
    /// and at the end those that hung.
    fn order(&self, node: Option<&str>) -> Vec<(usize, &Link)> {
        // No node is called so: it is an endpoint, with its port.
        let named = self.links.iter().position(|link| node == Some(&link.name));
        if let Some(link) = named.and_then(|at| Some((at, self.links.get(at)?))) {
            return vec![link];
        }
        let start = self.good.load(Ordering::Relaxed);
        let links = self.links.iter().enumerate();
        let mut order: Vec<_> = links.collect();
        let start = start.checked_rem(order.len()).unwrap_or(0);
        order.rotate_left(start);
        order.sort_by_key(|(_, link)| link.stalled.load(Ordering::Relaxed));
        order
    }

    /// Whether an endpoint answers for itself: a refusal is an answer.
    async fn is_alive(&self, link: &Link) -> bool {
        let (mut client, mut to) = (
            link.client.clone(),
            Headers {
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

    /// Makes one call about `node`, over one endpoint after the other while they are not reachable.
    ///
    /// A call that hangs is made again over one more endpoint, unless it must not be sent twice: only
    /// then it is the node that hangs. `limit` bounds each attempt; attempts are bounded by the number
    /// of endpoints.
    pub(super) async fn call<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<T, Failure>
    where
        F: Fn(Client, Headers) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send = |link: &Link, headers| send(link.client.clone(), headers);
        Ok(self.over(method, node, limit, send).await?.0)
    }

    /// The same, and over which endpoint it went.
    pub(super) async fn call_by<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<(T, usize), Failure>
    where
        F: Fn(Client, Headers) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send = |link: &Link, headers| send(link.client.clone(), headers);
        self.over(method, node, limit, send).await
    }

    /// The same of the API of resources.
    pub(super) async fn state<T, F>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: F,
    ) -> Result<T, Failure>
    where
        F: Fn(StateClient<Channel>, Headers) -> BoxFuture<'static, Result<T, Status>>,
    {
        let send = |link: &Link, headers| send(link.state.clone(), headers);
        Ok(self.over(method, node, limit, send).await?.0)
    }

    async fn over<T>(
        &self,
        method: &'static str,
        node: Option<&str>,
        limit: Duration,
        send: impl Fn(&Link, Headers) -> BoxFuture<'static, Result<T, Status>>,
    ) -> Result<(T, usize), Failure> {
        let mut failures = Vec::new();
        let mut hung: Option<Failure> = None;
        for (index, link) in self.order(node) {
            let node = node.filter(|node| *node != link.name);
            let call = Call {
                method,
                endpoint: &link.name,
                node,
                roles: &self.roles,
            };
            let headers = Headers {
                node: node.map(str::to_owned),
                cluster: self.cluster.clone(),
            };
            let failure = match tokio::time::timeout(limit, send(link, headers)).await {
                Ok(Ok(value)) => {
                    self.good.store(index, Ordering::Relaxed);
                    return Ok((value, index));
                }
                Ok(Err(status)) => call.failed(&status),
                Err(_) if self.is_alive(link).await => {
                    let failure = call.hung(limit);
                    let own = node.is_none_or(|node| node == link.host);
                    if own || hung.is_some() || SENT_ONCE.contains(&method) {
                        return Err(failure);
                    }
                    // The way from this endpoint to the node may be what hangs.
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
        Err(Failure::merge(failures).unwrap_or_else(|| Failure {
            reason: Reason::Other,
            code: tonic::Code::Unknown,
            at: method.to_owned(),
            advice: "there is no endpoint to ask".to_owned(),
            cause: Cause("the list of endpoints is empty".to_owned()),
        }))
    }

    /// How long one of the short calls may take.
    pub(super) fn call_timeout(&self) -> Duration {
        self.call_timeout
    }

    /// The failure of a stream that was open already, over this endpoint.
    pub(super) fn stream_failure(
        &self,
        target: &Target,
        endpoint: usize,
        status: &Status,
    ) -> Failure {
        let call = Call {
            method: "EtcdSnapshot",
            endpoint: self
                .links
                .get(endpoint)
                .map_or("", |link| link.name.as_str()),
            node: target.node.as_deref(),
            roles: &self.roles,
        };
        call.failed(status)
    }
}

/// The headers of a call, as `talosctl` sends them.
#[derive(Debug, Clone)]
pub(super) struct Headers {
    node: Option<String>,
    cluster: Option<String>,
}

impl Headers {
    /// A request with these headers.
    ///
    /// Always `node`, never `nodes`: with `nodes` errors hide in replies that are OK.
    pub(super) fn request<M>(&mut self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("runtime", MetadataValue::from_static("Talos"));
        for (name, value) in [("node", &self.node), ("context", &self.cluster)] {
            if let Some(value) = value.as_deref().and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        }
        request
    }
}

/// The one message of a reply, unless it carries an error in-band.
pub(super) fn only<M>(
    messages: Vec<M>,
    metadata: impl Fn(&M) -> Option<&Metadata>,
) -> Result<M, Status> {
    for message in &messages {
        in_band(metadata(message))?;
    }
    messages
        .into_iter()
        .next()
        .ok_or_else(|| Status::unknown("the reply holds no message"))
}

/// The error that a reply may carry although the call itself ended with OK.
pub(super) fn in_band(metadata: Option<&Metadata>) -> Result<(), Status> {
    let Some(metadata) = metadata else {
        return Ok(());
    };
    let code = metadata.status.as_ref().map_or(0, |status| status.code);
    if metadata.error.is_empty() && code == 0 {
        return Ok(());
    }
    let code = if code == 0 {
        tonic::Code::Unknown
    } else {
        tonic::Code::from(code)
    };
    let text = if metadata.error.is_empty() {
        metadata
            .status
            .as_ref()
            .map_or("", |status| status.message.as_str())
    } else {
        metadata.error.as_str()
    };
    Err(Status::new(code, text))
}

/// The address in a URL, if it has one and not a name.
pub(super) fn host_of(url: &str) -> Option<IpAddr> {
    match url::Url::parse(url).ok()?.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}
