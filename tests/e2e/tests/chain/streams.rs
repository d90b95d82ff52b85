//! Tests of members that give no usable snapshot: such a stream never becomes a restore point.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::lab::NODES;
use e2e::run::{Output, tells};
use e2e::talos::{CallFault, StreamFault};
use tonic::Code;

use super::site::ChainSite;

/// Checks that with `fault` at all nodes the run fails, names them all, and commits nothing.
async fn refused(fault: StreamFault) -> Result<Output> {
    let site = ChainSite::new().await?;
    site.fault(|faults| faults.snapshot = Some(fault.clone()));
    let output = site.backupd("snapshot").ended_with(1).await?;
    assert!(output.stdout.is_empty(), "{}", output.stdout);
    tells(&output, &NODES);
    assert!(site.listed().await?.is_empty());
    assert!(
        !site
            .keys()
            .await?
            .iter()
            .any(|key| key.starts_with("manifests"))
    );

    // Nothing of it stays in the way.
    site.fault(|faults| faults.snapshot = None);
    site.snapshot().await?;
    site.verified("latest").await?;
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_stream_is_no_restore_point() -> Result<()> {
    let output = refused(StreamFault::CutAfter(300_000)).await?;
    tells(&output, &["300000 bytes"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_cut_at_a_page_is_no_restore_point() -> Result<()> {
    let output = refused(StreamFault::CutAfter(327_680)).await?;
    tells(&output, &["cut off after 327680 bytes"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_stream_is_no_restore_point() -> Result<()> {
    let output = refused(StreamFault::CutAfter(0)).await?;
    tells(&output, &["without a single byte"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_no_restore_point() -> Result<()> {
    let output = refused(StreamFault::FlipAt(500_000)).await?;
    tells(&output, &["SHA-256"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stalls_is_given_up() -> Result<()> {
    let output = refused(StreamFault::StallAfter(300_000)).await?;
    tells(&output, &["no byte arrived for 1 s"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_member_is_passed_over_and_told() -> Result<()> {
    let refusal = CallFault::Refuse(Code::PermissionDenied, "not authorized".to_owned());
    let stall = StreamFault::StallAfter(100_000);
    let site = ChainSite::new().await?;
    // The followers come first, in this order.
    site.talos.nodes()[1].fault(|faults| faults.snapshot = Some(stall));
    site.talos.nodes()[2].fault(|faults| {
        faults.calls.insert("EtcdSnapshot", refusal);
    });
    let taken = site.backupd("snapshot").args(["--output", "json"]);
    let taken = taken.ended_with(3).await?;
    tells(&taken, &[NODES[1], NODES[2], "warning", "not allowed"]);
    let json = taken.json()?;
    assert_eq!(json["components"][0]["origin"], NODES[0]);
    let findings = json["findings"].as_array().cloned().unwrap_or_default();
    let objects: Vec<_> = findings.iter().map(|f| f["object"].clone()).collect();
    for node in [NODES[1], NODES[2]] {
        assert!(
            objects.contains(&format!("etcd member {node}").into()),
            "{objects:?}"
        );
    }
    site.verified("latest").await?;
    // A later reader gets the finding too.
    let show = site.restore_cli("show").arg("latest").ended_with(0).await?;
    assert!(show.stdout.contains(NODES[1]), "{}", show.stdout);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_answer_not_authorized_are_told_with_the_role_that_is_needed() -> Result<()> {
    let site = ChainSite::new().await?;
    let refusal = CallFault::Refuse(Code::PermissionDenied, "not authorized".to_owned());
    site.fault(|faults| {
        faults.calls.insert("EtcdSnapshot", refusal.clone());
    });
    let output = site.backupd("snapshot").ended_with(1).await?;
    tells(
        &output,
        &[
            "not authorized",
            "os:operator",
            "os:etcd:backup",
            "talosctl config new",
        ],
    );
    assert!(site.listed().await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_reached_is_told_soon() -> Result<()> {
    let site = ChainSite::new().await?;
    site.fault(|faults| faults.unreachable = true);
    let output = tokio::time::timeout(Duration::from_secs(120), site.backupd("snapshot").output())
        .await??
        .ended_with(1)?;
    tells(&output, &["127.0.0.1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_goes_while_the_snapshot_is_taken_is_told_by_its_address() -> Result<()> {
    let site = ChainSite::new().await?;
    let taken = async |code: i32| {
        let taken = site.backupd("snapshot").args(["--output", "json"]);
        let taken = taken.ended_with(code).await?.json()?;
        anyhow::Ok(taken["findings"].to_string())
    };
    let member = format!("etcd member {}", NODES[1]);
    let calm = taken(0).await?;
    assert!(!calm.contains(&member), "{calm}");
    // The member answers before the snapshot, and not after it.
    site.talos
        .node(NODES[1])?
        .fault(|faults| faults.etcd_answers = Some(1));
    let told = taken(3).await?;
    assert!(told.contains(&member), "{told}");
    assert!(told.contains("is not healthy after it"), "{told}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_named_and_no_member_is_a_finding_of_the_restore_point() -> Result<()> {
    let site = ChainSite::new().await?;
    let nodes = [NODES[0], NODES[1], NODES[2], "10.5.0.77"].join(",");
    let taken = site.backupd("snapshot").args(["--nodes", &nodes]);
    let json = taken
        .args(["--output", "json"])
        .ended_with(3)
        .await?
        .json()?;
    let findings = json["findings"].as_array().cloned().unwrap_or_default();
    let found = findings.iter().find(|f| f["object"] == "talos.nodes");
    let found = found.context("it is not told")?;
    assert_eq!(found["severity"], "warning", "{found:#}");
    let words = "10.5.0.77 is in talos.nodes, and etcd's list does not have a member";
    assert!(found["cause"].to_string().contains(words), "{found:#}");
    // A later reader gets the finding too.
    let show = site.restore_cli("show").arg("latest").ended_with(0).await?;
    assert!(show.stdout.contains(words), "{}", show.stdout);
    Ok(())
}
