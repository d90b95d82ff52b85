//! Tests of `restore-cli` killed in the middle, and run again.

use anyhow::{Result, ensure};
use e2e::run::tells;
use e2e::talos::ServiceState;
use e2e::wait;

use super::site::{EtcdSite, LIMIT};

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_upload_and_bootstrap_it_goes_on_when_run_again() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    // Bootstrap is refused meanwhile, so that the program still runs when it is killed.
    site.node()?.fault(|faults| faults.booting = true);
    let killed = site.restore_etcd().start()?;
    wait::until("the upload", LIMIT, async || {
        ensure!(site.calls("Bootstrap") > 0, "not yet");
        Ok(())
    })
    .await?;
    killed.kill().await?;
    site.node()?.heal();
    assert_eq!(site.node()?.etcd_state().0, ServiceState::Preparing);
    let again = site.restore_etcd().ended_with(0).await?;
    tells(&again, &["has a snapshot already"]);
    let again = again.json()?;
    assert_eq!(again["already"], false);
    assert_eq!(again["revision"], again["snapshotRevision"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_bootstrap_it_finds_its_own_work() -> Result<()> {
    let site = EtcdSite::new().await?;
    site.lose().await?;
    let killed = site.restore_etcd().start()?;
    wait::until("the bootstrap", LIMIT, async || {
        ensure!(site.calls("Bootstrap") > 0, "not yet");
        Ok(())
    })
    .await?;
    killed.kill().await?;
    site.reaches(ServiceState::Running).await?;
    let bootstraps = site.calls("Bootstrap");
    let again = site.restore_etcd().json().await?;
    assert_eq!(again["already"], true);
    assert_eq!(again["revision"], again["snapshotRevision"]);
    assert_eq!(site.calls("Bootstrap"), bootstraps);
    Ok(())
}
