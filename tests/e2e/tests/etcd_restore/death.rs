//! Tests of `restore-cli` killed in the middle, and run again.

use anyhow::{Result, ensure};
use e2e::talos::ServiceState;
use e2e::wait;

use super::bed::{Bed, LIMIT};

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_upload_and_bootstrap_it_goes_on_when_run_again() -> Result<()> {
    let bed = Bed::new().await?;
    bed.lose().await?;
    // Bootstrap is refused meanwhile, so that the program still runs when it is killed.
    bed.node()?.fault(|faults| faults.booting = true);
    let killed = bed.restore_etcd().start()?;
    wait::until("the upload", LIMIT, async || {
        ensure!(bed.calls("Bootstrap") > 0, "not yet");
        Ok(())
    })
    .await?;
    killed.kill().await?;
    bed.node()?.heal();
    assert_eq!(bed.node()?.etcd_state().0, ServiceState::Preparing);
    let again = bed.restore_etcd().output().await?;
    assert!(
        again.stderr.contains("has a snapshot already"),
        "{}",
        again.stderr
    );
    let again = again.ended_with(0)?.json()?;
    assert_eq!(again["already"], false);
    assert_eq!(again["revision"], again["snapshotRevision"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_bootstrap_it_finds_its_own_work() -> Result<()> {
    let bed = Bed::new().await?;
    bed.lose().await?;
    let killed = bed.restore_etcd().start()?;
    wait::until("the bootstrap", LIMIT, async || {
        ensure!(bed.calls("Bootstrap") > 0, "not yet");
        Ok(())
    })
    .await?;
    killed.kill().await?;
    bed.reaches(ServiceState::Running).await?;
    let bootstraps = bed.calls("Bootstrap");
    let again = bed.restore_etcd().output().await?.ended_with(0)?.json()?;
    assert_eq!(again["already"], true);
    assert_eq!(again["revision"], again["snapshotRevision"]);
    assert_eq!(bed.calls("Bootstrap"), bootstraps);
    Ok(())
}
