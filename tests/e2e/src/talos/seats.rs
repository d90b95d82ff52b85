//! One real etcd behind several nodes, each of which shows it as a member of its own.
//!
//! What the nodes tell of keys, revisions and sizes, and the snapshots they give, is all the real
//! etcd's. Only who is a member is made up: the first node has the real member, which leads; the
//! others are its followers. So a client has members to choose from at the price of one process.
//! It is stopped, restored and started by whichever node is bootstrapped, on that node's disk.

use std::path::Path;
use std::sync::Arc;

use super::backend::{BlobStream, Etcd};
use super::proto::machine::{EtcdMember, EtcdMemberAlarm, EtcdMemberStatus};
use super::real_etcd::RealEtcd;
use super::recover::EtcdProcess;
use crate::etcd::Handle;

/// The real etcd as one of several members.
struct Seat {
    real: RealEtcd,
    number: u64,
    of: u64,
}

/// `real` as a cluster of `count` members, the leader first.
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

/// The real etcd's process, as the node with the member `seat` runs it.
pub struct SeatProcess {
    /// The process.
    pub process: Handle,
    /// The member of the node.
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
