//! What a restore refuses, each with the difference named and nothing changed.

use anyhow::Result;
use e2e::fresh::Fresh;

use super::bed::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_holds_for_one_cluster_at_one_time() -> Result<()> {
    let bed = Bed::new("refused").await?;
    let fresh = Fresh::start(&bed.folder, "fresh").await?;
    let (other, kubeconfig) = (bed.shared.butler.kubeconfig(), fresh.kubeconfig());
    // The cluster that was captured is no fresh one.
    let wrong = bed
        .plan(&other, &["--mode", "rebuild", "--to", "wrong.json"])
        .await?;
    let wrong = wrong.ended_with(6)?;
    assert!(
        wrong.stdout.contains("the very cluster"),
        "{}",
        wrong.stdout
    );
    // And a fresh one is not the one that was captured.
    let wrong = bed
        .plan(&kubeconfig, &["--only", "resources", "--to", "wrong.json"])
        .await?;
    let wrong = wrong.ended_with(6)?;
    assert!(wrong.stdout.contains("another cluster"), "{}", wrong.stdout);

    bed.plan(&kubeconfig, &["--mode", "rebuild"])
        .await?
        .ended_with(0)?;
    let refused = bed.restore(&other).output().await?.ended_with(6)?;
    assert!(
        refused.stderr.contains("the plan is for the cluster at"),
        "{}",
        refused.stderr
    );
    // Edited by hand.
    let file = bed.folder.path().join("restore-plan.json");
    let text = std::fs::read_to_string(&file)?;
    std::fs::write(
        &file,
        text.replacen("\"prune\": false", "\"prune\": true", 1),
    )?;
    let refused = bed.restore(&kubeconfig).output().await?.ended_with(6)?;
    assert!(
        refused.stderr.contains("was changed after it was made"),
        "{}",
        refused.stderr
    );
    std::fs::write(&file, text)?;
    // Without a word, or with the word for another cluster.
    let silent = bed
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json"]);
    let silent = silent
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .output()
        .await?
        .ended_with(6)?;
    assert!(
        silent.stderr.contains("--yes --target NAME"),
        "{}",
        silent.stderr
    );
    let named = bed
        .restore_cli("restore")
        .args(["--plan", "restore-plan.json", "--yes"]);
    let named = named
        .args(["--target", "other"])
        .arg("--kubeconfig")
        .arg(&kubeconfig);
    let named = named.output().await?.ended_with(6)?;
    assert!(
        named.stderr.contains("--target names other"),
        "{}",
        named.stderr
    );
    // The cluster changed since.
    let namespace = serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "butler-system" },
    });
    fresh
        .kube_apiserver
        .create("/api/v1/namespaces", &namespace)
        .await?;
    let stale = bed.restore(&kubeconfig).output().await?.ended_with(6)?;
    assert!(
        stale.stderr.contains("changed since the plan was made"),
        "{}",
        stale.stderr
    );
    assert!(
        stale
            .stderr
            .contains("namespaces/cluster/butler-system.json"),
        "{}",
        stale.stderr
    );
    // Nothing of all that wrote anything.
    assert!(
        bed.listed(&kubeconfig, "customresourcedefinitions")
            .await?
            .is_empty()
    );
    Ok(())
}
