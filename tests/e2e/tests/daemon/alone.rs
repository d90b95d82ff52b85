//! Tests without the API server of the cluster.

use anyhow::Result;
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;

use super::running::Daemon;
use super::site::ChainSite;

#[tokio::test(flavor = "multi_thread")]
async fn etcd_goes_on_by_schedule_while_the_api_server_is_down() -> Result<()> {
    let site = ChainSite::new().await?;
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "etcd-of-the-api").await?;
    let mut server = KubeApiserver::start(&folder, "kube-apiserver", &etcd).await?;
    server.kill();
    let config = format!(
        "kubernetes: {{ kubeconfig: {}, timeout: 2s }}\n\
         components:\n  etcd: {{ cron: '* * * * *' }}\n  crds: {{ cron: 0 3 29 2 * }}\n",
        server.kubeconfig().display()
    );
    let daemon = Daemon::start(&site, &config, &[]).await?;
    // The possible part is taken; the rest is named.
    let partial = |c: &serde_json::Value| c["totals"]["partial"].as_u64() > Some(0);
    let cluster = daemon.until("a partial restore point", partial).await?;
    assert!(
        cluster["components"]["etcd"]["lastSuccess"].is_string(),
        "{cluster}"
    );
    assert!(
        cluster["components"]["crds"]["lastSuccess"].is_null(),
        "{cluster}"
    );
    assert!(
        cluster["components"]["crds"]["lastFailure"]["cause"].is_string(),
        "{cluster}"
    );
    // The next minute.
    let count = cluster["restorePoints"]["count"].as_u64().unwrap_or(0);
    let more = |c: &serde_json::Value| c["restorePoints"]["count"].as_u64() > Some(count);
    daemon.until("a restore point by schedule", more).await?;
    // After the return the missed run is made up for without a request.
    server.restart().await?;
    let healed = |c: &serde_json::Value| c["components"]["crds"]["lastSuccess"].is_string();
    // It may have to wait for two pauses.
    let cluster = match daemon.until("the CRDs", healed).await {
        Ok(cluster) => cluster,
        Err(_) => daemon.until("the CRDs", healed).await?,
    };
    assert_eq!(cluster["components"]["crds"]["failuresInARow"], 0);
    daemon.stop().await?.ended_with(0)?;
    site.verified("latest").await?;
    Ok(())
}
