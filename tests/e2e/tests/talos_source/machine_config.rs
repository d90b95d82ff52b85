//! Tests of the machine configuration over the Talos API, and of the roles that may read it.

use std::sync::Arc;

use backup_core::causes::line;
use backup_core::clock::SystemClock;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource as _, SourceError};
use cluster_client::talos::{MachineConfigSource, TalosSource};
use e2e::talos::machine_config::{JOIN_TOKEN, of};
use e2e::talos::{CallFault, TalosVersion};
use futures::StreamExt as _;
use tonic::Code;

use super::lab::{Lab, NODES, snapshot, specs};

fn source(lab: &Lab, role: &str) -> MachineConfigSource {
    TalosSource::new(lab.options(role), Arc::new(SystemClock)).machine_config()
}

/// Returns everything that the source writes, and its result.
async fn write(source: &MachineConfigSource) -> (Vec<u8>, Result<ArchiveReport, SourceError>) {
    let (mut sink, stream) = ArchiveSink::new();
    let reading = tokio::spawn(stream.collect::<Vec<_>>());
    let written = source.write(&mut sink).await;
    sink.finish().await.unwrap();
    let blocks = reading.await.unwrap();
    let blocks: Vec<_> = blocks.into_iter().map(Result::unwrap).collect();
    (blocks.concat(), written)
}

fn has(haystack: &[u8], needle: &str) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle.as_bytes())
}

#[tokio::test]
async fn an_administrator_gets_the_configuration_of_one_control_plane_node() {
    let lab = Lab::start().await;
    let source = source(&lab, "os:admin");
    assert_eq!(source.forbidden().await.unwrap(), None);
    let (tar, written) = write(&source).await;
    let written = written.unwrap();
    assert_eq!(written.facts.objects, 1);
    assert_eq!(written.facts.encryption_prefixes, ["k8s:enc:secretbox:v1:"]);
    assert!(has(&tar, &format!("machine-config/{}.yaml", NODES[0])));
    assert!(
        has(&tar, &of("cp-1", true, TalosVersion::NEWEST)),
        "not byte for byte"
    );
    assert!(lab.cluster.violations().is_empty());
    let asked = lab.cluster.seen();
    let asked: Vec<_> = asked
        .iter()
        .filter(|s| s.method == "MachineConfig")
        .collect();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].node.as_deref(), Some(NODES[0]));
}

#[tokio::test]
async fn other_roles_are_told_before_anybody_is_asked_what_to_do() {
    for role in ["os:operator", "os:reader", "os:etcd:backup"] {
        let lab = Lab::start().await;
        let source = source(&lab, role);
        let finding = source.forbidden().await.unwrap().unwrap();
        assert!(finding.cause.contains(role), "{finding:?}");
        assert!(
            finding.remedy.contains("backupd kit add FILE"),
            "{finding:?}"
        );
        assert!(finding.remedy.contains("admin talosconfig"), "{finding:?}");
        assert_eq!(lab.cluster.seen(), []);

        // A request all the same is refused, once.
        let (tar, written) = write(&source).await;
        let error = line(&written.unwrap_err());
        assert!(error.contains("os:admin"), "{error}");
        assert!(error.contains("backupd kit add FILE"), "{error}");
        assert!(!has(&tar, JOIN_TOKEN));
        let asked = lab.cluster.seen();
        let asked = asked.iter().filter(|s| s.method == "MachineConfig").count();
        assert_eq!(asked, 1);
    }
}

#[tokio::test]
async fn a_node_that_gives_none_is_passed_over() {
    let snapshot = snapshot(10);
    let lab = Lab::of(
        specs(&snapshot, |spec| {
            if spec.address == NODES[0] {
                spec.machine_config = Some(of("cp-1", false, TalosVersion::NEWEST));
            }
        }),
        snapshot,
    )
    .await;
    let second = lab.cluster.node(NODES[1]).unwrap();
    second.fault(|faults| {
        let broken = CallFault::Refuse(Code::Internal, "broken".to_owned());
        faults.calls.insert("MachineConfig", broken);
    });
    let source = source(&lab, "os:admin");
    let (tar, written) = write(&source).await;
    written.unwrap();
    assert!(has(&tar, &format!("machine-config/{}.yaml", NODES[2])));

    let third = lab.cluster.node(NODES[2]).unwrap();
    third.fault(|faults| faults.unreachable = true);
    let (_, written) = write(&source).await;
    let error = line(&written.unwrap_err());
    for node in NODES {
        assert!(error.contains(node), "{error}");
    }
    assert!(!error.contains(JOIN_TOKEN), "{error}");
}
