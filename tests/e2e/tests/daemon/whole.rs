//! Tests of the daemon's whole life: started, restarted, killed, ended.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::proxy::{Fault, Lasting};
use e2e::run::tells;
use http::{Method, StatusCode};

use super::running::{Daemon, SELDOM};
use super::site::ChainSite;

#[tokio::test(flavor = "multi_thread")]
async fn it_takes_what_is_owed_and_remembers_it_by_the_bucket_after_a_restart() -> Result<()> {
    let site = ChainSite::new().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let cluster = daemon.committed(1).await?;
    let etcd = &cluster["components"]["etcd"];
    let id = etcd["lastRestorePoint"]
        .as_str()
        .context("no restore point")?
        .to_owned();
    assert_eq!(cluster["recent"][0]["cause"], "catch-up");
    assert_eq!(cluster["recent"][0]["restorePoint"], id);
    assert!(
        cluster["totals"]["checkedObjects"].as_u64() > Some(3),
        "{cluster}"
    );
    assert_eq!(daemon.get("/readyz").await?.0, StatusCode::OK);
    let success = "butler_backup_component_last_success_timestamp_seconds{cluster=\"test\",component=\"etcd\"}";
    let before = daemon.metric(success).await?;
    assert!(before > 1.7e9);
    let (_, points) = daemon.get("/v1/restore-points").await?;
    let points: serde_json::Value = serde_json::from_str(&points)?;
    assert_eq!(points["restorePoints"][0]["id"], id);
    assert_eq!(
        points["restorePoints"][0]["reason"],
        "schedule, missed and made up for"
    );
    assert_eq!(
        points["restorePoints"][0]["signature"],
        "signed by a trusted key"
    );
    site.verified(&id).await?;

    daemon.kill().await?;
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    let cluster = daemon
        .until("a look at the bucket", |c| c["restorePoints"]["count"] == 1)
        .await?;
    assert_eq!(cluster["components"]["etcd"]["lastRestorePoint"], id);
    assert_eq!(daemon.metric(success).await?, before);
    let objects = daemon
        .metric("butler_backup_store_objects{cluster=\"test\"}")
        .await?;
    assert_eq!(objects, f64::from(u32::try_from(site.keys().await?.len())?));
    // No run is missed.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(daemon.cluster().await?["totals"]["committed"], 0);
    let output = daemon.stop().await?.ended_with(0)?;
    tells(&output, &["stopping"]);
    assert_eq!(site.listed().await?.len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_minute_is_a_restore_point_and_its_lines_carry_the_run() -> Result<()> {
    let site = ChainSite::new().await?;
    let minutely = "components: { etcd: { cron: '* * * * *', catch-up: false } }\n";
    let flags = ["--log-format", "json"];
    let daemon = Daemon::start(&site, minutely, &flags).await?;
    let cluster = daemon.committed(1).await?;
    let run = cluster["recent"][0].clone();
    assert_eq!(run["cause"], "schedule");
    assert_eq!(run["state"], "committed");
    let output = daemon.stop().await?.ended_with(0)?;
    let lines = output
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_run = lines.filter(|line| line["span"]["id"] == run["run"]);
    let told: Vec<String> = of_run
        .filter_map(|line| Some(line["fields"]["message"].as_str()?.to_owned()))
        .collect();
    for message in ["a run begins", "committed"] {
        assert!(told.iter().any(|line| line == message), "{told:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_any_state_it_begins_again_and_nothing_is_broken() -> Result<()> {
    let site = ChainSite::new().await?;
    for after in [0, 1, 2, 4, 6, 8, 10] {
        site.proxy.forget();
        site.proxy
            .on(Method::PUT, Fault::Hold, Lasting::After(after));
        let daemon = Daemon::start(&site, SELDOM, &[]).await?;
        // Either it is held in the middle, or it was faster than the fault.
        tokio::select! {
            () = site.proxy.holding() => {}
            done = daemon.until("a restore point", |c| c["restorePoints"]["count"].as_u64() > Some(0)) => drop(done?),
        }
        daemon.kill().await?;
    }
    site.proxy.forget();
    let daemon = Daemon::start(&site, SELDOM, &[]).await?;
    daemon
        .until("a restore point", |c| {
            c["restorePoints"]["count"].as_u64() > Some(0)
        })
        .await?;
    daemon.stop().await?.ended_with(0)?;
    for id in site.listed().await? {
        site.verified(&id).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_run_finish_within_the_grace_time_and_cuts_it_after_that() -> Result<()> {
    let site = ChainSite::new().await?;
    site.proxy
        .on_path(Some(Method::PUT), "packs/", Fault::Hold, Lasting::After(0));
    let daemon = Daemon::start(&site, SELDOM, &["--grace", "1"]).await?;
    site.proxy.holding().await;
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(site.listed().await?.len(), 0);
    // A run that is only slow is finished.
    site.proxy.forget();
    let slow = Fault::Answer(503, "SlowDown");
    site.proxy.on(
        Method::PUT,
        slow,
        Lasting::For(Duration::from_secs(3), None),
    );
    let daemon = Daemon::start(&site, SELDOM, &["--grace", "60"]).await?;
    daemon
        .until("a run at work", |c| c["run"]["state"] == "reading")
        .await?;
    daemon.stop().await?.ended_with(0)?;
    assert_eq!(site.listed().await?.len(), 1);
    site.verified("latest").await?;
    Ok(())
}
