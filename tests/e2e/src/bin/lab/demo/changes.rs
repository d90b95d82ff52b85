//! Act of the show in which a new sealing key is in the bucket seconds after its creation.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::butler::Butler;
use e2e::port::Port;
use e2e::run::Command;
use e2e::wait::until;
use jiff::Timestamp;
use serde_json::Value;

use super::daemon::{LIMIT, get};
use super::screen::Screen;
use super::stage::CONFIG;

/// Configuration with the components that are taken on change.
const ON_CHANGE: &str = "on-change.yaml";
/// Namespace of the controller.
const CONTROLLER: &str = "flux-system";

/// Plays the act; returns what was seen, in a line for the end. `backupd` and `restore_cli` make commands
/// that run in `folder`.
pub(super) async fn play(
    screen: &mut Screen,
    butler: &mut Butler,
    folder: &Path,
    backupd: impl Fn(&str) -> Command,
    restore_cli: impl Fn(&str) -> Command,
) -> Result<String> {
    screen.step(
        "A sealing key is born",
        "sealed-secrets makes a new key every 30 days, and what is sealed from then on opens with no \
         older one. A backup by the clock alone would miss it for hours; the daemon watches.",
    )?;
    let text = std::fs::read_to_string(folder.join(CONFIG)).context("reading the configuration")?;
    let schedule = "components:\n  \
                      crds: { on-change: true }\n  \
                      sealed-secrets: { on-change: true }\n  \
                      resources: { on-change: true }\n  \
                      kubeconfigs: { on-change: true }\n  \
                      secrets: { on-change: true }\n";
    std::fs::write(folder.join(ON_CHANGE), text + schedule).context("writing the schedule")?;
    crate::print(&super::screen::indented(schedule))?;
    // Restarts the controller now, so that it is ready by the time it gets work.
    butler
        .sealed_secrets
        .restart(&butler.kube_apiserver)
        .await?;
    let port = Port::reserve()?;
    let listen = format!("127.0.0.1:{port}");
    let run = backupd("run").args(["--config", ON_CHANGE, "--listen", &listen]);
    let run = run.args(["--health-listen", "127.0.0.1:0"]);
    crate::print(&format!("\n$ {} &", run.shown()))?;
    let daemon = run.start()?;
    let page = format!("http://{listen}/v1/status");
    let watches = until("watches", LIMIT, async || watching(&get(&page).await?)).await?;
    screen.line(&format!(
        "{watches} kinds are watched, and what they held at the beginning is taken"
    ))?;

    screen.line("sealed-secrets is told to renew its key")?;
    let key = butler.sealed_secrets.renew(&butler.kube_apiserver).await?;
    let text = |pointer: &str| key.pointer(pointer).and_then(Value::as_str);
    let name = text("/metadata/name").context("no name")?;
    let born: Timestamp = text("/metadata/creationTimestamp")
        .context("no birth")?
        .parse()
        .context("reading a birth")?;
    screen.line(&format!("the key {CONTROLLER}/{name} was born"))?;
    let list = || restore_cli("list").args(["--output", "json"]);
    let point = until("its restore point", LIMIT, async || {
        let listed = list().output().await?.ended_with(0)?.json()?;
        named(&listed, name)
    })
    .await?;
    let ended = point.pointer("/ended").and_then(Value::as_str);
    let ended: Timestamp = ended.context("no end")?.parse().context("reading an end")?;
    let seconds = ended.duration_since(born).as_secs();
    let id = point.pointer("/id").and_then(Value::as_str);
    let id = id.context("no restore point")?;
    let reason = point.pointer("/reason").and_then(Value::as_str);
    screen.line(&format!("restore point {id}"))?;
    screen.line(&format!("reason: {}", reason.unwrap_or_default()))?;
    screen.line(&format!("complete {seconds} s after the birth"))?;
    let get = restore_cli("resources").args(["get", "secret", name, "-n", CONTROLLER]);
    let got = get.args(["--at", id]).output().await?.ended_with(0)?;
    screen.holds(
        got.stdout.contains(name),
        "the key is in it; restore-cli reads it, with its values masked",
    )?;
    daemon.signal("TERM").await?;
    daemon.ended().await?.ended_with(0)?;
    Ok(format!(
        "a new sealing key was in the bucket {seconds} s after its birth, and nobody asked for it"
    ))
}

/// Returns the number of watched kinds, once all of them are watched and their first state was taken.
fn watching(status: &str) -> Result<usize> {
    let status: Value = serde_json::from_str(status).context("reading the status")?;
    let cluster = status.pointer("/clusters/0").context("no cluster")?;
    let watches = cluster.pointer("/watches").and_then(Value::as_object);
    let watches = watches.context("no watches")?;
    let watching = |watch: &Value| watch.get("state").is_some_and(|s| s == "watching");
    ensure!(
        !watches.is_empty() && watches.values().all(watching),
        "not all"
    );
    let committed = cluster.pointer("/totals/committed").and_then(Value::as_u64);
    ensure!(committed > Some(0), "nothing was taken yet");
    ensure!(
        cluster.get("run").is_some_and(Value::is_null),
        "a run is at work"
    );
    Ok(watches.len())
}

/// Returns the first restore point whose reason names the key.
fn named(listed: &Value, name: &str) -> Result<Value> {
    let points = listed.pointer("/restorePoints").and_then(Value::as_array);
    let mut points = points.context("no list")?.iter().rev();
    let reason = |point: &&Value| {
        let reason = point.get("reason").and_then(Value::as_str);
        reason.is_some_and(|reason| reason.contains(name))
    };
    points.find(reason).cloned().context("not yet")
}
