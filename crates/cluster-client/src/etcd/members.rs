//! Queries to the members of an etcd, and their ranking by the answers.

use futures::StreamExt as _;

use super::explain::{EtcdFailure, EtcdFailureReason};
use super::proto::{AlarmMember, AlarmRequest, AlarmType, StatusRequest, StatusResponse};
use super::session::EtcdSession;
use crate::grpc::ranking::{MemberAlarm, MemberRank, MemberState, Ranking, learner};
use crate::grpc::recheck;
use crate::grpc::status::printable;
use backup_core::source::{Candidate, Members, SourceError, UnusableMember};

/// Members queried at once; each query is two small calls.
const ASKED_AT_ONCE: usize = 8;
/// Answers of one member about itself.
pub(super) struct EtcdMemberAnswers {
    endpoint: String,
    status: Result<StatusResponse, EtcdFailure>,
    alarms: Result<Vec<AlarmMember>, EtcdFailure>,
}

/// Queries every member, each call with its own deadline.
pub(super) async fn ask_all(session: &EtcdSession) -> Vec<EtcdMemberAnswers> {
    let questions: Vec<_> = session.endpoints().map(|e| ask(session, e)).collect();
    futures::stream::iter(questions)
        .buffered(ASKED_AT_ONCE)
        .collect()
        .await
}

/// Queries again the state of the members that had no warnings, and returns those that do not answer
/// now or have no leader.
pub(super) async fn ask_again(session: &EtcdSession, members: &Members) -> Vec<UnusableMember> {
    let ask = |node| async move {
        match ask_status(session, node).await {
            Ok(status) if status.leader == 0 => Some(recheck::NO_LEADER.to_owned()),
            Ok(_) => None,
            Err(failure) => Some(failure.to_string()),
        }
    };
    recheck::ask_again(members, ask).await
}

async fn ask_status(session: &EtcdSession, endpoint: &str) -> Result<StatusResponse, EtcdFailure> {
    let limit = session.call_timeout();
    let asked = session.call(
        "Maintenance.Status",
        endpoint,
        limit,
        |mut client, headers| {
            Box::pin(async move {
                let request = headers.request(StatusRequest {});
                Ok(client.status(request).await?.into_inner())
            })
        },
    );
    asked.await
}

async fn ask(session: &EtcdSession, endpoint: &str) -> EtcdMemberAnswers {
    let limit = session.call_timeout();
    let status = ask_status(session, endpoint);
    let alarms = session.call(
        "Maintenance.Alarm",
        endpoint,
        limit,
        |mut client, headers| {
            Box::pin(async move {
                let request = headers.request(AlarmRequest {});
                Ok(client.alarm(request).await?.into_inner().alarms)
            })
        },
    );
    let (status, alarms) = tokio::join!(status, alarms);
    EtcdMemberAnswers {
        endpoint: endpoint.to_owned(),
        status,
        alarms,
    }
}

/// Sorts the members in the order in which they should be tried, best first.
///
/// # Errors
/// When there is none to try; gives the reason for each.
pub(super) fn rank(owner: &str, answers: Vec<EtcdMemberAnswers>) -> Result<Members, SourceError> {
    let states = answers.iter().filter_map(|a| a.status.as_ref().ok());
    let applied = states.map(|status| status.raft_applied_index);
    let alarms = answers.iter().filter_map(|a| a.alarms.as_ref().ok());
    let mut ranking = Ranking::new(applied, alarms.flatten().filter_map(alarm));
    let mut unwell: Vec<UnusableMember> = Vec::new();
    for answer in answers {
        let node = answer.endpoint.clone();
        match judge(answer, &ranking) {
            Ok((rank, candidate)) => ranking.add(rank, candidate),
            Err(cause) => unwell.push(UnusableMember { node, cause }),
        }
    }
    if ranking.is_empty() {
        return Err(SourceError {
            operation: format!(
                "{owner} has no member to take a snapshot from: {}",
                unwell
                    .iter()
                    .map(|member| member.cause.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            ),
            try_other_member: false,
            source: None,
        });
    }
    Ok(Members {
        warnings: ranking.no_space(owner).into_iter().collect(),
        candidates: ranking.candidates(),
        unwell,
        findings: Vec::new(),
    })
}

/// Returns the rank of a member, or the reason why it cannot be used.
fn judge(answer: EtcdMemberAnswers, ranking: &Ranking) -> Result<(MemberRank, Candidate), String> {
    let endpoint = answer.endpoint;
    let mut rank = MemberRank::default();
    let mut warnings = Vec::new();
    let status = match answer.status {
        Ok(status) => Some(status),
        Err(failure) => {
            let reason = failure.reason;
            let gone = matches!(
                reason,
                EtcdFailureReason::Unreachable
                    | EtcdFailureReason::NoAddress
                    | EtcdFailureReason::UntrustedServer
                    | EtcdFailureReason::RefusedClient
                    | EtcdFailureReason::Login
            );
            if gone {
                return Err(failure.to_string());
            }
            rank.silent = true;
            warnings.push(format!("state, lag and role are not known: {failure}"));
            None
        }
    };
    if let Err(failure) = answer.alarms {
        warnings.push(format!("alarms are not known: {failure}"));
    }
    let id = status
        .as_ref()
        .and_then(|s| s.header.as_ref())
        .map(|h| h.member_id);
    if status.as_ref().is_some_and(|status| status.is_learner) {
        return Err(learner(&endpoint));
    }
    let state = status.as_ref().map(|status| MemberState {
        id: id.unwrap_or_default(),
        leader: status.leader,
        raft_index: status.raft_index,
        raft_applied_index: status.raft_applied_index,
        errors: &status.errors,
    });
    ranking.judge("it", id, state, (&mut rank, &mut warnings));
    let version = status.as_ref().map(|status| printable(&status.version));
    let candidate = Candidate {
        node: endpoint,
        member_name: None,
        member_id: id,
        etcd_version: version.filter(|version| !version.is_empty()),
        talos_version: None,
        talos_authorities: Vec::new(),
        leader: status.as_ref().map(|_| rank.leader),
        warnings,
    };
    Ok((rank, candidate))
}

/// Returns the meaning of an alarm for a ranking.
fn alarm(alarm: &AlarmMember) -> Option<MemberAlarm> {
    match alarm.alarm() {
        AlarmType::Corrupt => Some(MemberAlarm::Corrupt(alarm.member_id)),
        AlarmType::Nospace => Some(MemberAlarm::NoSpace),
        AlarmType::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::explain::EtcdCall;
    use super::super::proto::ResponseHeader;
    use super::*;

    fn answers(member: u64, change: impl FnOnce(&mut StatusResponse)) -> EtcdMemberAnswers {
        let mut status = StatusResponse {
            header: Some(ResponseHeader { member_id: member }),
            version: "3.5.17".to_owned(),
            leader: 1,
            raft_index: 5_000,
            raft_applied_index: 5_000,
            ..StatusResponse::default()
        };
        change(&mut status);
        EtcdMemberAnswers {
            endpoint: format!("10.0.0.{member}:2379"),
            status: Ok(status),
            alarms: Ok(Vec::new()),
        }
    }

    fn order(answers: Vec<EtcdMemberAnswers>) -> Vec<String> {
        let ranked = rank("DataStore `default`", answers).unwrap();
        ranked.candidates.into_iter().map(|c| c.node).collect()
    }

    #[test]
    fn a_follower_goes_before_the_leader_and_a_laggard_behind_both() {
        let laggard = answers(2, |status| status.raft_applied_index = 100);
        let found = order(vec![answers(1, |_| {}), laggard, answers(3, |_| {})]);
        assert_eq!(found, ["10.0.0.3:2379", "10.0.0.1:2379", "10.0.0.2:2379"]);
    }

    #[test]
    fn a_corrupt_member_is_the_last_and_a_learner_none() {
        let mut first = answers(1, |_| {});
        first.alarms = Ok(vec![AlarmMember {
            member_id: 2,
            alarm: AlarmType::Corrupt.into(),
        }]);
        let learner = answers(3, |status| status.is_learner = true);
        let ranked = rank("it", vec![first, answers(2, |_| {}), learner]).unwrap();
        let nodes: Vec<_> = ranked.candidates.iter().map(|c| c.node.as_str()).collect();
        assert_eq!(nodes, ["10.0.0.1:2379", "10.0.0.2:2379"]);
        let told = ranked.candidates.last().unwrap().warnings.join("\n");
        assert!(told.contains("CORRUPT"), "{told}");
        assert_eq!(ranked.candidates[0].warnings, Vec::<String>::new());
        assert_eq!(ranked.unwell[0].node, "10.0.0.3:2379");
        assert!(ranked.unwell[0].cause.contains("learner"));
    }

    #[test]
    fn two_endpoints_of_one_member_are_one() {
        let mut twin = answers(1, |_| {});
        twin.endpoint = "etcd.example:2379".to_owned();
        assert_eq!(order(vec![answers(1, |_| {}), twin]), ["10.0.0.1:2379"]);
    }

    #[test]
    fn with_no_member_each_is_told_with_its_reason() {
        let call = EtcdCall {
            method: "Maintenance.Status",
            endpoint: "10.0.0.9:2379".to_owned(),
            owner: "DataStore `default`".to_owned(),
            user: None,
        };
        let gone = || call.failed(&tonic::Status::unavailable("connection refused"));
        let answers = EtcdMemberAnswers {
            endpoint: "10.0.0.9:2379".to_owned(),
            status: Err(gone()),
            alarms: Err(gone()),
        };
        let error = rank("DataStore `default`", vec![answers]).unwrap_err();
        assert!(error.operation.contains("10.0.0.9:2379"), "{error}");
        assert!(error.operation.contains("connection refused"), "{error}");
    }
}
