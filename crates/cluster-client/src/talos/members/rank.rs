//! Ranking of the members by their answers, with warnings for the operator.

use super::{OtherMember, TalosMemberAnswers};
use crate::grpc::status::printable;
use crate::talos::explain::{TalosFailure, TalosFailureReason};
use crate::talos::proto::machine::EtcdMemberAlarm;
use crate::talos::proto::machine::etcd_member_alarm::AlarmType;
use crate::talos::session::host_of;
use backup_core::source::{Candidate, Members, SourceError, UnusableMember};

/// Largest acceptable lag, in raft entries. Members are queried within a second or two, in which a busy
/// cluster writes some hundred entries.
const LAG: u64 = 1_000;
/// Maximum number of a member's own error messages in the warnings.
const MAX_ERRORS: usize = 8;

/// Rank of a member; the order of the fields is the order in which they count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct TalosMemberRank {
    /// Whether its data is known to be damaged: such a member is the last resort.
    corrupt: bool,
    /// Whether it did not answer.
    silent: bool,
    /// Whether it has no leader, or is behind the others: its data is older.
    behind: bool,
    /// Whether its state could not be queried.
    unknown: bool,
    /// Whether it is the leader; a follower spares the leader the work.
    leader: bool,
}

/// Sorts the members in the order in which they should be tried, best first.
///
/// # Errors
/// When there is none to try; gives the reason for each.
pub(in super::super) fn rank(
    answers: Vec<TalosMemberAnswers>,
    others: Vec<OtherMember>,
) -> Result<Members, SourceError> {
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

    let mut ranked: Vec<(TalosMemberRank, Candidate)> = Vec::new();
    let mut unwell: Vec<UnusableMember> = Vec::new();
    // Problems that no single member has: common to all, or caused by an entry in the talosconfig.
    let mut shared = Vec::new();
    let mut failures = Vec::new();
    for answer in answers {
        match judge(answer, &alarms, newest, &mut shared) {
            MemberVerdict::Candidate(rank, candidate) => {
                // Two names with one member id are one member.
                let twin = candidate.member_id.is_some()
                    && ranked
                        .iter()
                        .any(|(_, other)| other.member_id == candidate.member_id);
                if !twin {
                    ranked.push((rank, *candidate));
                }
            }
            MemberVerdict::LeftOut(left_out) => unwell.push(left_out),
            MemberVerdict::Failed(node, failure) => failures.push((node, failure)),
        }
    }
    if ranked.is_empty() {
        let mut left_out: Vec<String> = unwell.into_iter().map(|member| member.cause).collect();
        left_out.extend(summarize(failures.into_iter().map(|(_, f)| f).collect()));
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
    // The sort is stable, so equals stay in the order of the configuration.
    ranked.sort_by_key(|(rank, _)| *rank);
    for (node, failure) in failures {
        match failure.reason {
            TalosFailureReason::Worker | TalosFailureReason::NoForwarding => shared.push(failure),
            _ => unwell.push(UnusableMember {
                node,
                cause: failure.to_string(),
            }),
        }
    }
    unwell.extend(others.into_iter().filter_map(other));
    let mut warnings = summarize(shared);
    if alarms
        .iter()
        .any(|a| a.alarm == i32::from(AlarmType::Nospace))
    {
        warnings.push(
            "the cluster has the alarm NOSPACE: it takes no writes until it is compacted, \
             defragmented and disarmed"
                .to_owned(),
        );
    }
    Ok(Members {
        candidates: ranked.into_iter().map(|(_, candidate)| candidate).collect(),
        unwell,
        warnings,
        findings: Vec::new(),
    })
}

/// Returns the problem of a member that is not a candidate for a snapshot.
fn other((node, status): OtherMember) -> Option<UnusableMember> {
    let cause = match status {
        // A client that may not query it cannot judge it.
        Err(failure)
            if matches!(
                failure.reason,
                TalosFailureReason::Role | TalosFailureReason::Unknown
            ) =>
        {
            return None;
        }
        Err(failure) => failure.to_string(),
        Ok(status) if status.leader == 0 => "it knows no leader".to_owned(),
        Ok(_) => return None,
    };
    Some(UnusableMember { node, cause })
}

/// Returns failures as sentences; failures with the same meaning become one sentence.
fn summarize(failures: Vec<TalosFailure>) -> Vec<String> {
    let mut groups: Vec<Vec<TalosFailure>> = Vec::new();
    for failure in failures {
        let same = |group: &&mut Vec<TalosFailure>| {
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
        .filter_map(TalosFailure::merge)
        .map(|failure| failure.to_string())
        .collect()
}

enum MemberVerdict {
    Candidate(TalosMemberRank, Box<Candidate>),
    LeftOut(UnusableMember),
    Failed(String, TalosFailure),
}

fn judge(
    answer: TalosMemberAnswers,
    alarms: &[EtcdMemberAlarm],
    newest: u64,
    shared: &mut Vec<TalosFailure>,
) -> MemberVerdict {
    let node = answer.target.label;
    let mut warnings = Vec::new();
    let mut rank = TalosMemberRank {
        corrupt: false,
        silent: false,
        behind: false,
        unknown: false,
        leader: false,
    };
    let status = match answer.status {
        Ok(status) => Some(status),
        Err(failure) => match failure.reason {
            reason if reason.of_endpoint() || reason == TalosFailureReason::Worker => {
                return MemberVerdict::Failed(node, failure);
            }
            TalosFailureReason::Role | TalosFailureReason::Unknown => {
                rank.unknown = true;
                shared.push(failure);
                None
            }
            reason => {
                rank.silent =
                    matches!(reason, TalosFailureReason::Hung | TalosFailureReason::Other);
                rank.unknown = true;
                warnings.push(format!("state, lag and role are not known: {failure}"));
                None
            }
        },
    };
    let (members, lists) = match answer.members {
        Ok(members) => (members, None),
        Err(failure) => (Vec::new(), Some(failure)),
    };
    for failure in answer.alarms.err().into_iter().chain(lists) {
        match failure.reason {
            TalosFailureReason::Role | TalosFailureReason::Unknown => shared.push(failure),
            // A silent member is silent in all calls.
            TalosFailureReason::Hung if rank.silent => {}
            _ => warnings.push(failure.to_string()),
        }
    }
    // The role that may take snapshots may not query the version; this is expected.
    if let Err(failure) = &answer.version
        && !matches!(
            failure.reason,
            TalosFailureReason::Role | TalosFailureReason::Unknown
        )
        && !rank.silent
    {
        warnings.push(failure.to_string());
    }

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
        let cause = format!("node {node} is a learner: its data may be old until it is promoted");
        return MemberVerdict::LeftOut(UnusableMember { node, cause });
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
        for error in status.errors.iter().take(MAX_ERRORS) {
            warnings.push(format!(
                "the member at node {node} says: {}",
                printable(error)
            ));
        }
    }
    for alarm in alarms {
        let whose = alarm.member_id == 0 || Some(alarm.member_id) == member_id;
        match AlarmType::try_from(alarm.alarm) {
            // An alarm counts for a member whose id is unknown.
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
            _ => {}
        }
    }
    MemberVerdict::Candidate(
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
