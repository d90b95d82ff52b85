//! Ranking of the members by their answers through Talos, with warnings for the operator.

use super::{OtherMember, TalosMemberAnswers};
use crate::grpc::ranking::{MemberAlarm, MemberRank, MemberState, Ranking, learner};
use crate::grpc::status::printable;
use crate::talos::explain::{TalosFailure, TalosFailureReason};
use crate::talos::proto::machine::EtcdMemberAlarm;
use crate::talos::proto::machine::etcd_member_alarm::AlarmType;
use crate::talos::session::host_of;
use backup_core::source::{Candidate, Members, SourceError, UnusableMember};

/// Sorts the members in the order in which they should be tried, best first.
///
/// # Errors
/// When there is none to try; gives the reason for each.
pub(in super::super) fn rank(
    answers: Vec<TalosMemberAnswers>,
    others: Vec<OtherMember>,
) -> Result<Members, SourceError> {
    let states = answers.iter().filter_map(|a| a.status.as_ref().ok());
    let applied = states.map(|status| status.raft_applied_index);
    let alarms = answers.iter().filter_map(|a| a.alarms.as_ref().ok());
    let mut ranking = Ranking::new(applied, alarms.flatten().filter_map(alarm));
    let mut unwell: Vec<UnusableMember> = Vec::new();
    // Problems that no single member has: common to all, or caused by an entry in the talosconfig.
    let mut shared = Vec::new();
    let mut failures = Vec::new();
    for answer in answers {
        match judge(answer, &ranking, &mut shared) {
            MemberVerdict::Candidate(rank, candidate) => ranking.add(rank, *candidate),
            MemberVerdict::LeftOut(left_out) => unwell.push(left_out),
            MemberVerdict::Failed(node, failure) => failures.push((node, failure)),
        }
    }
    if ranking.is_empty() {
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
    warnings.extend(ranking.no_space("the cluster"));
    Ok(Members {
        candidates: ranking.candidates(),
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
    Candidate(MemberRank, Box<Candidate>),
    LeftOut(UnusableMember),
    Failed(String, TalosFailure),
}

fn judge(
    answer: TalosMemberAnswers,
    ranking: &Ranking,
    shared: &mut Vec<TalosFailure>,
) -> MemberVerdict {
    let node = answer.target.label;
    let mut warnings = Vec::new();
    let mut rank = MemberRank::default();
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
        let cause = learner(&format!("node {node}"));
        return MemberVerdict::LeftOut(UnusableMember { node, cause });
    }
    let state = status.as_ref().map(|status| MemberState {
        id: status.member_id,
        leader: status.leader,
        raft_index: status.raft_index,
        raft_applied_index: status.raft_applied_index,
        errors: &status.errors,
    });
    let subject = format!("the member at node {node}");
    ranking.judge(&subject, member_id, state, (&mut rank, &mut warnings));
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

/// Returns the meaning of an alarm for a ranking.
fn alarm(alarm: &EtcdMemberAlarm) -> Option<MemberAlarm> {
    match AlarmType::try_from(alarm.alarm) {
        Ok(AlarmType::Corrupt) => Some(MemberAlarm::Corrupt(alarm.member_id)),
        Ok(AlarmType::Nospace) => Some(MemberAlarm::NoSpace),
        _ => None,
    }
}
