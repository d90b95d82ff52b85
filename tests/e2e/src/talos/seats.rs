//! One real etcd behind several nodes, each of which shows it as a member of its own.
//!
//! Keys, revisions, sizes and snapshots that the nodes report are all the real etcd's. Only the membership is
//! made up: the first node has the real member, which leads; the others are its followers. So a client has
//! members to choose from at the price of one process. The node that is bootstrapped stops, restores and
//! starts the etcd, on that node's disk.

use std::path::Path;
use std::sync::Arc;

use super::backend::{BlobStream, Etcd};
use super::proto::machine::{EtcdMember, EtcdMemberAlarm, EtcdMemberStatus};
use super::real_etcd::RealEtcd;
use super::recover::EtcdProcess;
use crate::etcd::Handle;

/// Real etcd as one of several members.
struct Seat {
    real: RealEtcd,
    number: u64,
    of: u64,
}

/// Shows `real` as a cluster of `count` members, the leader first.
#[must_use]
pub fn seats(real: &RealEtcd, count: u64) -> Vec<Arc<dyn Etcd>> {
    (0..count)
        .map(|number| {
            let seat = Seat {
                real: real.clone(),
                number,
                of: count,
            };
            let seat: Arc<dyn Etcd> = Arc::new(seat);
            seat
        })
        .collect()
}

/// Process of the real etcd, as the node with the member `seat` runs it.
pub struct SeatProcess {
    /// Handle of the process.
    pub process: Handle,
    /// Member of the node.
    pub seat: Arc<dyn Etcd>,
}

#[tonic::async_trait]
impl EtcdProcess for SeatProcess {
    async fn stop(&self) -> anyhow::Result<()> {
        self.process.get()?.stop().await
    }

    async fn start(&self, data_dir: &Path) -> anyhow::Result<Arc<dyn Etcd>> {
        self.process.get()?.restart_on(data_dir).await?;
        Ok(Arc::clone(&self.seat))
    }
}

#[tonic::async_trait]
impl Etcd for Seat {
    async fn snapshot(&self) -> anyhow::Result<BlobStream> {
        self.real.snapshot().await
    }

    async fn status(&self) -> anyhow::Result<EtcdMemberStatus> {
        let mut status = self.real.status().await?;
        status.member_id = status.member_id.wrapping_add(self.number);
        Ok(status)
    }

    async fn members(&self) -> anyhow::Result<Vec<EtcdMember>> {
        let mut members = self.real.members().await?;
        if let Some(leader) = members.first().cloned() {
            members.extend((1..self.of).map(|number| EtcdMember {
                id: leader.id.wrapping_add(number),
                hostname: format!("{}-{number}", leader.hostname),
                ..leader.clone()
            }));
        }
        Ok(members)
    }

    async fn alarms(&self) -> anyhow::Result<Vec<EtcdMemberAlarm>> {
        self.real.alarms().await
    }
}
