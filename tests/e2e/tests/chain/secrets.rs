//! Tests that secrets stay where they belong: not in the most verbose logs, and not in plain objects.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::site::{ChainSite, PREFIX};

/// Canary in a Secret, and so in every snapshot.
const CANARY: &str = "canary-value-9f1c2b7e5d";
/// Canary in a Secret's name, which is confidential too.
const NAME: &str = "canary-name-51ab44c0";

/// Returns the texts that must not be shown, each with its meaning.
fn secrets(site: &ChainSite) -> Result<Vec<(&'static str, String)>> {
    let last_line = |name: &str| -> Result<String> {
        let text = std::fs::read_to_string(site.key(name))?;
        Ok(text.lines().last().context("an empty key")?.to_owned())
    };
    let talosconfig = std::fs::read_to_string(site.folder.join("talosconfig"))?;
    let key = talosconfig
        .lines()
        .find_map(|l| l.trim().strip_prefix("key: "));
    let key = key.context("no key")?.to_owned();
    let pem = String::from_utf8(STANDARD.decode(&key)?)?;
    let body = pem.lines().nth(1).context("no body")?.to_owned();
    Ok(vec![
        ("a Secret's value", CANARY.to_owned()),
        ("a Secret's value, in base64", STANDARD.encode(CANARY)),
        ("a Secret's name", NAME.to_owned()),
        ("the S3 secret", site.s3.keys().secret.clone()),
        ("the identity", last_line("identity.key")?),
        ("the signing key", last_line("signing.key")?),
        ("the Talos key, in base64", key),
        ("the Talos key", body),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_or_in_a_plain_object() -> Result<()> {
    let site = ChainSite::own().await?;
    let client = site.etcd.client().await?;
    let secret = format!("/registry/secrets/default/{NAME}");
    client.put(&secret, CANARY).await?;

    let loud = |command: e2e::run::Command| command.env("LOG_LEVEL", "trace");
    let mut told = Vec::new();
    for command in [
        site.backupd("check-config"),
        site.backupd("snapshot").args(["--output", "json"]),
        site.restore_cli("list"),
        site.restore_cli("show")
            .args(["latest", "--output", "yaml"]),
        site.restore_cli("verify").arg("latest"),
        site.restore_cli("audit"),
        site.fetch("latest"),
        site.backupd("import")
            .args(["etcd.db", "--component", "etcd"]),
    ] {
        let command = loud(command);
        let output = command.ended_with(0).await?;
        told.push((command.shown(), output));
    }
    // A run that fails must not print more.
    let wrong = loud(site.backupd("snapshot")).env("AWS_SESSION_TOKEN", CANARY);
    let failed = wrong
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .ended_with(1)
        .await?;
    told.push(("a run that fails".to_owned(), failed));

    // The fetched file contains both, so the search works.
    let fetched = std::fs::read(site.folder.join("etcd.db"))?;
    assert!(contains(&fetched, CANARY) && contains(&fetched, NAME));
    let trace = told
        .iter()
        .any(|(_, output)| output.stderr.contains("TRACE"));
    assert!(trace, "nothing was logged at trace");

    let secrets = secrets(&site)?;
    for (command, output) in &told {
        for (what, secret) in &secrets {
            for (stream, text) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
                let line = text.lines().find(|line| line.contains(secret));
                assert!(
                    line.is_none(),
                    "{what} is in the {stream} of {command}: {line:?}"
                );
            }
        }
    }
    for key in site.keys().await? {
        let bytes = site.get(&key).await?;
        for (what, secret) in &secrets {
            assert!(!contains(&bytes, secret), "{what} is in {PREFIX}/{key}");
        }
    }
    Ok(())
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}
