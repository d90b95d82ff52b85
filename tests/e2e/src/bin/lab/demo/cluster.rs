//! Second act of the show: a whole Butler cluster in one restore point, and what can be read out of it.

use anyhow::{Context, Result};
use e2e::Folder;
use e2e::butler::Butler;
use e2e::ours::Programs;
use e2e::run::Command;
use serde_json::Value;

use super::changes;
use super::disaster;
use super::screen::{self, Screen};
use super::stage::CONFIG;

/// Prefix of its restore points in the bucket.
const PREFIX: &str = "whole";

/// Cluster and the files beside it. Fields drop in order: the folder last.
pub(super) struct Whole {
    pub(super) butler: Butler,
    programs: Programs,
    folder: Folder,
}

impl Whole {
    fn ours(&self, command: Command) -> Command {
        command
            .env("BUTLER_BACKUP_CONFIG", CONFIG)
            .envs(self.butler.s3.keys().env())
            .in_folder(self.folder.path())
    }

    pub(super) fn backupd(&self, command: &str) -> Command {
        self.ours(self.programs.backupd().arg(command))
    }

    pub(super) fn restore_cli(&self, command: &str) -> Command {
        self.ours(self.programs.restore_cli().arg(command))
    }
}

/// Plays the act; returns what was seen, in lines for the end.
pub(super) async fn play(screen: &mut Screen, programs: Programs) -> Result<Vec<String>> {
    let mut whole = start(screen, programs).await?;
    let taken = take(screen, &whole).await?;
    look(screen, &whole).await?;
    change(screen, &whole).await?;
    hand_back(screen, &whole).await?;
    let born = watched(screen, &mut whole).await?;
    let number = |pointer: &str| taken.pointer(pointer).and_then(Value::as_u64);
    let tenants = whole.butler.tenants().len();
    let mut seen = vec![
        format!(
            "a whole Butler cluster with {tenants} living tenants is one restore point: etcd, \
             machine configuration, CRDs, resources, sealing keys, kubeconfigs, Secrets and the \
             tenants' own etcd, {} in all",
            screen::bytes(number("/storedBytes").context("no bytes told")?)
        ),
        "every tenant was asked through its own kubeconfig, and every SealedSecret was opened with \
         the keys that are kept"
            .to_owned(),
        born,
    ];
    seen.extend(disaster::play(screen, &mut whole).await?);
    Ok(seen)
}

async fn start(screen: &mut Screen, programs: Programs) -> Result<Whole> {
    screen.step(
        "Start a whole Butler cluster",
        "kube-apiserver and controllers on an etcd with encryption at rest, Butler's and Steward's \
         kinds and objects, two tenants whose API servers live on a DataStore of their own, and \
         sealed-secrets with three keys. All of them are the real programs.",
    )?;
    let folder = Folder::new()?;
    let say = |line: &str| drop(crate::print(&format!("  {line}")));
    let butler = Butler::start(&folder, &say).await?;
    let whole = Whole {
        butler,
        programs,
        folder,
    };
    let keygen = whole.programs.backupd().args(["keygen", "--out", "keys"]);
    let keygen = keygen.args(["--output", "json"]);
    let made = keygen.in_folder(whole.folder.path()).output().await?;
    let made = made.ended_with(0)?.json()?;
    let recipient = made.get("recipient").and_then(Value::as_str);
    let recipient = recipient.context("no recipient")?;
    let talosconfig = whole.butler.talosconfigs.get("os:admin");
    let text = format!(
        "cluster: butler-mgmt\n\
         store: {}\n\
         talos:\n  \
           config: {}\n\
         kubernetes:\n  \
           kubeconfig: {}\n\
         encryption:\n  \
           recipients: [{recipient}]\n\
         signing:\n  \
           key: keys/signing.key\n\
         reading:\n  \
           identities: [keys/identity.key]\n  \
           trust: [keys/signing.pub]\n",
        whole.butler.store(PREFIX),
        talosconfig.context("no talosconfig")?.display(),
        whole.butler.kubeconfig().display(),
    );
    let path = whole.folder.path().join(CONFIG);
    std::fs::write(&path, &text).with_context(|| format!("writing {}", path.display()))?;
    crate::print(&format!("\n$ cat {CONFIG}\n{}", screen::indented(&text)))?;
    Ok(whole)
}

async fn take(screen: &mut Screen, whole: &Whole) -> Result<Value> {
    screen.step(
        "Take all of it",
        "One command, one restore point. Discovery decides which kinds there are; what could not \
         be taken would be a finding and exit code 7.",
    )?;
    screen.run(&whole.backupd("snapshot")).await?;
    let show = whole.restore_cli("show");
    let show = show.args(["latest", "--output", "json"]).output().await?;
    let shown = show.ended_with(0)?.json()?;
    screen.holds(
        shown.get("missing") == Some(&serde_json::json!([])),
        "nothing that was asked for is missing",
    )?;
    shown.get("cost").cloned().context("no cost told")
}

async fn look(screen: &mut Screen, whole: &Whole) -> Result<()> {
    screen.step(
        "Look into it",
        "Kinds, tenants, sealing keys and findings are in the signed manifest; objects are \
         decrypted one by one, and secrets stay masked unless they are asked for.",
    )?;
    screen.run(&whole.restore_cli("show").arg("latest")).await?;
    screen
        .run(&whole.restore_cli("resources").arg("ls"))
        .await?;
    let ls = whole.restore_cli("resources").arg("ls");
    screen.run(&ls.arg("tenantclusters")).await?;
    let get = whole.restore_cli("resources").args(["get", "secret"]);
    let get = get.args(["nutanix-credentials", "-n", "infrastructure-credentials"]);
    let got = screen.run(&get).await?;
    screen.holds(got.stdout.contains("***"), "its values are masked")
}

async fn change(screen: &mut Screen, whole: &Whole) -> Result<()> {
    screen.step(
        "Change one object, and compare",
        "A second restore point stores what is new; diff tells what that was.",
    )?;
    let namespace = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": "made-meanwhile" },
    });
    let server = &whole.butler.kube_apiserver;
    server.create("/api/v1/namespaces", &namespace).await?;
    screen.line("a namespace `made-meanwhile` was made")?;
    let list = whole.restore_cli("list").args(["--output", "json"]);
    let before = list.output().await?.ended_with(0)?.json()?;
    let before = before
        .pointer("/restorePoints/0/id")
        .and_then(Value::as_str);
    let before = before.context("no restore point")?.to_owned();
    screen
        .run(&whole.backupd("snapshot").arg("--quiet"))
        .await?;
    let diff = whole.restore_cli("diff").args([before.as_str(), "latest"]);
    let told = screen.run(&diff).await?;
    screen.holds(told.stdout.contains("made-meanwhile"), "diff names it")
}

/// Lets the daemon watch the cluster; returns what was seen.
async fn watched(screen: &mut Screen, whole: &mut Whole) -> Result<String> {
    let Whole {
        butler,
        programs,
        folder,
    } = whole;
    let keys = butler.s3.keys().env();
    let path = folder.path().to_owned();
    let ours = |command: Command| {
        let command = command.env("BUTLER_BACKUP_CONFIG", CONFIG);
        command.envs(keys.clone()).in_folder(&path)
    };
    let backupd = |command: &str| ours(programs.backupd().arg(command));
    let restore_cli = |command: &str| ours(programs.restore_cli().arg(command));
    changes::play(screen, butler, &path, backupd, restore_cli).await
}

async fn hand_back(screen: &mut Screen, whole: &Whole) -> Result<()> {
    screen.step(
        "Hand a tenant's kubeconfig back",
        "Out of the restore point into a file of mode 0600; the tenant's API server accepts it.",
    )?;
    let fetch = whole.restore_cli("fetch").args(["latest", "--component"]);
    let fetch = fetch.args([
        "kubeconfigs",
        "--tenant",
        "alpha",
        "--to",
        "alpha.kubeconfig",
    ]);
    screen.run(&fetch).await?;
    let kubectl = e2e::tools::path(e2e::tools::Tool::Kubectl).await?;
    let nodes = Command::new(kubectl).args(["--kubeconfig", "alpha.kubeconfig", "get", "nodes"]);
    // kubectl would keep its discovery cache in the folder from which it is called.
    let nodes = nodes.env("KUBECACHEDIR", whole.folder.path().join("kubectl"));
    let nodes = screen.run(&nodes.in_folder(whole.folder.path())).await?;
    screen.holds(nodes.stdout.contains("Ready"), "the tenant answers to it")
}
