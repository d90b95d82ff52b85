//! Queries to the members of an etcd behind the Talos API: their state, and the members they know.

mod differences;
mod rank;

use futures::StreamExt as _;

pub(super) use self::differences::differences;
pub(super) use self::rank::rank;
use super::explain::{TalosFailure, TalosFailureReason};
use super::proto::machine::{
    EtcdMember, EtcdMemberAlarm, EtcdMemberListRequest, EtcdMemberStatus, VersionInfo,
};
use super::session::{NodeTarget, TalosSession, host_of, only};
use crate::grpc::recheck;
use backup_core::source::{Members, UnusableMember};

/// Nodes queried at once, four small calls each: an API server has 2 threads and 128 MiB.
const ASKED_AT_ONCE: usize = 8;

/// Maximum number of members, more than any etcd cluster has; further ones in a list are not queried.
const MAX_MEMBERS: usize = 32;

/// Answers of one member about itself.
pub(super) struct TalosMemberAnswers {
    target: NodeTarget,
    status: Result<EtcdMemberStatus, TalosFailure>,
    alarms: Result<Vec<EtcdMemberAlarm>, TalosFailure>,
    members: Result<Vec<EtcdMember>, TalosFailure>,
    version: Result<VersionInfo, TalosFailure>,
}

impl TalosMemberAnswers {
    /// Reports whether the member did not answer in time.
    pub(super) fn hung(&self) -> bool {
        matches!(&self.status, Err(failure) if failure.reason == TalosFailureReason::Hung)
    }
}

/// Queries every member of the session, each call with its own deadline.
pub(super) async fn ask_all(session: &TalosSession) -> Vec<TalosMemberAnswers> {
    let questions: Vec<_> = session
        .targets()
        .iter()
        .map(|target| ask(session, target))
        .collect();
    futures::stream::iter(questions)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

async fn ask(session: &TalosSession, target: &NodeTarget) -> TalosMemberAnswers {
    let node = target.node.as_deref();
    let limit = session.call_timeout();
    let status = ask_status(session, node);
    let alarms = session.call("EtcdAlarmList", node, limit, |mut client, mut to| {
        Box::pin(async move {
            let reply = client.etcd_alarm_list(to.request(())).await?.into_inner();
            Ok(only(reply.messages, |message| message.metadata.as_ref())?.member_alarms)
        })
    });
    let members = session.call("EtcdMemberList", node, limit, |mut client, mut to| {
        Box::pin(async move {
            let request = to.request(EtcdMemberListRequest { query_local: true });
            let reply = client.etcd_member_list(request).await?.into_inner();
            Ok(only(reply.messages, |message| message.metadata.as_ref())?.members)
        })
    });
    let version = session.call("Version", node, limit, |mut client, mut to| {
        Box::pin(async move {
            let reply = client.version(to.request(())).await?.into_inner();
            let message = only(reply.messages, |message| message.metadata.as_ref())?;
            Ok(message.version.unwrap_or_default())
        })
    });
    let (status, alarms, members, version) = tokio::join!(status, alarms, members, version);
    TalosMemberAnswers {
        target: target.clone(),
        status,
        alarms,
        members,
        version,
    }
}

/// Address and state of a member that is not a candidate for a snapshot.
pub(super) type OtherMember = (String, Result<EtcdMemberStatus, TalosFailure>);

/// Queries the members that others list and that the session does not know: they are also expected to
/// be well.
pub(super) async fn ask_others(
    session: &TalosSession,
    answers: &[TalosMemberAnswers],
) -> Vec<OtherMember> {
    let lists = answers.iter().filter_map(|a| a.members.as_ref().ok());
    let ids: Vec<u64> = answers
        .iter()
        .filter_map(|answer| Some(answer.status.as_ref().ok()?.member_id))
        .collect();
    let asked = |member: &EtcdMember, address: &str| {
        let mut labels = answers.iter().map(|answer| answer.target.label.as_str());
        ids.contains(&member.id) || labels.any(|label| label == address || label == member.hostname)
    };
    let mut addresses: Vec<String> = Vec::new();
    for member in lists.flatten().take(MAX_MEMBERS) {
        let address = member.client_urls.iter().find_map(|url| host_of(url));
        let address = address.filter(|a| !a.is_loopback() && !a.is_unspecified());
        let Some(address) = address.map(|address| address.to_string()) else {
            continue;
        };
        if !asked(member, &address) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let questions: Vec<_> = addresses
        .into_iter()
        .map(|address| async move {
            let status = ask_status(session, Some(&address)).await;
            (address, status)
        })
        .collect();
    futures::stream::iter(questions)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// Queries again the state of the members that had no warnings, and returns those that do not answer
/// now or have no leader.
pub(super) async fn ask_again(session: &TalosSession, members: &Members) -> Vec<UnusableMember> {
    let ask = |label| async move {
        let target = session.target(label);
        match ask_status(session, target.node.as_deref()).await {
            Ok(status) if status.leader == 0 => Some(recheck::NO_LEADER.to_owned()),
            Ok(_) => None,
            // A call that was not allowed before is not allowed now.
            Err(failure)
                if matches!(
                    failure.reason,
                    TalosFailureReason::Role | TalosFailureReason::Unknown
                ) =>
            {
                None
            }
            Err(failure) => Some(failure.to_string()),
        }
    };
    recheck::ask_again(members, ask).await
}

async fn ask_status(
    session: &TalosSession,
    node: Option<&str>,
) -> Result<EtcdMemberStatus, TalosFailure> {
    let limit = session.call_timeout();
    let asked = session.call("EtcdStatus", node, limit, |mut client, mut to| {
        Box::pin(async move {
            let reply = client.etcd_status(to.request(())).await?.into_inner();
            let message = only(reply.messages, |message| message.metadata.as_ref())?;
            Ok(message.member_status.unwrap_or_default())
        })
    });
    asked.await
}

#[cfg(test)]
mod tests;
