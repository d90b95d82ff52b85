//! Comparison of the named nodes with etcd's own list of members. A member that is not named gives no
//! snapshot when the others are gone, and a node that left the cluster never gives one.

use super::super::proto::machine::EtcdMember;
use super::super::session::{NodeSource, host_of};
use super::{MAX_MEMBERS, TalosFailureReason, TalosMemberAnswers};
use crate::grpc::status::printable;
use backup_core::format::manifest::Finding;

/// Returns findings for members that are not named, and for named nodes that are not members. Empty if
/// no member returned its list, or if nodes cannot be matched with members.
pub(in super::super) fn differences(
    source: NodeSource,
    answers: &[TalosMemberAnswers],
) -> Vec<Finding> {
    let (Some(place), Some(list)) = (source.place(), list(answers)) else {
        return Vec::new();
    };
    let is = |answer: &TalosMemberAnswers, member: &EtcdMember| {
        id(answer) == Some(member.id) || is_named(member, &answer.target.label)
    };
    let absent = |answer: &&TalosMemberAnswers| !list.iter().any(|member| is(answer, member));
    // It answers, and may be any of the members under an address that the list does not have.
    let unsure = |answer: &TalosMemberAnswers| id(answer).is_none() && answer.members.is_ok();
    if answers.iter().filter(absent).any(unsure) {
        return Vec::new();
    }
    let finding = |cause: String, remedy: String| Finding::warning(place, cause, remedy);
    let lacking = list.iter().filter(|m| !answers.iter().any(|a| is(a, m)));
    let lacking = lacking.filter_map(address).map(|address| {
        let cause = format!(
            "{address} is a control plane node and is not in {place}: if the named nodes are all gone, no \
             snapshot is taken of it"
        );
        finding(cause, format!("add {address} to {}", source.add()))
    });
    let gone = answers.iter().filter(absent).filter(|answer| {
        let status = answer.status.as_ref();
        // A worker is identified by its failure, and a call that is not allowed proves nothing.
        status.err().is_none_or(|failure| {
            let unknown = [
                TalosFailureReason::Worker,
                TalosFailureReason::Role,
                TalosFailureReason::Unknown,
            ];
            !unknown.contains(&failure.reason)
        })
    });
    let gone = gone.map(|answer| {
        let node = &answer.target.label;
        let member = match id(answer) {
            Some(id) => format!("its member {id:016x}"),
            None => "a member with this address".to_owned(),
        };
        let cause = format!("{node} is in {place}, and etcd's list does not have {member}");
        let remedy = format!(
            "take {node} out of {place} if it has left the cluster; `talosctl etcd members` shows who is \
             in it"
        );
        finding(cause, remedy)
    });
    lacking.chain(gone).collect()
}

/// Returns the most current list: that of a member with a leader, and with the highest applied index.
fn list(answers: &[TalosMemberAnswers]) -> Option<&[EtcdMember]> {
    let told = answers.iter().filter_map(|answer| {
        let list = answer
            .members
            .as_ref()
            .ok()
            .filter(|list| !list.is_empty())?;
        let status = answer.status.as_ref().ok();
        let rank = status.map(|status| (status.leader != 0, status.raft_applied_index));
        Some((rank, list))
    });
    let (_, list) = told.max_by_key(|(rank, _)| *rank)?;
    Some(list.get(..MAX_MEMBERS).unwrap_or(list))
}

fn id(answer: &TalosMemberAnswers) -> Option<u64> {
    let status = answer.status.as_ref().ok()?;
    (status.member_id != 0).then_some(status.member_id)
}

/// Reports whether a node with this address or name is the member.
fn is_named(member: &EtcdMember, label: &str) -> bool {
    let address = label.parse().ok();
    let mut urls = member.client_urls.iter().chain(&member.peer_urls);
    member.hostname == label || urls.any(|url| address.is_some() && host_of(url) == address)
}

/// Returns the member's usable address or its name; `None` if all its addresses are loopback or
/// unspecified.
fn address(member: &EtcdMember) -> Option<String> {
    let urls = member.client_urls.iter().chain(&member.peer_urls);
    let mut hosts = urls.filter_map(|url| host_of(url)).peekable();
    if hosts.peek().is_none() {
        let name = printable(&member.hostname);
        return Some(name).filter(|name| !name.is_empty());
    }
    let usable = hosts.find(|host| !host.is_loopback() && !host.is_unspecified());
    usable.map(|host| host.to_string())
}

#[cfg(test)]
mod tests {
    use backup_core::format::manifest::Severity;
    use tonic::Code;

    use super::super::tests::{answers, failure, member};
    use super::*;

    /// Returns three members, of which the first `named` are named.
    fn named(named: u64) -> Vec<TalosMemberAnswers> {
        (1..=named).map(answers).collect()
    }

    fn told(source: NodeSource, answers: &[TalosMemberAnswers]) -> Vec<String> {
        let findings = differences(source, answers);
        assert!(findings.iter().all(|f| f.severity == Severity::Warning));
        findings.into_iter().map(|finding| finding.cause).collect()
    }

    #[test]
    fn members_that_are_not_named_are_told_with_the_place_to_name_them() {
        assert_eq!(
            told(NodeSource::Configuration, &named(3)),
            Vec::<String>::new()
        );
        let found = differences(NodeSource::Configuration, &named(2));
        let [finding] = found.as_slice() else {
            panic!("{found:#?}");
        };
        assert_eq!(finding.object, "talos.nodes");
        let words = "10.0.0.3 is a control plane node and is not in talos.nodes";
        assert!(finding.cause.starts_with(words), "{finding:?}");
        assert_eq!(finding.remedy, "add 10.0.0.3 to `talos.nodes`");
        let found = differences(NodeSource::Endpoints, &named(1));
        assert_eq!(found.len(), 2);
        assert!(found[0].cause.contains("10.0.0.2"), "{found:?}");
        assert!(
            found[0].cause.contains("endpoints of the talosconfig"),
            "{found:?}"
        );
        // When no node is named, none is missing.
        assert_eq!(told(NodeSource::Nobody, &named(1)), Vec::<String>::new());
    }

    #[test]
    fn a_node_that_left_and_the_one_in_its_place_are_told() {
        let mut all = named(2);
        let mut left = answers(9);
        for code in [Code::Unavailable, Code::DeadlineExceeded] {
            left.status = Err(failure(code, ""));
            left.members = Err(failure(code, ""));
            all.push(left);
            let found = told(NodeSource::Configuration, &all);
            assert_eq!(found.len(), 2, "{found:?}");
            assert!(
                found[0].starts_with("10.0.0.3 is a control plane node"),
                "{found:?}"
            );
            let words = "10.0.0.9 is in talos.nodes, and etcd's list does not have a member with";
            assert!(found[1].starts_with(words), "{found:?}");
            left = all.pop().unwrap();
        }
        // This node still runs, but was removed.
        let mut removed = answers(9);
        removed.members = Ok(vec![member(9)]);
        removed.status.as_mut().unwrap().leader = 0;
        all.push(removed);
        all.push(answers(3));
        let found = told(NodeSource::Configuration, &all);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("its member 0000000000000009"),
            "{found:?}"
        );
    }

    #[test]
    fn a_node_is_known_by_its_id_its_name_or_an_address_and_a_doubt_tells_nothing() {
        let mut all = named(3);
        // One by an address that etcd does not have, one by name.
        all[0].target.label = "192.168.0.1".to_owned();
        all[1].target.label = "cp-2".to_owned();
        all[1].status = Err(failure(Code::Unavailable, ""));
        assert_eq!(told(NodeSource::Configuration, &all), Vec::<String>::new());
        // A node whose state may not be queried may be any member.
        all[0].status = Err(failure(Code::PermissionDenied, "not authorized"));
        assert_eq!(told(NodeSource::Configuration, &all), Vec::<String>::new());
        // A worker has its own message.
        let mut all = named(3);
        let mut worker = answers(9);
        worker.status = Err(failure(
            Code::Unimplemented,
            "is only available on control plane nodes",
        ));
        worker.members = Err(failure(
            Code::Unimplemented,
            "is only available on control plane nodes",
        ));
        all.push(worker);
        assert_eq!(told(NodeSource::Configuration, &all), Vec::<String>::new());
        // If nobody may list the members, nothing is known.
        let mut all = named(1);
        all[0].members = Err(failure(Code::PermissionDenied, "not authorized"));
        assert_eq!(told(NodeSource::Configuration, &all), Vec::<String>::new());
    }

    #[test]
    fn members_without_an_address_go_by_their_names_and_loopback_is_no_address() {
        let mut all = named(1);
        let mut list = vec![member(1), member(2), member(3), member(4)];
        list[1].client_urls.clear();
        list[2].client_urls = vec!["https://127.0.0.1:2379".to_owned()];
        list[3].client_urls.clear();
        list[3].hostname = String::new();
        list[3].peer_urls = vec!["https://10.0.0.4:2380".to_owned()];
        all[0].members = Ok(list);
        let found = told(NodeSource::Configuration, &all);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].starts_with("cp-2 is a control plane node"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("10.0.0.4 is a control plane node"),
            "{found:?}"
        );
    }
}
