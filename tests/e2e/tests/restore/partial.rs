//! Tests that a restore from a restore point with gaps reports them in its plan and at its end.

use anyhow::{Context as _, Result};
use e2e::butler::Shared;
use serde_json::Value;

use super::bed::Bed;
use super::in_place::newest;

const LOST: &str = "/registry/secrets/default/lost-key";
const OF_LAST_YEAR: &str = "k8s:enc:aescbc:v1:key-of-last-year:0123456789abcdef0123456789abcdef";
const END: &str = "complete, but the restore point was partial";

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_from_a_partial_restore_point_says_so() -> Result<()> {
    let bed = Bed::on(Shared::own().await?, "partial").await?;
    let whole = newest(&bed).await?;
    let etcd = bed.shared.butler.etcd.client().await?;
    etcd.put(LOST, OF_LAST_YEAR).await?;
    bed.backupd("snapshot").output().await?.ended_with(7)?;
    let partial = newest(&bed).await?;
    assert_ne!(whole, partial);
    etcd.remove(LOST).await?;

    // `latest` is the one that is whole.
    let kubeconfig = bed.shared.butler.kubeconfig();
    let steps = ["--only", "crds,resources"];
    let planned = bed.plan(&kubeconfig, &steps).await?;
    let told = planned.stderr.clone();
    assert!(
        told.contains("passed over") && told.contains("default/lost-key"),
        "{told}"
    );
    let planned = planned.ended_with(0)?.json()?;
    assert_eq!(planned["plan"]["restorePoint"]["id"], *whole);

    let plan = bed.restore_cli("plan").arg(&partial).args(steps);
    let planned = plan.args(["--output", "json"]).output().await?;
    let planned = planned.ended_with(0)?.json()?;
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

    let ran = bed
        .restore(&kubeconfig)
        .args(["--settle", "1"])
        .output()
        .await?;
    let ran = ran.ended_with(7)?.json()?;
    assert_eq!(ran["ended"], END, "{ran:#}");
    let lacks = ran["findings"].to_string();
    assert!(
        lacks.contains("default/lost-key") && lacks.contains(&whole),
        "{ran:#}"
    );
    let journal = ran["journal"].as_str().context("no journal")?;
    let status = bed
        .restore_cli("status")
        .args([journal, "--output", "json"]);
    let status = status.output().await?.ended_with(7)?.json()?;
    assert_eq!(status["ended"], END, "{status:#}");
    let resume = bed.restore_cli("resume").arg(journal);
    let resumed = resume.output().await?.ended_with(7)?;
    assert!(resumed.stderr.contains(END), "{}", resumed.stderr);

    let runbook = bed
        .restore_cli("runbook")
        .args([&partial, "--mode", "rebuild"]);
    let runbook = runbook.output().await?.ended_with(0)?.stdout;
    assert!(
        runbook.contains(END) && runbook.contains("default/lost-key"),
        "{runbook}"
    );
    assert!(runbook.contains(&whole), "{runbook}");
    Ok(())
}
