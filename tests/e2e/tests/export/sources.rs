//! Tests of two connections to a cluster: one that is down, and two that reach different clusters.

use anyhow::Result;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::data::{Cluster, Shape};
use e2e::etcd::Etcd;
use e2e::lab::control_plane;
use e2e::port::Port;
use e2e::run::tells;
use e2e::talos::{ClientSpec, Standin};

use super::site::{EXPORT, ExportSite};

/// Starts the Talos API before `etcd`, and writes the talosconfig that the configuration names.
async fn talos(site: &ExportSite, etcd: &Etcd) -> Result<Standin> {
    let talos = control_plane(etcd).await?;
    let config = talos.talosconfig(&ClientSpec::of(&["os:operator"]))?;
    std::fs::write(site.folder.join("talosconfig"), config)?;
    Ok(talos)
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_is_stored_while_the_api_server_is_down() -> Result<()> {
    let site = ExportSite::new().await?;
    let _talos = talos(&site, &site.cluster.etcd).await?;
    let nobody = Port::reserve()?;
    let config = std::fs::read_to_string(&site.cluster.kubeconfig)?;
    let url = site.cluster.server.lock().await.url();
    let config = config.replace(&url, &format!("https://127.0.0.1:{nobody}"));
    std::fs::write(site.folder.join("kubeconfig"), config)?;
    site.configure_with("  kubeconfig: kubeconfig\n  timeout: 3s\n")?;

    let exported = site.taken(&site.snapshot(&[]), 7).await?;
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

    // If it is the only requested component, there is nothing to store.
    let failed = site
        .snapshot(&["--component", EXPORT])
        .ended_with(1)
        .await?;
    tells(&failed, &[&nobody.to_string()]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talosconfig_and_a_kubeconfig_of_two_clusters_are_refused() -> Result<()> {
    let site = ExportSite::new().await?;
    let other = Etcd::start(&site.cluster.folder, "other").await?;
    let shape = Shape {
        objects: 50,
        ..Shape::small()
    };
    let data = Cluster::fill(&other.client().await?, shape).await?;
    let _talos = talos(&site, &other).await?;
    let refused = site
        .snapshot(&["--component", "etcd,crds"])
        .ended_with(6)
        .await?;
    let system = site.kube().get("/api/v1/namespaces/kube-system").await?;
    let ours = system["metadata"]["uid"].as_str().unwrap_or_default();
    tells(
        &refused,
        &[ours, &data.kube_system_uid(), "talosconfig", "kubeconfig"],
    );
    assert!(
        !site.folder.join("store/manifests").exists(),
        "nothing was committed"
    );

    // For one cluster they agree.
    let _talos = talos(&site, &site.cluster.etcd).await?;
    let whole = site
        .taken(&site.snapshot(&["--component", "etcd,crds"]), 0)
        .await?;
    assert_eq!(
        whole.manifest.lineage.kube_system_uid.as_deref(),
        Some(ours)
    );
    Ok(())
}

/// Way in which a component fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// No member gives a snapshot.
    Etcd,
    /// The certificate's role is too small.
    MachineConfig,
    /// Nothing listens at the API server's address.
    Kubernetes,
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_component_fails_costs_itself_alone() -> Result<()> {
    let site = ExportSite::new().await?;
    let talos = control_plane(&site.cluster.etcd).await?;
    let nobody = Port::reserve()?;
    let config = std::fs::read_to_string(&site.cluster.kubeconfig)?;
    let url = site.cluster.server.lock().await.url();
    let away = config.replace(&url, &format!("https://127.0.0.1:{nobody}"));
    site.configure_with("  kubeconfig: kubeconfig\n  timeout: 10s\n")?;
    let mut all = vec![("etcd", Way::Etcd), ("machine-config", Way::MachineConfig)];
    all.extend(EXPORT.split(',').map(|name| (name, Way::Kubernetes)));
    for (fails, way) in &all {
        let role = if *way == Way::MachineConfig {
            "os:etcd:backup"
        } else {
            "os:admin"
        };
        let text = talos.talosconfig(&ClientSpec::of(&[role]))?;
        std::fs::write(site.folder.join("talosconfig"), text)?;
        let text = if *way == Way::Kubernetes {
            &away
        } else {
            &config
        };
        std::fs::write(site.folder.join("kubeconfig"), text)?;
        for node in talos.nodes() {
            node.heal();
            node.fault(|faults| {
                if *way == Way::Etcd {
                    let refusal = (tonic::Code::Unknown, "etcdserver: no space".to_owned());
                    let refusal = e2e::talos::CallFault::Refuse(refusal.0, refusal.1);
                    faults.calls.insert("EtcdSnapshot", refusal);
                }
            });
        }
        for (works, _) in all.iter().filter(|(_, other)| other != way) {
            let pair = format!("{fails},{works}");
            let taken = site
                .taken(&site.snapshot(&["--component", &pair]), 7)
                .await?;
            let missing: Vec<_> = taken
                .manifest
                .missing
                .iter()
                .map(ComponentName::as_str)
                .collect();
            assert_eq!(missing, [*fails], "{pair}");
            let there: Vec<_> = taken.manifest.components.iter().collect();
            let there = there.iter().filter(|c| c.carried_from.is_none());
            let there: Vec<_> = there.map(|c| c.name.as_str()).collect();
            assert_eq!(there, [*works], "{pair}");
            let object = if *way == Way::Kubernetes {
                "Kubernetes API"
            } else {
                fails
            };
            taken.finding(object, Severity::Error)?;
        }
    }
    // Without any access to the Kubernetes API it is the same.
    site.configure_with("  timeout: 3s\n")?;
    let taken = site.snapshot(&["--component", "etcd,crds"]);
    let taken = site.taken(&taken.env("KUBECONFIG", ""), 7).await?;
    assert_eq!(taken.manifest.missing.len(), 1);
    Ok(())
}
