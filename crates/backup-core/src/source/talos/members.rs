//! Which member to take a snapshot from: asks each, then ranks them.

use futures::StreamExt as _;

use super::explain::{Failure, Reason};
use super::proto::machine::etcd_member_alarm::AlarmType;
use super::proto::machine::{
    EtcdMember, EtcdMemberAlarm, EtcdMemberListRequest, EtcdMemberStatus, VersionInfo,
};
use super::session::{Session, Target, host_of, only};
use super::{Candidate, SourceError};
use crate::source::status::printable;

/// Nodes asked at once, four small calls each: an API server has 2 threads and 128 MiB.
const ASKED_AT_ONCE: usize = 8;
/// Members are asked within a second or two, in which a busy cluster writes some hundred entries.
const LAG: u64 = 1_000;

/// As many of a member's own complaints as a person reads.
const ERRORS_TOLD: usize = 8;

/// What one member told about itself.
pub(super) struct Answers {
    target: Target,
    status: Result<EtcdMemberStatus, Failure>,
    alarms: Result<Vec<EtcdMemberAlarm>, Failure>,
    members: Result<Vec<EtcdMember>, Failure>,
    version: Result<VersionInfo, Failure>,
}

impl Answers {
    /// Whether the member did not answer in time.
    pub(super) fn hung(&self) -> bool {
        matches!(&self.status, Err(failure) if failure.reason == Reason::Hung)
    }
}

/// Asks every member of the session, each call with its own deadline.
pub(super) async fn ask_all(session: &Session) -> Vec<Answers> {
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

async fn ask(session: &Session, target: &Target) -> Answers {
    let node = target.node.as_deref();
    let limit = session.call_timeout();
    let status = session.call("EtcdStatus", node, limit, |mut client, mut to| {
        Box::pin(async move {
            let reply = client.etcd_status(to.request(())).await?.into_inner();
            let message = only(reply.messages, |message| message.metadata.as_ref())?;
            Ok(message.member_status.unwrap_or_default())
        })
    });
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
    Answers {
        target: target.clone(),
        status,
        alarms,
        members,
        version,
    }
}

/// How good a member is; the order of the fields is the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Its data is known to be damaged: the last resort.
    corrupt: bool,
    /// It did not answer.
    silent: bool,
    /// It has no leader, or is behind the others: its data is older.
    behind: bool,
    /// Its state could not be asked.
    unknown: bool,
    /// A follower spares the leader the work.
    leader: bool,
}

/// Puts the members in the order in which they should be tried, best first.
///
/// # Errors
/// When there is none to try; says why for each.
pub(super) fn rank(answers: Vec<Answers>) -> Result<Vec<Candidate>, SourceError> {
    let alarms: Vec<EtcdMemberAlarm> = answers
        .iter()
        .filter_map(|answer| answer.alarms.as_ref().ok())
        .flatten()
        .copied()
        .collect();
    let newest = answers
        .iter()
        .filter_map(|answer| answer.status.as_ref().ok())
        .map(|status| status.raft_applied_index)
        .max()
        .unwrap_or_default();

    let mut ranked: Vec<(Rank, Candidate)> = Vec::new();
    let mut left_out = Vec::new();
    let mut failures = Vec::new();
    for answer in answers {
        match judge(answer, &alarms, newest) {
            Judged::Candidate(rank, candidate) => {
                // Two names of one member are one member.
                let twin = candidate.member_id.is_some()
                    && ranked
                        .iter()
                        .any(|(_, other)| other.member_id == candidate.member_id);
                if !twin {
                    ranked.push((rank, *candidate));
                }
            }
            Judged::LeftOut(why) => left_out.push(why),
            Judged::Failed(failure) => failures.push(failure),
        }
    }
    left_out.extend(summed_up(failures));
    if ranked.is_empty() {
        let operation = format!(
            "no etcd member to take a snapshot from: {}",
            left_out.join("; ")
        );
        return Err(SourceError {
            operation,
            try_other_member: false,
            source: None,
        });
    }
    // Stable, so equals stay in the order of the configuration.
    ranked.sort_by_key(|(rank, _)| *rank);
    Ok(ranked
        .into_iter()
        .map(|(_, mut candidate)| {
            let others = left_out.iter().map(|why| format!("left out: {why}"));
            candidate.warnings.extend(others);
            candidate
        })
        .collect())
}

/// Failures in sentences; those that mean the same are one sentence.
fn summed_up(failures: Vec<Failure>) -> Vec<String> {
    let mut groups: Vec<Vec<Failure>> = Vec::new();
    for failure in failures {
        let same = |group: &&mut Vec<Failure>| {
            group.first().is_some_and(|other| {
                (&other.advice, &other.cause) == (&failure.advice, &failure.cause)
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(failure),
            None => groups.push(vec![failure]),
        }
    }
    groups
        .into_iter()
        .filter_map(Failure::merge)
        .map(|failure| failure.to_string())
        .collect()
}

enum Judged {
    Candidate(Rank, Box<Candidate>),
    LeftOut(String),
    Failed(Failure),
}

fn judge(answer: Answers, alarms: &[EtcdMemberAlarm], newest: u64) -> Judged {
    let node = answer.target.label;
    let mut warnings = Vec::new();
    let mut rank = Rank {
        corrupt: false,
        silent: false,
        behind: false,
        unknown: false,
        leader: false,
    };
    let status = match answer.status {
        Ok(status) => Some(status),
        Err(failure) => match failure.reason {
            Reason::Unreachable | Reason::NoForwarding | Reason::Worker => {
                return Judged::Failed(failure);
            }
            reason => {
                rank.silent = matches!(reason, Reason::Hung | Reason::Other);
                rank.unknown = true;
                warnings.push(format!("state, lag and role are not known: {failure}"));
                None
            }
        },
    };
    for failure in [answer.alarms.as_ref().err(), answer.members.as_ref().err()]
        .into_iter()
        .flatten()
    {
        warnings.push(failure.to_string());
    }
    // The role that may take snapshots may not ask for the version: that is as it should be.
    if let Err(failure) = &answer.version
        && failure.reason != Reason::Role
    {
        warnings.push(failure.to_string());
    }

    let members = answer.members.unwrap_or_default();
    let own = status
        .as_ref()
        .map(|status| status.member_id)
        .filter(|id| *id != 0);
    let member = match own {
        Some(id) => members.iter().find(|member| member.id == id),
        None => node.parse().ok().and_then(|address| {
            members.iter().find(|member| {
                let mut urls = member.client_urls.iter();
                urls.any(|url| host_of(url) == Some(address))
            })
        }),
    };
    let member_id = own.or_else(|| member.map(|member| member.id));
    if status.as_ref().is_some_and(|status| status.is_learner)
        || member.is_some_and(|member| member.is_learner)
    {
        return Judged::LeftOut(format!(
            "node {node} is a learner: its data may be old until it is promoted"
        ));
    }
    if let Some(status) = &status {
        rank.leader = status.leader != 0 && status.leader == status.member_id;
        if status.leader == 0 {
            rank.behind = true;
            warnings.push(format!(
                "the member at node {node} knows no leader: its data may be older than others'"
            ));
        }
        let lag = newest.saturating_sub(status.raft_applied_index);
        let unapplied = status.raft_index.saturating_sub(status.raft_applied_index);
        if lag.max(unapplied) > LAG {
            rank.behind = true;
            warnings.push(format!(
                "the member at node {node} is {} raft entries behind",
                lag.max(unapplied)
            ));
        }
        for error in status.errors.iter().take(ERRORS_TOLD) {
            warnings.push(format!(
                "the member at node {node} says: {}",
                printable(error)
            ));
        }
    }
    for alarm in alarms {
        let whose = alarm.member_id == 0 || Some(alarm.member_id) == member_id;
        match AlarmType::try_from(alarm.alarm) {
            // An alarm of a member that cannot be told apart counts for each.
            Ok(AlarmType::Corrupt) if whose || member_id.is_none() => {
                rank.corrupt = true;
                push_once(
                    &mut warnings,
                    format!(
                        "the member at node {node} has the alarm CORRUPT: its data differs from the \
                     others'; replace it"
                    ),
                );
            }
            Ok(AlarmType::Nospace) => push_once(
                &mut warnings,
                "the cluster has the alarm NOSPACE: it takes no writes until it is compacted, \
                 defragmented and disarmed"
                    .to_owned(),
            ),
            _ => {}
        }
    }
    Judged::Candidate(
        rank,
        Box::new(Candidate {
            member_name: member.map(|member| printable(&member.hostname)),
            member_id,
            etcd_version: status
                .as_ref()
                .map(|status| printable(&status.protocol_version))
                .filter(|version| !version.is_empty()),
            talos_version: answer
                .version
                .ok()
                .map(|version| printable(&version.tag))
                .filter(|tag| !tag.is_empty()),
            talos_authorities: Vec::new(),
            leader: status.as_ref().map(|_| rank.leader),
            node,
            warnings,
        }),
    )
}

fn push_once(warnings: &mut Vec<String>, warning: String) {
    if !warnings.contains(&warning) {
        warnings.push(warning);
    }
}

#[cfg(test)]
mod tests;
