//! Tests of the choice of a member, and of the endpoint through which it is reached.

use std::time::Duration;

use backup_core::causes::line;
use backup_core::proxy::Proxies;
use backup_core::source::SnapshotSource as _;
use cluster_client::talos::TalosOptions;
use e2e::forward::Forward;
use e2e::talos::{CallFault, ClientSpec, NodeSpec, TalosVersion};
use tonic::Code;

use super::lab::{Lab, NODES, refusal, snapshot, source, specs, take};

#[tokio::test]
async fn learners_are_skipped_and_damaged_members_come_last() {
    let lab = Lab::start().await;
    lab.cluster.nodes()[1].fault(|faults| faults.learner = true);
    lab.cluster.nodes()[2].fault(|faults| faults.corrupt = true);
    let members = lab.source().members().await.unwrap();
    let candidates = &members.candidates;
    let nodes: Vec<&str> = candidates
        .iter()
        .map(|candidate| candidate.node.as_str())
        .collect();
    assert_eq!(nodes, [NODES[0], NODES[2]]);
    assert!(candidates[1].warnings.join("\n").contains("CORRUPT"));
    // Each by its own address, not by that of the chosen one.
    assert_eq!(candidates[0].warnings, Vec::<String>::new());
    assert_eq!(members.unwell[0].node, NODES[1]);
    assert!(members.unwell[0].cause.contains("learner"));
}

#[tokio::test]
async fn a_lag_and_a_full_disk_are_told() {
    let lab = Lab::start().await;
    lab.cluster.nodes()[1].fault(|faults| faults.lag = 4_000);
    lab.cluster.nodes()[2].fault(|faults| faults.nospace = true);
    let members = lab.source().members().await.unwrap();
    let candidates = members.candidates;
    assert_eq!(candidates[0].node, NODES[2]);
    assert_eq!(candidates[2].node, NODES[1]);
    assert!(
        candidates[2]
            .warnings
            .join("\n")
            .contains("4000 raft entries behind")
    );
    assert!(members.warnings.join("\n").contains("NOSPACE"));
}

#[tokio::test]
async fn an_old_server_that_knows_or_allows_no_status_is_used() {
    for (version, role) in [
        (TalosVersion(1, 10), "os:etcd:backup"),
        (TalosVersion(1, 3), "os:admin"),
    ] {
        let lab = Lab::start_changed(|spec| spec.version = version).await;
        let source = source(lab.options(role));
        let members = source.members().await.unwrap();
        assert_eq!(members.candidates.len(), 3);
        assert_eq!(members.unwell, []);
        assert!(
            members.warnings.join("\n").contains("EtcdStatus"),
            "{members:?}"
        );
        let (bytes, error) = take(&source).await;
        assert!(error.is_none());
        assert_eq!(bytes, lab.snapshot);
    }
}

#[tokio::test]
async fn the_role_for_backups_is_enough_from_1_11_on() {
    let lab = Lab::start_changed(|spec| spec.version = TalosVersion(1, 11)).await;
    let source = source(lab.options("os:etcd:backup"));
    let candidates = source.members().await.unwrap().candidates;
    assert_eq!(candidates[0].warnings, Vec::<String>::new());
    assert_eq!(candidates[0].leader, Some(false));
    let (bytes, _) = take(&source).await;
    assert_eq!(bytes, lab.snapshot);
}

#[tokio::test]
async fn the_call_that_hangs_is_named_and_the_rest_goes_on() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.no_quorum = true);
    }
    let mut options = lab.options("os:operator");
    options.call_timeout = Duration::from_millis(500);
    let source = source(options);
    let candidates = source.members().await.unwrap().candidates;
    let warnings = candidates[0].warnings.join("\n");
    assert!(
        warnings.contains("EtcdAlarmList") && warnings.contains("no answer"),
        "{warnings}"
    );
    assert!(warnings.contains("knows no leader"), "{warnings}");
    // A member that stayed up without quorum still gives its snapshot.
    let stream = source.open(&candidates[0]).await.unwrap();
    let (blocks, error) = super::lab::drain(stream).await;
    assert!(error.is_none());
    assert_eq!(blocks.concat(), lab.snapshot);
}

#[tokio::test]
async fn a_member_whose_etcd_is_down_comes_last() {
    let lab = Lab::start().await;
    lab.cluster.nodes()[1].fault(|faults| faults.etcd_down = true);
    let mut options = lab.options("os:operator");
    options.call_timeout = Duration::from_millis(500);
    options.idle_timeout = Duration::from_millis(500);
    let source = source(options);
    let candidates = source.members().await.unwrap().candidates;
    assert_eq!(candidates[0].node, NODES[2]);
    assert_eq!(candidates[2].node, NODES[1]);
    let error = refusal(&source, &candidates[2]).await;
    assert!(error.operation.contains("talosctl service etcd"), "{error}");
}

#[tokio::test]
async fn another_endpoint_is_used_when_one_is_gone() {
    let lab = Lab::start().await;
    lab.cluster.nodes()[0].fault(|faults| faults.unreachable = true);
    let source = lab.source();
    let members = source.members().await.unwrap();
    assert_eq!(members.candidates.len(), 2);
    assert_eq!(members.unwell[0].node, NODES[0]);
    assert!(
        members.unwell[0]
            .cause
            .contains("EtcdStatus at node 10.5.0.2")
    );
    let (bytes, error) = take(&source).await;
    assert!(error.is_none());
    assert_eq!(bytes, lab.snapshot);
    // The endpoint goes away between the choice and the call.
    lab.cluster.nodes()[1].fault(|faults| faults.unreachable = true);
    let stream = source.open(&lab.candidate(&source, NODES[2]).await).await;
    assert!(stream.is_ok());
}

#[tokio::test]
async fn with_no_endpoint_left_each_node_is_named_with_its_reason() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.unreachable = true);
    }
    let error = lab.source().members().await.unwrap_err();
    for node in NODES {
        assert!(error.operation.contains(node), "{error}");
    }
    assert!(error.operation.contains("not reachable"), "{error}");
}

#[tokio::test]
async fn a_missing_role_and_a_worker_endpoint_are_told_apart() {
    let lab = Lab::start().await;
    let source_of_reader = source(lab.options("os:reader"));
    let candidates = source_of_reader.members().await.unwrap().candidates;
    assert_eq!(candidates[0].warnings, Vec::<String>::new());
    let error = refusal(&source_of_reader, &candidates[0]).await;
    assert!(error.operation.contains("not allowed"), "{error}");
    assert!(
        error
            .operation
            .contains("os:etcd:backup, os:operator, os:admin"),
        "{error}"
    );
    assert!(line(&error).contains("not authorized"), "{}", line(&error));

    let bytes = snapshot(300);
    let mut nodes = specs(&bytes, |_| {});
    nodes.insert(0, NodeSpec::worker("10.5.0.99", "worker-1"));
    let lab = Lab::of(nodes, bytes).await;
    let mut options = lab.options("os:operator");
    options.endpoints = vec![lab.cluster.endpoint("10.5.0.99").unwrap()];
    let error = source(options.clone()).members().await.unwrap_err();
    assert!(
        error.operation.contains("worker node and does not forward"),
        "{error}"
    );
    // Another endpoint may forward.
    options
        .endpoints
        .push(lab.cluster.endpoint(NODES[0]).unwrap());
    let (bytes, error) = take(&source(options.clone())).await;
    assert!(error.is_none());
    assert_eq!(bytes, lab.snapshot);
    // A worker among the nodes is left out.
    options.nodes = vec!["10.5.0.99".to_owned(), NODES[0].to_owned()];
    let members = source(options).members().await.unwrap();
    assert_eq!(members.candidates.len(), 1);
    assert!(
        members
            .warnings
            .join("\n")
            .contains("not a control plane node")
    );
}

#[tokio::test]
async fn without_nodes_and_with_an_endpoint_by_name_the_members_are_asked_for() {
    let lab = Lab::start_changed(|spec| spec.extra_names = vec!["localhost".to_owned()]).await;
    let pair = lab
        .cluster
        .pki()
        .client(&ClientSpec::of(&["os:etcd:backup"]))
        .unwrap();
    let endpoint = lab
        .cluster
        .endpoint(NODES[0])
        .unwrap()
        .replace("127.0.0.1", "localhost");
    let text = lab
        .cluster
        .pki()
        .talosconfig("default", &[endpoint], &[], &pair);
    let source = source(lab.options_of(&text));
    let candidates = source.members().await.unwrap().candidates;
    assert_eq!(candidates.len(), 3);
    assert_eq!(candidates[0].node, NODES[1]);
    let (bytes, _) = take(&source).await;
    assert_eq!(bytes, lab.snapshot);

    // A cluster that does not list its members is queried without `node`, and that is reported.
    for node in lab.cluster.nodes() {
        let fault = CallFault::Refuse(Code::PermissionDenied, "not authorized".to_owned());
        node.fault(|faults| {
            faults.calls.insert("EtcdMemberList", fault);
        });
    }
    let members = source.members().await.unwrap();
    assert_eq!(members.candidates.len(), 1);
    assert_eq!(members.candidates[0].node, "localhost");
    assert!(members.warnings.join("\n").contains("set `nodes`"));
    let (bytes, _) = take(&source).await;
    assert_eq!(bytes, lab.snapshot);
    assert_eq!(lab.cluster.seen().last().unwrap().node, None);
}

#[tokio::test]
async fn a_role_missing_at_one_member_only_leaves_the_others() {
    let lab = Lab::start().await;
    let source = lab.source();
    let candidates = source.members().await.unwrap().candidates;
    lab.cluster.nodes()[1].fault(|faults| {
        let fault = CallFault::Refuse(Code::PermissionDenied, "not authorized".to_owned());
        faults.calls.insert("EtcdSnapshot", fault);
    });
    let error = refusal(&source, &candidates[0]).await;
    assert!(error.try_other_member);
    assert!(error.operation.contains(NODES[1]), "{error}");
    assert!(source.open(&candidates[1]).await.is_ok());
}

#[tokio::test]
async fn a_frozen_node_is_avoided_as_endpoint_and_named_as_member() {
    let lab = Lab::start().await;
    let mut options = lab.options("os:etcd:backup");
    options.call_timeout = Duration::from_millis(700);
    let source = source(options);
    // The endpoint is known, and the connection to it is open.
    assert_eq!(source.members().await.unwrap().candidates.len(), 3);
    lab.cluster.nodes()[0].fault(|faults| faults.frozen = true);
    let begun = std::time::Instant::now();
    let members = source.members().await.unwrap();
    // The two others are well: their etcd is not reported as down.
    let candidates = &members.candidates;
    assert_eq!(candidates[0].node, NODES[1]);
    assert_eq!(candidates[0].warnings, Vec::<String>::new());
    assert_eq!(candidates[1].warnings, Vec::<String>::new());
    let last = candidates.last().unwrap();
    assert_eq!(last.node, NODES[0]);
    assert!(last.warnings.join("\n").contains("no answer"), "{last:?}");
    let stream = source.open(&candidates[0]).await.unwrap();
    let (blocks, error) = super::lab::drain(stream).await;
    assert!(error.is_none());
    assert_eq!(blocks.concat(), lab.snapshot);
    assert!(begun.elapsed() < Duration::from_secs(20), "{begun:?}");
}

#[tokio::test]
async fn a_stream_that_hangs_leads_the_next_member_over_another_endpoint() {
    let lab = Lab::start().await;
    let source = lab.source();
    let members = source.members().await.unwrap();
    let first = &members.candidates[0];
    let used = || {
        let seen = lab.cluster.seen();
        let mut snapshots = seen.iter().rev().filter(|s| s.method == "EtcdSnapshot");
        snapshots.next().unwrap().endpoint.clone()
    };
    lab.cluster.nodes()[1].fault(|faults| {
        faults.snapshot = Some(e2e::talos::StreamFault::StallAfter(300_000));
    });
    let (_, error) = super::lab::drain(source.open(first).await.unwrap()).await;
    assert!(error.unwrap().try_other_member);
    let hung = used();
    let (blocks, error) =
        super::lab::drain(source.open(&members.candidates[1]).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(blocks.concat(), lab.snapshot);
    assert_ne!(used(), hung);
}

#[tokio::test]
async fn a_member_that_is_not_among_the_nodes_is_looked_at_and_named() {
    let lab = Lab::start().await;
    let mut options = lab.options("os:etcd:backup");
    options.nodes = vec![NODES[0].to_owned(), NODES[1].to_owned()];
    options.call_timeout = Duration::from_millis(500);
    let source = source(options);
    assert_eq!(source.members().await.unwrap().unwell, []);
    lab.cluster.nodes()[2].fault(|faults| faults.etcd_down = true);
    let members = source.members().await.unwrap();
    // No snapshot is taken of it, and it is still expected to be well.
    assert_eq!(members.candidates.len(), 2);
    assert_eq!(members.unwell[0].node, NODES[2]);
    assert!(members.unwell[0].cause.contains("talosctl service etcd"));
    let words = "10.5.0.4 is a control plane node and is not in talos.nodes";
    assert!(members.findings[0].cause.starts_with(words), "{members:?}");
}

#[tokio::test]
async fn nodes_that_the_list_of_members_lacks_and_members_that_nobody_named_are_told() {
    let lab = Lab::start().await;
    let told = async |nodes: &[&str]| {
        let mut options = lab.options("os:etcd:backup");
        options.nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        options.call_timeout = Duration::from_millis(500);
        let members = source(options).members().await.unwrap();
        let told = members.findings.into_iter();
        told.map(|f| format!("{}: {}", f.object, f.cause))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&NODES).await, Vec::<String>::new());
    // The talosconfig's own nodes, which are all three.
    assert_eq!(told(&[]).await, Vec::<String>::new());
    // 10.5.0.4 was replaced by a node with another address; no node has the old address any more.
    let found = told(&[NODES[0], NODES[1], "10.5.0.77"]).await;
    let [lacking, gone] = found.as_slice() else {
        panic!("{found:#?}");
    };
    let words = "talos.nodes: 10.5.0.4 is a control plane node and is not in talos.nodes";
    assert!(lacking.starts_with(words), "{lacking}");
    let words = "talos.nodes: 10.5.0.77 is in talos.nodes, and etcd's list does not have a member";
    assert!(gone.starts_with(words), "{gone}");
}

#[tokio::test]
async fn an_endpoint_behind_a_proxy_is_reached_through_it() {
    let lab = Lab::start_changed(|spec| spec.extra_names = vec!["talos.lab.test".to_owned()]).await;
    let proxy = Forward::start(None).await.unwrap();
    let pki = lab.cluster.pki();
    let pair = pki.client(&ClientSpec::of(&["os:operator"])).unwrap();
    let endpoint = lab.cluster.endpoint(NODES[0]).unwrap();
    let endpoint = endpoint.replace("127.0.0.1", "talos.lab.test");
    let nodes = NODES.map(str::to_owned);
    let text = pki.talosconfig("default", std::slice::from_ref(&endpoint), &nodes, &pair);
    let options = |exempt: &'static str| TalosOptions {
        proxies: Proxies::read(|name| match name {
            "HTTPS_PROXY" => Some(proxy.address().to_owned()),
            "NO_PROXY" => Some(exempt.to_owned()),
            _ => None,
        }),
        ..lab.options_of(&text)
    };
    let (bytes, _) = take(&source(options("10.5.0.0/16"))).await;
    assert_eq!(bytes, lab.snapshot);
    assert!(proxy.count(&endpoint) > 0, "{:?}", proxy.seen());
    let seen = proxy.seen();
    assert!(source(options("talos.lab.test")).members().await.is_err());
    assert_eq!(proxy.seen(), seen);
}
