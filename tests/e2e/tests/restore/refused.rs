//! Tests of what a restore refuses, each with the difference named and nothing changed.

use anyhow::Result;
use e2e::fresh::Fresh;
use e2e::run::tells;
use e2e::site::ButlerSite;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_for_one_cluster_at_one_time() -> Result<()> {
    let site = ButlerSite::saved("refused").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let (other, kubeconfig) = (site.shared.butler.kubeconfig(), fresh.kubeconfig());
    // The captured cluster is not a fresh one.
    let wrong = site
        .plan(&other, &["--mode", "rebuild", "--to", "wrong.json"])
        .await?;
    let wrong = wrong.ended_with(6)?;
    assert!(
        wrong
            .stdout
            .contains("the cluster that the restore point is from"),
        "{}",
        wrong.stdout
    );
    // And a fresh cluster is not the captured one.
    let wrong = site
        .plan(&kubeconfig, &["--only", "resources", "--to", "wrong.json"])
        .await?;
    let wrong = wrong.ended_with(6)?;
    assert!(wrong.stdout.contains("another cluster"), "{}", wrong.stdout);

    let planned = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    let planned = planned.ended_with(0)?.json()?;
    // Each write has its content, and was tried or has a reason why not.
    let written = |o: &&serde_json::Value| o["outcome"] == "created";
    let objects = planned["plan"]["objects"].as_array();
    let written = objects.into_iter().flatten().filter(written);
    let mut untried = std::collections::BTreeMap::new();
    for object in written {
        assert!(object["content"].is_string(), "{object:#}");
        let path = object["object"].as_str().unwrap_or_default();
        let kind = path.split('/').nth(1).unwrap_or_default().to_owned();
        untried.insert(kind, object["untried"].as_str().map(str::to_owned));
    }
    let of = |kind: &str| untried.get(kind).cloned().flatten();
    assert_eq!(of("customresourcedefinitions.apiextensions.k8s.io"), None);
    assert_eq!(of("namespaces"), None);
    let first = Some("its definition is written first".to_owned());
    assert_eq!(of("teams.butler.butlerlabs.dev"), first);
    let refused = site.restore(&other).ended_with(6).await?;
    tells(&refused, &["the plan is for the cluster at"]);
    // Edited by hand.
    let file = site.folder.join("restore-plan.json");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(
        &file,
        text.replacen("\"prune\": false", "\"prune\": true", 1),
    )?;
    let refused = site.restore(&kubeconfig).ended_with(6).await?;
    tells(&refused, &["was changed after it was made"]);
    std::fs::write(&file, text)?;
    // Without consent, or with consent for another cluster.
    let silent = site
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json"]);
    let silent = silent
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .ended_with(6)
        .await?;
    tells(&silent, &["--yes --target NAME"]);
    // The present connection is shown, not the plan's.
    let system = fresh.kube_apiserver.read("/api/v1/namespaces/kube-system");
    let system = system.await?["metadata"]["uid"].clone();
    let captured = &site.shared.butler.kube_apiserver;
    let captured =
        captured.read("/api/v1/namespaces/kube-system").await?["metadata"]["uid"].clone();
    for shown in [
        format!("Kubernetes API now: {}", fresh.kube_apiserver.url()),
        format!(
            "kube-system {}, no nodes",
            system.as_str().unwrap_or_default()
        ),
        format!(
            "Restore point: cluster butler-mgmt, kube-system {}",
            captured.as_str().unwrap_or_default()
        ),
    ] {
        tells(&silent, &[&shown]);
    }
    let named = site
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json", "--yes"]);
    let named = named
        .args(["--target", "other"])
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    let named = named.ended_with(6).await?;
    tells(&named, &["--target names other"]);
    // The cluster changed since.
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
    });
    fresh
        .kube_apiserver
        .create("/api/v1/namespaces", &namespace)
        .await?;
    let stale = site.restore(&kubeconfig).ended_with(6).await?;
    tells(&stale, &["changed since the plan was made"]);
    assert!(
        stale
            .stderr
            .contains("namespaces/cluster/butler-system.json"),
        "{}",
        stale.stderr
    );
    // None of these attempts wrote anything.
    assert!(
        site.listed(&kubeconfig, "customresourcedefinitions")
            .await?
            .is_empty()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_restore_at_once_is_told_of_the_first() -> Result<()> {
    let site = ButlerSite::saved("twice").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    site.plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    let first = site
        .restore(&kubeconfig)
        .args(["--settle", "600"])
        .start()?;
    let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/butler-restore";
    e2e::wait::until(
        "the Lease",
        std::time::Duration::from_secs(60),
        async || fresh.kube_apiserver.read(lease).await.map(drop),
    )
    .await?;
    let second = site.restore_cli("restore").args(["crds", "latest"]);
    let second = second.args(["--mode", "rebuild", "--yes", "--target", "butler-mgmt"]);
    let second = second.args(["--allow", "target-not-empty"]);
    let second = second
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .ended_with(6)
        .await?;
    tells(&second, &["is running on this cluster"]);
    first.kill().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_or_not_readable_is_told_before_anything_is_written() -> Result<()> {
    let site = ButlerSite::saved("unreadable").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    // An identity that is not one of the recipients.
    let keygen = site.programs.backupd().args(["keygen", "--out", "other"]);
    keygen.in_folder(site.folder.path()).ended_with(0).await?;
    let text = std::fs::read_to_string(site.folder.join("butler.yaml"))?;
    let other = text.replace("keys/identity.key", "other/identity.key");
    std::fs::write(site.folder.join("butler.yaml"), other)?;
    let wrong = site
        .plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(2)?;
    tells(&wrong, &["the private key of one of"]);
    std::fs::write(site.folder.join("butler.yaml"), text)?;
    // A tenant that does not exist.
    let args = ["--mode", "rebuild", "--tenant", "gamma"];
    let wrong = site.plan(&kubeconfig, &args).await?.ended_with(2)?;
    tells(&wrong, &["butler-tenants/alpha"]);
    // A journal that does not exist.
    let resume = site.restore_cli("resume").output().await?;
    assert_ne!(resume.code, Some(0));
    // A pack that was changed.
    let butler = &site.shared.butler;
    let packs = butler
        .s3
        .objects()
        .join(&butler.bucket)
        .join("unreadable/packs");
    for pack in std::fs::read_dir(packs)? {
        let path = pack?.path();
        let mut bytes = std::fs::read(&path)?;
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        std::fs::write(&path, bytes)?;
    }
    let broken = site
        .plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(4)?;
    tells(&broken, &["was changed or damaged"]);
    assert!(
        site.listed(&kubeconfig, "customresourcedefinitions")
            .await?
            .is_empty()
    );
    Ok(())
}
