//! Tests that a restore from a restore point with gaps reports them in its plan and at its end.

use anyhow::{Context as _, Result};
use e2e::butler::Shared;
use e2e::run::tells;
use e2e::site::ButlerSite;
use serde_json::Value;

use super::in_place::newest;

const LOST: &str = "/registry/secrets/default/lost-key";
const OF_LAST_YEAR: &str = "k8s:enc:aescbc:v1:key-of-last-year:0123456789abcdef0123456789abcdef";
const END: &str = "complete, but the restore point was partial";

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_a_partial_restore_point_says_so() -> Result<()> {
    let site = ButlerSite::saved_on(Shared::own().await?, "partial").await?;
    let whole = newest(&site).await?;
    let etcd = site.shared.butler.etcd.client().await?;
    etcd.put(LOST, OF_LAST_YEAR).await?;
    site.backupd("snapshot").ended_with(7).await?;
    let partial = newest(&site).await?;
    assert_ne!(whole, partial);
    etcd.remove(LOST).await?;

    // `latest` is the one that is whole.
    let kubeconfig = site.shared.butler.kubeconfig();
    let steps = ["--only", "crds,resources"];
    let planned = site.plan(&kubeconfig, &steps).await?;
    let told = planned.stderr.clone();
    assert!(
        told.contains("passed over") && told.contains("default/lost-key"),
        "{told}"
    );
    let planned = planned.ended_with(0)?.json()?;
    assert_eq!(planned["plan"]["restorePoint"]["id"], *whole);

    let plan = site.restore_cli("plan").arg(&partial).args(steps);
    let planned = plan.args(["--output", "json"]).json().await?;
    let findings = planned["plan"]["findings"]
        .as_array()
        .context("no findings")?;
    let of = |component: &str| -> Option<&Value> {
        findings
            .iter()
            .find(|f| f["object"] == component && f["severity"] == "warning")
    };
    for component in ["secrets", "sealed-secrets", "kubeconfigs"] {
        let finding = of(component).with_context(|| format!("{findings:#?}"))?;
        assert!(
            finding["cause"]
                .to_string()
                .contains("secrets default/lost-key")
        );
        assert!(
            finding["remedy"].to_string().contains(&whole),
            "{finding:#}"
        );
    }

    let ran = site
        .restore(&kubeconfig)
        .args(["--settle", "1"])
        .ended_with(7)
        .await?
        .json()?;
    assert_eq!(ran["ended"], END, "{ran:#}");
    let lacks = ran["findings"].to_string();
    assert!(
        lacks.contains("default/lost-key") && lacks.contains(&whole),
        "{ran:#}"
    );
    let journal = ran["journal"].as_str().context("no journal")?;
    let status = site
        .restore_cli("status")
        .args([journal, "--output", "json"]);
    let status = status.ended_with(7).await?.json()?;
    assert_eq!(status["ended"], END, "{status:#}");
    let resume = site.restore_cli("resume").arg(journal);
    let resumed = resume.ended_with(7).await?;
    tells(&resumed, &[END]);

    let runbook = site
        .restore_cli("runbook")
        .args([&partial, "--mode", "rebuild"]);
    let runbook = runbook.ended_with(0).await?.stdout;
    assert!(
        runbook.contains(END) && runbook.contains("default/lost-key"),
        "{runbook}"
    );
    assert!(runbook.contains(&whole), "{runbook}");
    Ok(())
}
