//! Tests of wrong keys, certificates and locations: each is reported before anything is done, with what to
//! do.

use anyhow::Result;
use backup_core::clock::{Clock as _, SystemClock};
use e2e::run::{Output, tells};
use e2e::talos::ClientSpec;
use jiff::SignedDuration;

use super::site::{ChainSite, PREFIX};

/// Checks that `snapshot` with this talosconfig fails with `code`, and sends no request to the store.
async fn with_talosconfig(site: &ChainSite, text: &str, code: i32) -> Result<Output> {
    site.talosconfig(text)?;
    let output = site.backupd("snapshot").ended_with(code).await?;
    assert!(
        site.keys()
            .await?
            .iter()
            .all(|key| !key.starts_with("manifests"))
    );
    Ok(output)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_with_its_date_and_what_to_do() -> Result<()> {
    let site = ChainSite::new().await?;
    let spec = ClientSpec {
        from: SignedDuration::from_hours(-48),
        until: SignedDuration::from_hours(-24),
        ..ClientSpec::of(&["os:operator"])
    };
    let text = site.talos.talosconfig(&spec)?;
    let output = with_talosconfig(&site, &text, 2).await?;
    let expired = SystemClock.now() - SignedDuration::from_hours(24);
    let day = expired.strftime("%Y-%m-%d").to_string();
    tells(
        &output,
        &["expired", &day, "talosconfig", "talosctl config new"],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_talosconfig_that_is_wrong_is_told_by_field() -> Result<()> {
    let site = ChainSite::new().await?;
    let good = site.talos.talosconfig(&ClientSpec::of(&["os:operator"]))?;
    let line = |name: &str| {
        let found = good.lines().find(|l| l.trim_start().starts_with(name));
        found.unwrap().to_owned()
    };

    let output =
        with_talosconfig(&site, &good.replace("context: lab", "context: other"), 2).await?;
    tells(&output, &["talosconfig", "\"other\"", "lab"]);
    let output =
        with_talosconfig(&site, &good.replace(&line("crt: "), "    crt: '%%%'"), 2).await?;
    tells(&output, &["talosconfig", "crt", "base64"]);
    let output = with_talosconfig(&site, &good.replace(&line("crt: "), ""), 2).await?;
    tells(&output, &["talosconfig", "crt", "key"]);
    let output = with_talosconfig(&site, &good.replace(&line("key: "), ""), 2).await?;
    tells(&output, &["talosconfig", "crt", "key"]);
    let output = with_talosconfig(&site, "contexts: [", 2).await?;
    tells(&output, &["talosconfig"]);

    site.talosconfig(&good)?;
    let output = site.backupd("snapshot").args(["--context", "other"]);
    let output = output.ended_with(2).await?;
    tells(&output, &["talosconfig", "\"other\"", "--context"]);
    std::fs::remove_file(site.folder.join("talosconfig"))?;
    let output = site.backupd("snapshot").ended_with(2).await?;
    tells(
        &output,
        &["talosconfig", "no talosconfig found", "--talosconfig"],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_told() -> Result<()> {
    let site = ChainSite::new().await?;
    site.configure("no-such-bucket", PREFIX)?;
    for command in [
        site.backupd("snapshot"),
        site.restore_cli("list"),
        site.restore_cli("audit"),
    ] {
        let output = command.ended_with(1).await?;
        tells(&output, &["no-such-bucket", "bucket"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newline_behind_a_credential_is_nothing_and_one_inside_is_told() -> Result<()> {
    let site = ChainSite::new().await?;
    let keys = site.s3.keys();
    let ours = |command: &str, id: String, region: &str| {
        let programs = &site.programs;
        let program = if command == "snapshot" {
            programs.backupd()
        } else {
            programs.restore_cli()
        };
        let command = site.without_credentials(program.arg(command));
        let command = command.env("AWS_ACCESS_KEY_ID", id);
        let command = command.env("AWS_SECRET_ACCESS_KEY", format!("{}\r\n", keys.secret));
        command.env("AWS_REGION", region)
    };
    for command in ["snapshot", "list"] {
        let fine = ours(command, format!("{}\n", keys.access), "us-east-1\n");
        fine.ended_with(0).await?;
        let torn = ours(command, "hid\nden".to_owned(), "");
        let torn = torn.ended_with(2).await?;
        tells(&torn, &["AWS_ACCESS_KEY_ID", "white space"]);
        assert!(!torn.stderr.contains("hid"), "{}", torn.stderr);
        let region = ours(command, keys.access.clone(), "eu west");
        tells(&region.ended_with(2).await?, &["AWS_REGION"]);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_are_wrong_or_missing_are_told() -> Result<()> {
    let site = ChainSite::new().await?;
    let programs = &site.programs;
    for command in [
        programs.backupd().arg("snapshot"),
        programs.restore_cli().arg("list"),
    ] {
        let bare = site.without_credentials(command);
        let output = bare.ended_with(1).await?;
        tells(&output, &["credentials", "AWS_ACCESS_KEY_ID"]);

        let wrong = bare.env("AWS_ACCESS_KEY_ID", &site.s3.keys().access);
        let wrong = wrong.env("AWS_SECRET_ACCESS_KEY", "wrong");
        let output = wrong.ended_with(1).await?;
        tells(&output, &["credentials", "SignatureDoesNotMatch"]);
    }

    // A user without rights here differs from an unknown user.
    let stranger = site.s3.user(&format!("stranger-{}", site.bucket)).await?;
    let list = site.without_credentials(programs.restore_cli().arg("list"));
    let output = list.envs(stranger.env()).ended_with(1).await?;
    tells(&output, &["AccessDenied", "grant"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_of_another_cluster_is_refused() -> Result<()> {
    let site = ChainSite::new().await?;
    site.snapshot().await?;
    let output = site.backupd("snapshot").args(["--cluster", "other"]);
    let output = output.ended_with(6).await?;
    tells(
        &output,
        &["claimed for cluster `test`", "`other`", "prefix of its own"],
    );
    assert_eq!(site.listed().await?.len(), 1);
    Ok(())
}
