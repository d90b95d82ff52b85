//! Two ways to a cluster: one that is down, and two that lead to different clusters.

use anyhow::Result;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::data::{Cluster, Shape};
use e2e::etcd::Etcd;
use e2e::lab::control_plane;
use e2e::port::Port;
use e2e::talos::{ClientSpec, Standin};

use super::bed::{Bed, EXPORT};

/// The Talos API before `etcd`, and the talosconfig for it that the configuration names.
async fn talos(bed: &Bed, etcd: &Etcd) -> Result<Standin> {
    let talos = control_plane(etcd).await?;
    let config = talos.talosconfig(&ClientSpec::of(&["os:operator"]))?;
    std::fs::write(bed.folder.join("talosconfig"), config)?;
    Ok(talos)
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_stored_while_the_api_server_is_down() -> Result<()> {
    let bed = Bed::new().await?;
    let _talos = talos(&bed, &bed.ground.etcd).await?;
    let nobody = Port::reserve()?;
    let config = std::fs::read_to_string(&bed.ground.kubeconfig)?;
    let url = bed.ground.server.lock().await.url();
    let config = config.replace(&url, &format!("https://127.0.0.1:{nobody}"));
    std::fs::write(bed.folder.join("kubeconfig"), config)?;
    bed.configure_with("  kubeconfig: kubeconfig\n  timeout: 3s\n")?;

    let exported = bed.taken(&bed.snapshot(&[]), 7).await?;
    let finding = exported.finding("Kubernetes API", Severity::Error)?;
    assert!(finding.cause.contains(&nobody.to_string()), "{finding:?}");
    let mut missing: Vec<_> = exported
        .manifest
        .missing
        .iter()
        .map(ToString::to_string)
        .collect();
    missing.sort();
    let mut asked: Vec<_> = EXPORT.split(',').collect();
    asked.sort_unstable();
    assert_eq!(missing, asked);
    assert_eq!(exported.told["missing"].as_array().map(Vec::len), Some(5));
    let etcd = exported.manifest.component(&ComponentName::etcd());
    assert!(etcd.and_then(|c| c.etcd.as_ref()).is_some(), "{etcd:?}");

    // Asked for alone, there is nothing that could be stored.
    let failed = bed
        .snapshot(&["--component", EXPORT])
        .output()
        .await?
        .ended_with(1)?;
    assert!(
        failed.stderr.contains(&nobody.to_string()),
        "{}",
        failed.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talosconfig_and_a_kubeconfig_of_two_clusters_are_refused() -> Result<()> {
    let bed = Bed::new().await?;
    let other = Etcd::start(&bed.ground.folder, "other").await?;
    let shape = Shape {
        objects: 50,
        ..Shape::small()
    };
    let data = Cluster::fill(&other.client().await?, shape).await?;
    let _talos = talos(&bed, &other).await?;
    let refused = bed.snapshot(&["--component", "etcd,crds"]).output().await?;
    let refused = refused.ended_with(6)?;
    let system = bed.kube().get("/api/v1/namespaces/kube-system").await?;
    let ours = system["metadata"]["uid"].as_str().unwrap_or_default();
    for word in [ours, &data.kube_system_uid(), "talosconfig", "kubeconfig"] {
        assert!(
            refused.stderr.contains(word),
            "{word} is not in:\n{}",
            refused.stderr
        );
    }
    assert!(
        !bed.folder.join("store/manifests").exists(),
        "nothing was committed"
    );

    // Of one cluster they agree.
    let _talos = talos(&bed, &bed.ground.etcd).await?;
    let whole = bed
        .taken(&bed.snapshot(&["--component", "etcd,crds"]), 0)
        .await?;
    assert_eq!(
        whole.manifest.lineage.kube_system_uid.as_deref(),
        Some(ours)
    );
    Ok(())
}
