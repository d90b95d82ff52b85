use tonic::{Code, Status};

use super::super::explain::TalosCall;
use super::super::proto::machine::etcd_member_alarm::AlarmType;
use super::*;

pub(super) fn failure(code: Code, text: &str) -> TalosFailure {
    let roles = std::collections::BTreeSet::new();
    let call = TalosCall {
        method: "EtcdStatus",
        endpoint: "e",
        node: Some("n"),
        roles: &roles,
    };
    call.failed(&Status::new(code, text))
}

pub(super) fn member(id: u64) -> EtcdMember {
    EtcdMember {
        id,
        hostname: format!("cp-{id}"),
        client_urls: vec![format!("https://10.0.0.{id}:2379")],
        ..EtcdMember::default()
    }
}

pub(super) fn answers(id: u64) -> TalosMemberAnswers {
    let node = format!("10.0.0.{id}");
    TalosMemberAnswers {
        target: NodeTarget {
            label: node.clone(),
            node: Some(node),
        },
        status: Ok(EtcdMemberStatus {
            protocol_version: "3.6.16".to_owned(),
            leader: 1,
            raft_index: 10_000,
            raft_applied_index: 10_000,
            member_id: id,
            ..EtcdMemberStatus::default()
        }),
        alarms: Ok(Vec::new()),
        members: Ok(vec![member(1), member(2), member(3)]),
        version: Ok(VersionInfo {
            tag: "v1.14.0".to_owned(),
            ..VersionInfo::default()
        }),
    }
}

fn order(answers: Vec<TalosMemberAnswers>) -> Vec<String> {
    let members = rank(answers, Vec::new()).unwrap();
    members
        .candidates
        .into_iter()
        .map(|candidate| candidate.node)
        .collect()
}

fn ranked(answers: Vec<TalosMemberAnswers>) -> Members {
    rank(answers, Vec::new()).unwrap()
}

fn three(change: impl FnOnce(&mut Vec<TalosMemberAnswers>)) -> Vec<TalosMemberAnswers> {
    let mut all = vec![answers(1), answers(2), answers(3)];
    change(&mut all);
    all
}

fn status(answers: &mut TalosMemberAnswers) -> &mut EtcdMemberStatus {
    answers.status.as_mut().unwrap()
}

#[test]
fn followers_go_before_the_leader_in_the_order_of_the_configuration() {
    assert_eq!(order(three(|_| {})), ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    let candidates = rank(three(|_| {}), Vec::new()).unwrap().candidates;
    assert_eq!(candidates[0].member_name.as_deref(), Some("cp-2"));
    assert_eq!(candidates[0].etcd_version.as_deref(), Some("3.6.16"));
    assert_eq!(candidates[0].talos_version.as_deref(), Some("v1.14.0"));
    assert_eq!(candidates[2].leader, Some(true));
    assert!(
        candidates
            .iter()
            .all(|candidate| candidate.warnings.is_empty())
    );
}

#[test]
fn a_learner_is_left_out_and_named() {
    let members = ranked(three(|all| status(&mut all[1]).is_learner = true));
    let mut nodes = members.candidates.iter().map(|candidate| &candidate.node);
    assert!(nodes.all(|node| node != "10.0.0.2"));
    assert_eq!(members.unwell[0].node, "10.0.0.2");
    assert!(members.unwell[0].cause.contains("10.0.0.2 is a learner"));
    // The same when only the list of members shows it.
    let members = ranked(three(|all| {
        all[1].members.as_mut().unwrap()[1].is_learner = true;
    }));
    assert_eq!(members.candidates.len(), 2);
}

#[test]
fn a_corrupt_member_is_the_last_resort() {
    let alarm = EtcdMemberAlarm {
        member_id: 2,
        alarm: i32::from(AlarmType::Corrupt),
    };
    let candidates = ranked(three(|all| all[0].alarms = Ok(vec![alarm]))).candidates;
    assert_eq!(candidates[2].node, "10.0.0.2");
    assert!(candidates[2].warnings[0].contains("CORRUPT"));
    assert!(candidates[0].warnings.is_empty());
}

#[test]
fn a_full_cluster_is_told_but_does_not_hinder() {
    let alarm = EtcdMemberAlarm {
        member_id: 1,
        alarm: i32::from(AlarmType::Nospace),
    };
    let members = ranked(three(|all| {
        for answer in all {
            answer.alarms = Ok(vec![alarm]);
        }
    }));
    assert_eq!(members.candidates[0].node, "10.0.0.2");
    assert!(members.candidates[0].warnings.is_empty());
    assert_eq!(members.warnings.len(), 1);
    assert!(members.warnings[0].contains("NOSPACE"));
}

#[test]
fn a_member_that_lags_goes_behind_the_leader() {
    let all = three(|all| status(&mut all[1]).raft_applied_index = 8_000);
    assert_eq!(order(all), ["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
    let all = three(|all| {
        let status = status(&mut all[1]);
        status.leader = 0;
        status.errors = vec!["etcdserver: no leader".to_owned()];
    });
    let candidates = ranked(all).candidates;
    assert_eq!(candidates[2].node, "10.0.0.2");
    assert_eq!(candidates[2].warnings.len(), 2);
}

#[test]
fn an_old_server_is_used_with_a_warning() {
    for code in [Code::PermissionDenied, Code::Unimplemented] {
        let all = three(|all| {
            for answer in all {
                answer.status = Err(failure(code, "not authorized"));
                answer.alarms = Err(failure(code, "not authorized"));
                answer.members = Err(failure(code, "not authorized"));
                answer.version = Err(failure(code, "not authorized"));
            }
        });
        let Members {
            candidates,
            unwell,
            warnings,
            findings: _,
        } = ranked(all);
        assert_eq!(candidates[0].node, "10.0.0.1");
        assert_eq!(candidates.len(), 3);
        // It is reported once for all, and no member is called unwell for it.
        assert!(candidates.iter().all(|member| member.warnings.is_empty()));
        assert_eq!(unwell, []);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("EtcdStatus"), "{warnings:?}");
        assert_eq!(candidates[0].leader, None);
    }
}

#[test]
fn the_role_for_snapshots_may_not_ask_for_the_version_and_that_is_no_warning() {
    let all = three(|all| {
        all[1].version = Err(failure(Code::PermissionDenied, "not authorized"));
    });
    let candidates = ranked(all).candidates;
    assert_eq!(candidates[0].talos_version, None);
    assert!(candidates[0].warnings.is_empty());
}

#[test]
fn a_member_that_hangs_comes_after_those_that_answer() {
    let all = three(|all| all[1].status = Err(failure(Code::DeadlineExceeded, "")));
    let candidates = ranked(all).candidates;
    assert_eq!(candidates[2].node, "10.0.0.2");
    assert!(candidates[2].warnings[0].contains("EtcdStatus"));
    // Its id is found by its address.
    assert_eq!(candidates[2].member_id, Some(2));
}

#[test]
fn a_worker_and_a_node_that_is_gone_are_left_out_and_named() {
    let all = three(|all| {
        all[1].status = Err(failure(Code::Unavailable, "dial"));
        all[2].status = Err(failure(Code::Unimplemented, "only on control plane nodes"));
    });
    let members = ranked(all);
    assert_eq!(members.candidates.len(), 1);
    assert_eq!(members.unwell.len(), 1);
    assert_eq!(members.unwell[0].node, "10.0.0.2");
    assert!(members.warnings[0].contains("not a control plane node"));
    let all = three(|all| {
        all[1].status = Err(failure(Code::Unavailable, "dial"));
        all[2].status = Err(failure(Code::Unavailable, "dial"));
    });
    let unwell = ranked(all).unwell;
    let nodes: Vec<_> = unwell.iter().map(|member| member.node.as_str()).collect();
    assert_eq!(nodes, ["10.0.0.2", "10.0.0.3"]);
}

#[test]
fn with_nobody_left_each_reason_is_given() {
    let all = three(|all| {
        all[0].status = Err(failure(Code::Unavailable, "gone"));
        status(&mut all[1]).is_learner = true;
        all[2].status = Err(failure(Code::Unimplemented, "only on control plane nodes"));
    });
    let error = rank(all, Vec::new()).unwrap_err().to_string();
    for part in ["gone", "learner", "not a control plane node"] {
        assert!(error.contains(part), "{error} lacks {part}");
    }
}

#[test]
fn two_names_of_one_member_are_one_candidate() {
    let all = three(|all| status(&mut all[2]).member_id = 2);
    assert_eq!(order(all), ["10.0.0.2", "10.0.0.1"]);
}
