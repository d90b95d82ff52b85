//! Tests of each precaution: without it the harm is real, with it there is none.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use backup_core::clock::SystemClock;
use backup_core::read::{ObjectReader, unlock};
use cluster_client::kube::KubeOptions;
use cluster_client::kube::target::KubeTarget;
use cluster_restore::guards::{Guard, Guards};
use cluster_restore::journal::{Journal, Outcome};
use cluster_restore::plan::Plan;
use cluster_restore::{Recovery, RecoveryReport, Selection, Timeouts, read_archive};
use e2e::butler::{SEALING, define};
use e2e::fresh::Fresh;
use e2e::site::ButlerSite;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::runner::Runner;

/// Runs the last plan with `guards`.
async fn run_with(site: &ButlerSite, fresh: &Fresh, guards: Guards) -> Result<RecoveryReport> {
    let plan = Plan::read(&site.folder.join("restore-plan.json"))?;
    let (store, point, identities) = site.newest(&site.objects()).await?;
    let reader = ObjectReader {
        unlocked: Arc::new(unlock(&store, &point, &identities).await?),
        store,
        point: Arc::new(point),
        scratch: site.folder.path().to_owned(),
        progress: Arc::new(backup_core::progress::SilentProgress),
        cancel: CancellationToken::new(),
    };
    let tenants = reader
        .point
        .manifest
        .kubernetes
        .as_ref()
        .context("no tenants")?;
    let select = Selection::new(&plan.options, &tenants.tenants)?;
    let spool = read_archive(&reader, &select).await?;
    let target = KubeTarget::connect(&KubeOptions::new(Some(fresh.kubeconfig()), None)).await?;
    let journal = Journal::begin(
        &site.folder.join("journals"),
        "guarded",
        plan.digest,
        "2026-11-24T03:00:00Z".parse()?,
    )?;
    let mut recovery = Recovery {
        copy: Arc::new(cluster_restore::NoReplica),
        plan,
        target,
        spool,
        base: None,
        journal,
        guards,
        timeouts: Timeouts {
            settle: Duration::from_secs(70),
            ready: Duration::from_secs(30),
            keep_stopped: false,
        },
        clock: Arc::new(SystemClock),
        progress: Arc::new(backup_core::progress::SilentProgress),
        cancel: CancellationToken::new(),
    };
    Ok(recovery.run().await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn with_old_owners_the_garbage_collector_takes_tenants() -> Result<()> {
    let site = ButlerSite::saved("owners").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    site.plan(&fresh.kubeconfig(), &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    let ended = run_with(&site, &fresh, Guards::without(Guard::Owners)).await?;
    assert!(!ended.is_complete());
    let alpha = site.shared.butler.tenants().first().context("no tenant")?;
    let path = format!(
        "/api/v1/namespaces/{}/secrets/alpha-ca",
        alpha.tenant_namespace
    );
    let (status, _) = fresh.kube_apiserver.get(&path).await?;
    assert_eq!(status, 404, "the tenant's authority was to be lost");
    let lost = ended
        .findings
        .iter()
        .filter(|f| f.cause.contains("is gone"))
        .count();
    let going = ended
        .findings
        .iter()
        .filter(|f| f.cause.contains("is being deleted"));
    let planes = going
        .filter(|f| f.object.contains("tenantcontrolplanes"))
        .count();
    assert!(lost > 10 && planes >= 1, "{:#?}", ended.findings);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_status_a_tenant_forgets_its_namespace() -> Result<()> {
    let site = ButlerSite::saved("status").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    site.plan(&fresh.kubeconfig(), &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    run_with(&site, &fresh, Guards::without(Guard::Status)).await?;
    let clusters = site
        .listed(&fresh.kubeconfig(), "tenantclusters.butler.butlerlabs.dev")
        .await?;
    assert_eq!(clusters.len(), 2);
    // Butler makes a namespace, a control plane and machines for each that has none.
    assert!(
        clusters
            .iter()
            .all(|c| c["status"]["tenantNamespace"].is_null()),
        "{clusters:#?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn in_another_order_objects_have_no_place() -> Result<()> {
    let site = ButlerSite::saved("order").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    site.plan(&fresh.kubeconfig(), &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    let ended = run_with(&site, &fresh, Guards::without(Guard::Order)).await?;
    assert!(
        ended.outcomes.get(&Outcome::Failed) > Some(&50),
        "{:?}",
        ended.outcomes
    );
    assert!(
        ended
            .findings
            .iter()
            .any(|f| f.cause.contains("is not there"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn control_planes_are_paused_from_the_first_moment_to_their_turn() -> Result<()> {
    let site = ButlerSite::saved("paused").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    site.plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    let kind = "tenantcontrolplanes.steward.butlerlabs.dev";
    let marker = |plane: &Value| {
        plane["metadata"]["annotations"]["steward.butlerlabs.dev/paused"]
            .as_str()
            .map(str::to_owned)
    };
    let running = site
        .restore(&kubeconfig)
        .args(["--settle", "600"])
        .start()?;
    // It waits for losses with everything made and nothing resumed.
    e2e::wait::until("control planes", Duration::from_secs(120), async || {
        let planes = site.listed(&kubeconfig, kind).await.unwrap_or_default();
        let links = site
            .listed(&kubeconfig, "clusters.cluster.x-k8s.io")
            .await
            .unwrap_or_default();
        anyhow::ensure!(planes.len() == 3 && links.len() == 2, "not yet");
        Ok(())
    })
    .await?;
    for plane in site.listed(&kubeconfig, kind).await? {
        assert_eq!(
            marker(&plane).as_deref(),
            Some("butler-restore"),
            "{plane:#}"
        );
        let managers = plane["metadata"]["managedFields"].to_string();
        assert!(!managers.contains("steward"), "{managers}");
    }
    for cluster in site
        .listed(&kubeconfig, "clusters.cluster.x-k8s.io")
        .await?
    {
        assert_eq!(cluster["spec"]["paused"], true, "{cluster:#}");
    }
    running.kill().await?;
    let resume = site
        .restore_cli("resume")
        .args(["--settle", "0", "--output", "json"]);
    resume
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .ended_with(0)
        .await?;
    for plane in site.listed(&kubeconfig, kind).await? {
        assert_eq!(marker(&plane), None, "{plane:#}");
    }
    for cluster in site
        .listed(&kubeconfig, "clusters.cluster.x-k8s.io")
        .await?
    {
        assert_eq!(cluster["spec"]["paused"], Value::Null, "{cluster:#}");
    }
    Ok(())
}

/// Returns all sealed Secrets, and whether each is unsealed.
async fn unsealed(site: &ButlerSite, fresh: &Fresh) -> Result<Vec<(String, bool)>> {
    let sealed = site
        .listed(&fresh.kubeconfig(), "sealedsecrets.bitnami.com")
        .await?;
    let told = sealed.iter().map(|sealed| {
        let conditions = sealed["status"]["conditions"].as_array();
        let synced = conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "Synced" && c["status"] == "True");
        (
            sealed["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            synced,
        )
    });
    Ok(told.collect())
}

/// Starts a fresh cluster on which the real sealed-secrets controller runs before anything is restored.
async fn with_controller(site: &ButlerSite) -> Result<(Fresh, Runner)> {
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    define(&fresh.kube_apiserver, "sealedsecrets.bitnami.com").await?;
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": SEALING },
    });
    fresh
        .kube_apiserver
        .create("/api/v1/namespaces", &namespace)
        .await?;
    let runner = Runner::start(&site.folder, &fresh.kubeconfig(), &fresh.kube_apiserver).await?;
    Ok((fresh, runner))
}

#[tokio::test(flavor = "multi_thread")]
async fn sealing_keys_are_there_before_their_controller_looks() -> Result<()> {
    let site = ButlerSite::saved("sealing").await?;
    let (fresh, runner) = with_controller(&site).await?;
    let planned = site
        .plan(&fresh.kubeconfig(), &["--mode", "rebuild"])
        .await?;
    let planned = planned.ended_with(0)?.json()?;
    let parked = planned["plan"]["park"].to_string();
    assert!(parked.contains("sealed-secrets"), "{parked}");
    let restored = site.restore(&fresh.kubeconfig()).args(["--settle", "1"]);
    restored.ended_with(0).await?;
    // The controller reports it on its own, with the restored keys.
    e2e::wait::until("unsealing", Duration::from_secs(60), async || {
        let told = unsealed(&site, &fresh).await?;
        anyhow::ensure!(
            told.len() >= 3 && told.iter().filter(|(_, s)| *s).count() >= 2,
            "{told:?}"
        );
        Ok(())
    })
    .await?;
    let owned: Vec<Value> = site.listed(&fresh.kubeconfig(), "secrets").await?;
    let sealed = site
        .listed(&fresh.kubeconfig(), "sealedsecrets.bitnami.com")
        .await?;
    let uid = |o: &Value| o["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
    let uids: Vec<String> = sealed.iter().map(uid).collect();
    let held = owned.iter().filter(|secret| {
        let owner = secret["metadata"]["ownerReferences"][0]["uid"].as_str();
        owner.is_some_and(|owner| uids.iter().any(|u| u == owner))
    });
    assert_eq!(
        held.count(),
        3,
        "each Secret names its SealedSecret of this cluster"
    );
    assert_eq!(runner.stops(), 1, "it was stopped once, and goes on");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_goes_on_gives_sealed_secrets_up() -> Result<()> {
    let site = ButlerSite::saved("unsealing").await?;
    let (fresh, runner) = with_controller(&site).await?;
    site.plan(&fresh.kubeconfig(), &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    run_with(&site, &fresh, Guards::without(Guard::Quiesce)).await?;
    let told = unsealed(&site, &fresh).await?;
    assert!(told.iter().all(|(_, synced)| !synced), "{told:?}");
    assert_eq!(runner.stops(), 0);
    Ok(())
}
