//! Tests that secrets stay where they belong: not in the most verbose logs, and not in plain objects.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::bed::{Bed, PREFIX};
use super::ground::Ground;

/// Canary in a Secret, and so in every snapshot.
const CANARY: &str = "canary-value-9f1c2b7e5d";
/// Canary in a Secret's name, which is confidential too.
const NAME: &str = "canary-name-51ab44c0";

/// Returns the texts that must not be shown, each with its meaning.
fn secrets(bed: &Bed) -> Result<Vec<(&'static str, String)>> {
    let last_line = |name: &str| -> Result<String> {
        let text = std::fs::read_to_string(bed.ground.key(name))?;
        Ok(text.lines().last().context("an empty key")?.to_owned())
    };
    let talosconfig = std::fs::read_to_string(bed.folder.join("talosconfig"))?;
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
        ("the S3 secret", bed.ground.s3.keys().secret.clone()),
        ("the identity", last_line("identity.key")?),
        ("the signing key", last_line("signing.key")?),
        ("the Talos key, in base64", key),
        ("the Talos key", body),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_log_or_in_a_plain_object() -> Result<()> {
    let bed = Bed::on(Ground::own().await?).await?;
    let client = bed.ground.etcd.client().await?;
    let secret = format!("/registry/secrets/default/{NAME}");
    client.put(&secret, CANARY).await?;

    let loud = |command: e2e::run::Command| command.env("LOG_LEVEL", "trace");
    let mut told = Vec::new();
    for command in [
        bed.backupd("check-config"),
        bed.backupd("snapshot").args(["--output", "json"]),
        bed.restore_cli("list"),
        bed.restore_cli("show").args(["latest", "--output", "yaml"]),
        bed.restore_cli("verify").arg("latest"),
        bed.restore_cli("audit"),
        bed.fetch("latest"),
        bed.backupd("import")
            .args(["etcd.db", "--component", "etcd"]),
    ] {
        let command = loud(command);
        let output = command.output().await?.ended_with(0)?;
        told.push((command.shown(), output));
    }
    // A run that fails must not print more.
    let wrong = loud(bed.backupd("snapshot")).env("AWS_SESSION_TOKEN", CANARY);
    let failed = wrong.env("AWS_ACCESS_KEY_ID", "nobody").output().await?;
    told.push(("a run that fails".to_owned(), failed));

    // The fetched file contains both, so the search works.
    let fetched = std::fs::read(bed.folder.join("etcd.db"))?;
    assert!(contains(&fetched, CANARY) && contains(&fetched, NAME));
    let trace = told
        .iter()
        .any(|(_, output)| output.stderr.contains("TRACE"));
    assert!(trace, "nothing was logged at trace");

    let secrets = secrets(&bed)?;
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
    for key in bed.keys().await? {
        let bytes = bed.get(&key).await?;
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
