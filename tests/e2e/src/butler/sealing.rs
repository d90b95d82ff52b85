//! Sealed Secrets: three keys in three states, and the Secrets that each of them seals.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::scene::{SEALED_SECRET, SECRET, Scene, text};
use super::{SEALING, SYSTEM, TEAM, TENANTS};
use crate::sealed_secrets::{self, KEY_LABEL, Scope, SealedSecrets};
use crate::{Folder, wait};

/// Time limit. Each takes half a second; a machine that compiles next to it is slow.
const UNSEALED_WITHIN: Duration = Duration::from_secs(120);
/// Name that releases before 0.9 gave to their only key, which has no label.
pub(super) const UNLABELLED: &str = "sealed-secrets-key";

/// Sealed Secrets: namespace, name and scope.
const SEALED: [(&str, &str, Scope); 3] = [
    (SYSTEM, "registry-credentials", Scope::Strict),
    (TEAM, "payments-database", Scope::NamespaceWide),
    (TENANTS, "mail-relay", Scope::ClusterWide),
];

/// Lets the controller make three keys, seals a Secret with each, and waits until all are unsealed. Then the
/// first key becomes one without a label, the second a compromised one, and the controller stops. Started
/// again it reads the first and the third.
pub(super) async fn furnish(scene: Scene<'_>, folder: &Folder) -> Result<SealedSecrets> {
    let server = scene.server;
    let mut controller = SealedSecrets::start(folder, "sealed-secrets", server, SEALING).await?;
    let first = sealed_secrets::active_keys(server, SEALING).await?;
    let mut keys = vec![
        first
            .into_iter()
            .next()
            .context("there is no sealing key")?,
    ];
    for _ in 1..SEALED.len() {
        keys.push(controller.renew(server).await?);
    }
    let files = folder.join("sealed-secrets");
    for (key, (namespace, name, scope)) in keys.iter().zip(SEALED) {
        let material = decoded(key, "/data/tls.key")?;
        ensure!(
            scene.canaries.found_in(&material),
            "a sealing key without a key"
        );
        let word = scene.canaries.word(name);
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": { "name": name, "namespace": namespace },
            "data": { "password": STANDARD.encode(word), "user": STANDARD.encode(name) },
        });
        let sealed = sealed_secrets::seal(&files, key, &secret, scope).await?;
        server
            .create(&SEALED_SECRET.list(namespace), &sealed)
            .await?;
    }
    for (namespace, name, _) in SEALED {
        wait::until("the unsealing of a Secret", UNSEALED_WITHIN, async || {
            let sealed = server.read(&SEALED_SECRET.object(namespace, name)).await?;
            ensure!(
                is_synced(&sealed),
                "{namespace}/{name} is not unsealed: {sealed}"
            );
            Ok(())
        })
        .await?;
    }
    controller.stop().await?;
    let mut keys = keys.into_iter();
    let (first, second) = keys
        .next()
        .zip(keys.next())
        .context("too few sealing keys")?;
    unlabel(scene, first).await?;
    relabel(scene, second).await?;
    Ok(controller)
}

/// Reports whether the controller unsealed it.
pub(super) fn is_synced(sealed: &Value) -> bool {
    let conditions = sealed
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let is = |field: &str, value: &str| condition.get(field).is_some_and(|v| v == value);
        is("type", "Synced") && is("status", "True")
    })
}

/// Names the key as old releases did.
async fn unlabel(scene: Scene<'_>, key: Value) -> Result<()> {
    let body = json!({ "type": text(&key, "/type")?, "data": key.get("data") });
    scene.make(SECRET, SEALING, UNLABELLED, body).await?;
    let old = SECRET.object(SEALING, text(&key, "/metadata/name")?);
    scene.server.delete(&old).await
}

/// Marks the key as one that opens what it sealed and seals nothing more.
async fn relabel(scene: Scene<'_>, mut key: Value) -> Result<()> {
    let labels = key
        .pointer_mut("/metadata/labels")
        .and_then(Value::as_object_mut);
    let labels: &mut Map<String, Value> = labels.context("a sealing key without labels")?;
    labels.insert(KEY_LABEL.to_owned(), json!("compromised"));
    let path = SECRET.object(SEALING, text(&key, "/metadata/name")?);
    scene.server.replace(&path, &key).await?;
    Ok(())
}

fn decoded(secret: &Value, pointer: &str) -> Result<String> {
    let bytes = STANDARD.decode(text(secret, pointer)?);
    let bytes = bytes.with_context(|| format!("reading {pointer}"))?;
    String::from_utf8(bytes).with_context(|| format!("reading {pointer}"))
}
