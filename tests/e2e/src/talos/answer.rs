//! Answers of one node: admission, switches, waiting for its etcd, and the work itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Status};

use super::backend::Etcd;
use super::fault::{CallFault, End, StreamFault, apply};
use super::node::{Node, ServiceState};
use super::proto::common::{Data, Metadata};
use super::proto::google::rpc;
use super::proto::machine as api;
use super::proto::machine::etcd_member_alarm::AlarmType;
use super::recover;
use super::roles::{TalosVersion, allowed, known};
use super::route::{Cluster, Route, Target};
use super::tls::Peer;

/// Size of the buffer with which the real server reads the snapshot.
const FRAME: usize = 1024;

/// Answer of a streaming method.
pub(super) type DataStream = BoxStream<'static, Result<Data, Status>>;

/// API as one node serves it.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) endpoint: Arc<Node>,
    pub(super) cluster: Arc<Cluster>,
}

/// Part of a reply that comes from one node.
pub(super) trait Part: Default {
    fn metadata(&mut self) -> &mut Option<Metadata>;
}

macro_rules! parts {
    ($($name:ident),*) => {$(
        impl Part for api::$name {
            fn metadata(&mut self) -> &mut Option<Metadata> {
                &mut self.metadata
            }
        }
    )*};
}

parts!(
    Bootstrap,
    EtcdAlarm,
    EtcdMembers,
    EtcdRecover,
    EtcdStatus,
    Hostname,
    ServiceList,
    ServiceRestart,
    Version
);

impl Part for Data {
    fn metadata(&mut self) -> &mut Option<Metadata> {
        &mut self.metadata
    }
}

/// Makes a part that carries nothing but an error.
fn in_band<M: Part>(hostname: &str, status: &Status) -> M {
    let mut part = M::default();
    *part.metadata() = Some(Metadata {
        hostname: hostname.to_owned(),
        error: status.message().to_owned(),
        status: Some(rpc::Status {
            code: i32::from(status.code()),
            message: status.message().to_owned(),
        }),
    });
    part
}

/// Returns the roles of the client that made a call.
pub(super) fn roles_of(extensions: &Extensions) -> BTreeSet<String> {
    extensions
        .get::<Peer>()
        .map(|peer| peer.roles.clone())
        .unwrap_or_default()
}

/// Checks whether a client with `roles` may call `method` at `node`; a method that is unknown there has no
/// rule.
pub(super) fn admit(node: &Node, method: &str, roles: &BTreeSet<String>) -> Result<(), Status> {
    let version = node.spec.version;
    let is_known = known(method, version);
    let admitted = if is_known {
        allowed(method, roles, version)
    } else {
        roles.contains("os:admin")
    };
    if !admitted {
        return Err(Status::permission_denied("not authorized"));
    }
    if !is_known {
        return Err(Status::unimplemented(format!(
            "unknown method {method} for service machine.MachineService"
        )));
    }
    Ok(())
}

/// Returns the etcd of a node; waits while it is down, as machined's own client does.
async fn etcd_of(node: &Node, method: &str) -> Result<Arc<dyn Etcd>, Status> {
    recover::control_plane(node, method)?;
    loop {
        if !node.faults().etcd_down {
            let service = node.lock_service();
            if let (ServiceState::Running, Some(etcd)) = (service.state, &service.etcd) {
                return Ok(Arc::clone(etcd));
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn unknown(error: &anyhow::Error) -> Status {
    Status::unknown(format!("{error:#}"))
}

impl Api {
    /// Makes one node's answer: admission, switches, then the work itself.
    async fn at<M, F>(
        node: Arc<Node>,
        method: &'static str,
        roles: &BTreeSet<String>,
        work: &impl Fn(Arc<Node>) -> F,
    ) -> Result<M, Status>
    where
        M: Part,
        F: Future<Output = Result<M, Status>>,
    {
        if node.faults().frozen {
            return std::future::pending().await;
        }
        admit(&node, method, roles)?;
        match node.faults().calls.get(method) {
            Some(CallFault::Hang) => std::future::pending().await,
            Some(CallFault::Refuse(code, text)) => Err(Status::new(*code, text)),
            Some(CallFault::InBand(code, text)) => {
                Ok(in_band(&node.spec.address, &Status::new(*code, text)))
            }
            None => work(node).await,
        }
    }

    pub(super) async fn unary<M, F>(
        &self,
        method: &'static str,
        headers: &MetadataMap,
        extensions: &Extensions,
        work: impl Fn(Arc<Node>) -> F,
    ) -> Result<Vec<M>, Status>
    where
        M: Part,
        F: Future<Output = Result<M, Status>>,
    {
        let roles = roles_of(extensions);
        match self
            .cluster
            .route(&self.endpoint, method, headers, &roles)?
        {
            Route::One(node) => Ok(vec![Self::at(node, method, &roles, &work).await?]),
            Route::Many(targets) => {
                let mut parts = Vec::new();
                for Target { hostname, node } in targets {
                    let answer = match node {
                        Ok(node) => Self::at(node, method, &roles, &work).await,
                        Err(status) => Err(status),
                    };
                    let name = hostname.clone().unwrap_or_default();
                    let mut part: M = answer.unwrap_or_else(|status| in_band(&name, &status));
                    if let Some(hostname) = hostname {
                        part.metadata().get_or_insert_default().hostname = hostname;
                    }
                    parts.push(part);
                }
                Ok(parts)
            }
        }
    }

    /// Returns the ids of the members whose switch is on.
    async fn flagged(&self, flag: impl Fn(&super::fault::Faults) -> bool) -> Vec<u64> {
        let mut ids = Vec::new();
        for node in &self.cluster.nodes {
            let etcd = node.lock_service().etcd.clone();
            if let (true, Some(etcd)) = (flag(&node.faults()), etcd)
                && let Ok(status) = etcd.status().await
            {
                ids.push(status.member_id);
            }
        }
        ids
    }

    pub(super) async fn status(&self, node: &Node) -> Result<api::EtcdMemberStatus, Status> {
        while node.faults().etcd_answers == Some(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let etcd = etcd_of(node, "EtcdStatus").await?;
        let mut status = etcd.status().await.map_err(|error| unknown(&error))?;
        let faults = node.faults();
        status.is_learner |= faults.learner;
        status.raft_index = status.raft_index.saturating_sub(faults.lag);
        status.raft_applied_index = status.raft_applied_index.saturating_sub(faults.lag);
        if faults.no_quorum {
            status.leader = 0;
            status.errors.push("etcdserver: no leader".to_owned());
        }
        if node.spec.version < TalosVersion(1, 11) {
            status.storage_version = String::new();
        }
        node.fault(|faults| {
            if let Some(left) = faults.etcd_answers.as_mut() {
                *left = left.saturating_sub(1);
            }
        });
        Ok(status)
    }

    pub(super) async fn members(&self, node: &Node) -> Result<Vec<api::EtcdMember>, Status> {
        let etcd = etcd_of(node, "EtcdMemberList").await?;
        if node.faults().no_quorum {
            return Err(Status::unknown("etcdserver: no leader"));
        }
        let mut members = etcd.members().await.map_err(|error| unknown(&error))?;
        let learners = self.flagged(|faults| faults.learner).await;
        for member in &mut members {
            member.is_learner |= learners.contains(&member.id);
        }
        Ok(members)
    }

    pub(super) async fn alarms(&self, node: &Node) -> Result<Vec<api::EtcdMemberAlarm>, Status> {
        let etcd = etcd_of(node, "EtcdAlarmList").await?;
        if node.faults().no_quorum {
            // The list itself goes through raft.
            return std::future::pending().await;
        }
        let mut alarms = etcd.alarms().await.map_err(|error| unknown(&error))?;
        let corrupt = self.flagged(|faults| faults.corrupt).await;
        let nospace = self.flagged(|faults| faults.nospace).await;
        for (ids, alarm) in [(corrupt, AlarmType::Corrupt), (nospace, AlarmType::Nospace)] {
            alarms.extend(ids.into_iter().map(|member_id| api::EtcdMemberAlarm {
                member_id,
                alarm: i32::from(alarm),
            }));
        }
        Ok(alarms)
    }

    pub(super) async fn snapshot_of(
        node: Arc<Node>,
        roles: &BTreeSet<String>,
    ) -> Result<DataStream, Status> {
        const METHOD: &str = "EtcdSnapshot";
        if node.faults().frozen {
            return std::future::pending().await;
        }
        admit(&node, METHOD, roles)?;
        match node.faults().calls.get(METHOD) {
            Some(CallFault::Hang) => return std::future::pending().await,
            Some(CallFault::Refuse(code, text) | CallFault::InBand(code, text)) => {
                return Err(Status::new(*code, text));
            }
            None => {}
        }
        let etcd = etcd_of(&node, METHOD).await?;
        let fault = node.lock_faults().next_snapshot();
        if fault == Some(StreamFault::StallAfter(0)) {
            return std::future::pending().await;
        }
        // An error from here on ends the stream with OK: the real server only prints it.
        let Ok(blobs) = etcd.snapshot().await else {
            return Ok(futures::stream::empty().boxed());
        };
        let (blobs, end) = apply(blobs, fault);
        let frozen = Arc::clone(&node);
        let blobs = blobs.then(move |blob| {
            let frozen = frozen.faults().frozen;
            async move {
                if frozen {
                    std::future::pending::<()>().await;
                }
                blob
            }
        });
        let frames = blobs
            .take_while(move |blob| {
                let faults = node.lock_faults();
                std::future::ready(blob.is_ok() && !faults.etcd_down && !faults.unreachable)
            })
            .flat_map(|blob| futures::stream::iter(frames(blob.unwrap_or_default())));
        let last: DataStream = match end {
            End::Ok => return Ok(frames.boxed()),
            End::Stall => futures::stream::pending().boxed(),
            End::Status(code, text) => {
                futures::stream::iter([Err(Status::new(code, text))]).boxed()
            }
            End::InBand(code, text) => {
                futures::stream::iter([Ok(in_band("", &Status::new(code, text)))]).boxed()
            }
        };
        Ok(frames.chain(last).boxed())
    }
}

/// Splits a blob into the frames of the real server.
pub(super) fn frames(mut blob: Bytes) -> impl Iterator<Item = Result<Data, Status>> {
    std::iter::from_fn(move || {
        let bytes = blob.split_to(FRAME.min(blob.len()));
        (!bytes.is_empty()).then_some(Ok(Data {
            metadata: None,
            bytes,
        }))
    })
}

/// Marks a node's stream as a proxy to many nodes passes it on.
pub(super) fn marked(stream: DataStream, hostname: String) -> DataStream {
    let mark = move |piece: Result<Data, Status>| match piece {
        Ok(mut data) => {
            data.metadata
                .get_or_insert_default()
                .hostname
                .clone_from(&hostname);
            Ok(data)
        }
        Err(status) => Ok(in_band(&hostname, &status)),
    };
    stream.map(mark).boxed()
}

/// Returns the services of a node, as it lists them.
pub(super) fn services(node: &Node) -> Vec<api::ServiceInfo> {
    let healthy = |healthy| {
        Some(api::ServiceHealth {
            healthy,
            ..api::ServiceHealth::default()
        })
    };
    let mut services: Vec<api::ServiceInfo> = ["apid", "cri", "kubelet", "machined"]
        .map(|id| api::ServiceInfo {
            id: id.to_owned(),
            state: "Running".to_owned(),
            events: None,
            health: healthy(true),
        })
        .into();
    if node.spec.control_plane {
        let service = node.lock_service();
        let events = service
            .events
            .iter()
            .map(|(state, text)| api::ServiceEvent {
                msg: text.clone(),
                state: state.word().to_owned(),
                ts: None,
            });
        services.push(api::ServiceInfo {
            id: "etcd".to_owned(),
            state: service.state.word().to_owned(),
            events: Some(api::ServiceEvents {
                events: events.collect(),
            }),
            health: Some(api::ServiceHealth {
                // A service that just started has not been checked yet.
                unknown: service.state == ServiceState::Running && !service.checked,
                healthy: service.healthy && !node.faults().etcd_down,
                ..api::ServiceHealth::default()
            }),
        });
    }
    services
}
