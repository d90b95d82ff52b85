//! Real etcd behind a node, queried over its own API as machined does it.

use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::backend::{BlobStream, Etcd};
use super::connect::{ClientTls, channel};
use super::proto::etcdserverpb::cluster_client::ClusterClient;
use super::proto::etcdserverpb::maintenance_client::MaintenanceClient;
use super::proto::etcdserverpb::{AlarmRequest, MemberListRequest, SnapshotRequest, StatusRequest};
use super::proto::machine::{EtcdMember, EtcdMemberAlarm, EtcdMemberStatus};

/// Client of one member.
#[derive(Debug, Clone)]
pub struct RealEtcd {
    channel: Channel,
}

impl RealEtcd {
    /// Makes a client of the member at `address` (`127.0.0.1:2379`); it connects when it is first used.
    ///
    /// # Errors
    /// When the address or the certificates cannot be used.
    pub fn new(address: &str, tls: Option<&ClientTls>) -> anyhow::Result<Self> {
        Ok(Self {
            channel: channel(address, tls)?,
        })
    }

    /// Makes a client of the lab's own etcd, in its present or later state.
    ///
    /// # Errors
    /// When its certificates cannot be read.
    pub fn of(etcd: &crate::etcd::Etcd) -> anyhow::Result<Self> {
        let endpoint = etcd.endpoint();
        let address = endpoint.rsplit('/').next().unwrap_or_default();
        let read = |path: &std::path::Path| {
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        let tls = match etcd.client_files() {
            None => None,
            Some(files) => Some(ClientTls {
                ca: read(&files.ca)?,
                crt: read(&files.certificate)?,
                key: read(&files.key)?,
            }),
        };
        Self::new(address, tls.as_ref())
    }

    fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone())
    }
}

/// Calls a server as etcd's own client does: it waits for a server that is down.
async fn wait_for_ready<T, F>(call: impl Fn() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, Status>>,
{
    loop {
        match call().await {
            Ok(reply) => return Ok(reply),
            Err(status)
                if status.code() == Code::Unavailable
                    || std::error::Error::source(&status).is_some() =>
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => return Err(status).context("etcd"),
        }
    }
}

#[tonic::async_trait]
impl Etcd for RealEtcd {
    async fn snapshot(&self) -> anyhow::Result<BlobStream> {
        let stream =
            wait_for_ready(|| async { self.maintenance().snapshot(SnapshotRequest {}).await })
                .await?
                .into_inner();
        Ok(stream.map(|reply| Ok(reply?.blob)).boxed())
    }

    async fn status(&self) -> anyhow::Result<EtcdMemberStatus> {
        let reply = wait_for_ready(|| async { self.maintenance().status(StatusRequest {}).await })
            .await?
            .into_inner();
        Ok(EtcdMemberStatus {
            protocol_version: reply.version,
            db_size: reply.db_size,
            db_size_in_use: reply.db_size_in_use,
            leader: reply.leader,
            raft_index: reply.raft_index,
            raft_term: reply.raft_term,
            raft_applied_index: reply.raft_applied_index,
            errors: reply.errors,
            is_learner: reply.is_learner,
            member_id: reply.header.unwrap_or_default().member_id,
            storage_version: reply.storage_version,
        })
    }

    async fn members(&self) -> anyhow::Result<Vec<EtcdMember>> {
        let request = MemberListRequest { linearizable: true };
        let reply = wait_for_ready(|| async {
            ClusterClient::new(self.channel.clone())
                .member_list(request)
                .await
        })
        .await?
        .into_inner();
        let member = |member: super::proto::etcdserverpb::Member| EtcdMember {
            id: member.id,
            hostname: member.name,
            peer_urls: member.peer_urls,
            client_urls: member.client_urls,
            is_learner: member.is_learner,
        };
        Ok(reply.members.into_iter().map(member).collect())
    }

    async fn alarms(&self) -> anyhow::Result<Vec<EtcdMemberAlarm>> {
        let reply =
            wait_for_ready(|| async { self.maintenance().alarm(AlarmRequest::default()).await })
                .await?
                .into_inner();
        let alarm = |alarm: super::proto::etcdserverpb::AlarmMember| EtcdMemberAlarm {
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        };
        Ok(reply.alarms.into_iter().map(alarm).collect())
    }
}
