//! Tests of streams that are whole, broken, silent, or fail unnoticed.

use std::time::Duration;

use backup_core::causes::line;
use backup_core::source::SnapshotSource as _;
use e2e::talos::{CallFault, StreamFault};
use tonic::Code;

use super::lab::{Lab, NODES, drain, refusal, source, take};

#[tokio::test]
async fn a_snapshot_comes_whole_and_in_large_blocks() {
    let lab = Lab::start().await;
    let source = lab.source();
    let candidates = source.members().await.unwrap().candidates;
    // A follower, which the stand-in's first node is not.
    assert_eq!(candidates[0].node, NODES[1]);
    assert_eq!(candidates[0].warnings, Vec::<String>::new());
    assert_eq!(candidates[0].member_name.as_deref(), Some("cp-2"));
    assert_eq!(candidates[0].talos_version.as_deref(), Some("v1.14.0"));
    let (blocks, error) = drain(source.open(&candidates[0]).await.unwrap()).await;
    assert!(error.is_none());
    assert_eq!(blocks.concat(), lab.snapshot);
    let (last, full) = blocks.split_last().unwrap();
    assert!(!last.is_empty());
    assert!(full.iter().all(|block| block.len() == 256 << 10));
    assert_eq!(lab.cluster.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn every_call_names_its_node_and_looks_like_talosctl() {
    let lab = Lab::start().await;
    let text = lab.options("os:operator");
    let path = text.search.explicit.clone().unwrap();
    let with_cluster = std::fs::read_to_string(&path).unwrap() + "    cluster: blue\n";
    std::fs::write(&path, with_cluster).unwrap();
    let (bytes, error) = take(&source(text)).await;
    assert!(error.is_none());
    assert_eq!(bytes, lab.snapshot);
    let seen = lab.cluster.seen();
    assert_eq!(seen.len(), 13);
    for call in seen {
        assert!(call.node.is_some(), "{call:?}");
        assert_eq!(call.runtime.as_deref(), Some("Talos"));
        assert_eq!(call.context.as_deref(), Some("blue"));
    }
    assert_eq!(lab.cluster.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cut_stream_ends_well_and_is_passed_on_as_it_came() {
    let lab = Lab::start().await;
    for cut in [1, 1024, 300_000] {
        for node in lab.cluster.nodes() {
            node.fault(|faults| faults.snapshot = Some(StreamFault::CutAfter(cut)));
        }
        let (bytes, error) = take(&lab.source()).await;
        assert!(error.is_none());
        assert_eq!(bytes, lab.snapshot[..usize::try_from(cut).unwrap()]);
    }
}

#[tokio::test]
async fn an_empty_stream_is_a_refusal() {
    let lab = Lab::start().await;
    let source = lab.source();
    let candidate = lab.candidate(&source, NODES[1]).await;
    lab.cluster.nodes()[1].fault(|faults| {
        faults.snapshot_once.push_back(StreamFault::CutAfter(0));
    });
    let error = refusal(&source, &candidate).await;
    assert!(error.try_other_member);
    assert!(error.operation.contains("without a single byte"), "{error}");
    assert!(error.operation.contains(NODES[1]), "{error}");
    // The switch was for one snapshot.
    assert!(source.open(&candidate).await.is_ok());
}

#[tokio::test]
async fn a_flipped_bit_is_passed_on_for_the_trailer_to_find() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.snapshot = Some(StreamFault::FlipAt(70_000)));
    }
    let (bytes, error) = take(&lab.source()).await;
    assert!(error.is_none());
    let differ: Vec<usize> = (0..bytes.len())
        .filter(|&i| bytes[i] != lab.snapshot[i])
        .collect();
    assert_eq!(differ, [70_000]);
}

#[tokio::test]
async fn a_stream_that_stalls_is_given_up() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.snapshot = Some(StreamFault::StallAfter(300_000)));
    }
    let mut options = lab.options("os:operator");
    options.idle_timeout = Duration::from_millis(300);
    let (bytes, error) = take(&source(options)).await;
    let error = error.unwrap();
    assert_eq!(bytes.len(), 256 << 10);
    assert!(error.try_other_member);
    assert!(
        error
            .operation
            .contains("after 300000 bytes: no byte arrived for 0.3 s"),
        "{error}"
    );
    assert!(error.operation.contains(NODES[1]), "{error}");
}

#[tokio::test]
async fn a_snapshot_that_never_begins_is_given_up() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.snapshot = Some(StreamFault::StallAfter(0)));
    }
    let mut options = lab.options("os:operator");
    options.idle_timeout = Duration::from_millis(300);
    let source = source(options);
    let candidate = lab.candidate(&source, NODES[1]).await;
    let error = refusal(&source, &candidate).await;
    assert!(error.try_other_member);
    assert!(
        line(&error).contains("no answer within 0.3 s"),
        "{}",
        line(&error)
    );
}

#[tokio::test]
async fn the_total_time_ends_a_stream_that_is_not_idle_for_long() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.snapshot = Some(StreamFault::StallAfter(1000)));
    }
    let mut options = lab.options("os:operator");
    options.total_timeout = Duration::from_millis(400);
    options.idle_timeout = Duration::from_secs(60);
    let (_, error) = take(&source(options)).await;
    let error = error.unwrap().to_string();
    assert!(error.contains("not finished within 0.4 s"), "{error}");
}

#[tokio::test]
async fn an_error_in_band_is_a_failure_whatever_its_code() {
    let lab = Lab::start().await;
    for code in [Code::Cancelled, Code::DeadlineExceeded, Code::Unavailable] {
        for at in [0, 5000] {
            for node in lab.cluster.nodes() {
                let fault = StreamFault::InBandAfter(at, code, "boom".to_owned());
                node.fault(|faults| faults.snapshot = Some(fault));
            }
            let source = lab.source();
            let candidate = lab.candidate(&source, NODES[1]).await;
            let error = match source.open(&candidate).await {
                Ok(stream) => drain(stream).await.1.unwrap(),
                Err(error) => error,
            };
            assert!(error.try_other_member);
            assert!(line(&error).contains("boom"), "{}", line(&error));
        }
    }
    for node in lab.cluster.nodes() {
        node.fault(|faults| {
            let fault = CallFault::InBand(Code::Unknown, "no leader".to_owned());
            faults.calls.insert("EtcdMemberList", fault);
        });
    }
    let candidates = lab.source().members().await.unwrap().candidates;
    let warnings = candidates[0].warnings.join("\n");
    assert!(
        warnings.contains("EtcdMemberList") && warnings.contains("no leader"),
        "{warnings}"
    );
}

#[tokio::test]
async fn an_api_server_that_restarts_breaks_the_stream_by_name() {
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        let fault = StreamFault::FailAfter(90_000, Code::Unavailable, "graceful_stop".to_owned());
        node.fault(|faults| faults.snapshot = Some(fault));
    }
    let (_, error) = take(&lab.source()).await;
    let error = error.unwrap();
    assert!(error.try_other_member);
    assert!(error.operation.contains(NODES[1]), "{error}");
    assert!(line(&error).contains("graceful_stop"), "{}", line(&error));
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_and_no_end() {
    use futures::StreamExt as _;
    let lab = Lab::start().await;
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.snapshot = Some(StreamFault::StallAfter(600_000)));
    }
    let source = lab.source();
    let candidate = lab.candidate(&source, NODES[1]).await;
    let mut stream = source.open(&candidate).await.unwrap();
    assert!(stream.next().await.unwrap().is_ok());
    for node in lab.cluster.nodes() {
        node.fault(|faults| faults.unreachable = true);
    }
    // The second whole block had already arrived; then the silence, or the break, ends it.
    let (_, error) = drain(stream).await;
    assert!(error.unwrap().try_other_member);
}
