//! Steps of the restore. The commands here, in their order, are the restore.

use backup_core::crypt::Trust;
use serde_json::json;

use super::document::{Document, code};
use super::etcd;
use super::facts::Facts;
use super::shell::word;

/// Configuration that the first step writes.
const CONFIG: &str = "butler-restore.yaml";
/// Plan that a later step writes.
const PLAN: &str = "restore-plan.json";

/// Writes the steps.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    prepare(document, facts);
    check(document, facts);
    if facts.in_place() {
        etcd::write(document, facts);
    } else {
        fresh(document, facts);
    }
    if facts.has_objects() {
        plan(document, facts);
        restore(document, facts);
        verify(document, facts);
    }
    afterwards(document, facts);
}

/// Returns a command that fails with `what` unless the variable is set.
fn want(variable: &str, what: &str) -> String {
    format!(": \"${{{variable}:?{what}}}\"")
}

fn prepare(document: &mut Document, facts: &Facts) {
    document.step("prepare the shell");
    document.text(format!(
        "Set the variables of the table above with `export NAME=VALUE`. This only checks them, and \
         writes {} into the folder you are in; it holds no secret.",
        code(CONFIG)
    ));
    let mut lines = Vec::new();
    if facts.encrypted() {
        lines.push(want("BUTLER_IDENTITY", "name the file with a private key"));
    }
    if facts.in_place() {
        lines.push(want(
            "TALOSCONFIG",
            "name the talosconfig of an administrator",
        ));
        let named = facts.nodes.named.iter().map(|node| word(node));
        let named: Vec<_> = named.collect();
        lines.push(if named.is_empty() {
            want(
                "TALOS_NODES",
                "name all control plane nodes, separated by commas",
            )
        } else {
            format!("TALOS_NODES=${{TALOS_NODES:-{}}}", named.join(","))
        });
        lines.push(match &facts.nodes.context {
            Some(context) => format!("TALOS_CLUSTER=${{TALOS_CLUSTER:-{}}}", word(context)),
            None => want("TALOS_CLUSTER", "name the cluster as its machines call it"),
        });
    }
    lines.push(want(
        "KUBECONFIG",
        if facts.in_place() {
            "name the kubeconfig of an administrator"
        } else {
            "name the kubeconfig of the fresh cluster"
        },
    ));
    lines.push("export KUBECONFIG".to_owned());
    if facts.in_place() {
        lines.push("export TALOSCONFIG".to_owned());
    }
    let config = config(facts);
    lines.push("printf '%s\\n' \\".to_owned());
    lines.extend(config.iter().map(|line| format!("  {} \\", word(line))));
    lines.push(format!("  > {CONFIG}"));
    lines.push(format!("export BUTLER_BACKUP_CONFIG=\"$PWD/{CONFIG}\""));
    lines.push("restore-cli --version".to_owned());
    document.run(lines);
    document.text(format!(
        "Must show: no complaint of a variable, and `restore-cli {}`. Another version may have other \
         flags: then write this text again with it.",
        env!("CARGO_PKG_VERSION")
    ));
}

/// Returns the configuration that every command reads. JSON is valid YAML, and quotes what must be quoted.
fn config(facts: &Facts) -> Vec<String> {
    let trust = match &facts.trust {
        Trust::Anyone => json!("none"),
        Trust::Keys(keys) => json!(keys.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    vec![
        format!("cluster: {}", json!(facts.cluster())),
        format!("store: {}", json!(facts.store.to_string())),
        format!("reading: {}", json!({ "trust": trust })),
    ]
}

fn check(document: &mut Document, facts: &Facts) {
    let (id, identity) = (facts.id(), facts.identity());
    document.step("see that the restore point is whole");
    document.text("Reads all of it, decrypts it, compares every checksum. Changes nothing.");
    document.run([
        format!("restore-cli show {id}"),
        format!("restore-cli verify {id}{identity}"),
    ]);
    let etcd = facts.etcd().map(|(_, etcd)| {
        let keys = etcd.total_keys.map(|keys| format!(", {keys} keys"));
        format!(
            " `show` says revision {}{} of etcd.",
            etcd.revision,
            keys.unwrap_or_default()
        )
    });
    document.text(format!(
        "Must show: signature `{}`, and of every component that it is whole.{}",
        crate::commands::signature(facts.point.verdict),
        etcd.unwrap_or_default()
    ));
    document.text(
        "If not: no identity opens it: you have another key file than one of those above. Damaged: \
         see “If the restore point is damaged”. The store does not answer: credentials, then network.",
    );
}

fn fresh(document: &mut Document, facts: &Facts) {
    document.step("see that this is the fresh cluster");
    document.text("Changes nothing.");
    let mut lines = vec![
        "kubectl config view --minify --output jsonpath='{.clusters[0].cluster.server}{\"\\n\"}'"
            .to_owned(),
        "kubectl get namespaces".to_owned(),
    ];
    if let Some(kubernetes) = facts.kubernetes() {
        lines.push(same_cluster("!=", &kubernetes.uid));
    }
    document.run(lines);
    document.text(
        "Must show: the address of the fresh cluster, its few namespaces, and `the right cluster`.",
    );
    document.text(
        "`STOP`: this is the cluster that was captured, and it is alive. Do not rebuild over it. \
         If nothing answers: the kubeconfig is the wrong one, or the cluster is not up.",
    );
}

/// Returns a command that fails with a message unless the cluster is the captured one (`=`) or another
/// (`!=`).
pub(super) fn same_cluster(is: &str, uid: &str) -> String {
    format!(
        "test \"$(kubectl get namespace kube-system --output jsonpath='{{.metadata.uid}}')\" {is} {} \
         && echo 'the right cluster' || {{ echo 'STOP: THE WRONG CLUSTER' >&2; false; }}",
        word(uid)
    )
}

fn only(facts: &Facts) -> &'static str {
    if facts.in_place() {
        " --mode in-place --only crds,resources,verify --forward-to latest"
    } else {
        " --mode rebuild"
    }
}

fn plan(document: &mut Document, facts: &Facts) {
    document.step("plan the objects");
    document.text(
        "Compares the restore point with the cluster, with reads and dry runs. Changes nothing, \
         and may be repeated as often as you like.",
    );
    document.run([format!(
        "restore-cli plan {}{} --to {PLAN}{}",
        facts.id(),
        only(facts),
        facts.identity()
    )]);
    let all = facts.point.manifest.components.iter();
    let objects = all.filter_map(|c| c.archive.as_ref()).map(|a| a.objects);
    let expected = if facts.in_place() {
        "Must show: nearly everything as `same`, since etcd is back, no blocker, and an end with code \
         0."
        .to_owned()
    } else {
        format!(
            "Must show: about {} objects, nearly all to `create`, no blocker, and an end with code 0. \
             What it leaves out, it names with the reason.",
            objects.fold(0, u64::saturating_add)
        )
    };
    document.text(expected);
    let last = if facts.in_place() {
        "now: nothing but etcd has changed so far."
    } else {
        "now: this is the last moment at which nothing has happened."
    };
    document.text(format!(
        "Code 6 means blockers: see “If the plan has blockers”. Read what is stopped first, and the \
         findings, {last}"
    ));
    if facts.in_place() {
        document.text(
            "What was captured after this restore point comes back, too. Leave `--forward-to latest` out \
             to have the objects of this restore point instead.",
        );
    }
}

fn restore(document: &mut Document, facts: &Facts) {
    let cluster = word(facts.cluster());
    document.step("restore the objects");
    document.text(format!(
        "THIS WRITES. `--yes --target {cluster}` says that you mean cluster {}; leave both out to be \
         asked.",
        code(facts.cluster())
    ));
    document.run([format!(
        "restore-cli restore --plan {PLAN} --yes --target {cluster}{}",
        facts.identity()
    )]);
    document.text(
        "Must show: `complete`, no object `failed`, nothing under “Still stopped”. It looks 60 s \
         long for losses after its last write: that is not a hang. In another terminal, in the \
         same folder, `restore-cli status` says how far it is.",
    );
    document.text(
        "If it ends in any other way, or the machine dies: see “If the restore was interrupted”. \
         Do not start again: resume.",
    );
}

fn verify(document: &mut Document, facts: &Facts) {
    document.step("see that the tenants are back");
    let mut lines = vec![
        "restore-cli status".to_owned(),
        format!("restore-cli verify-tenants {}", facts.id()),
    ];
    if facts.control_planes().next().is_some() {
        lines.push(
            "kubectl get tenantcontrolplanes.steward.butlerlabs.dev --all-namespaces".to_owned(),
        );
    }
    document.run(lines);
    let tenants = facts.tenants().len();
    document.text(format!(
        "Must show: `Nothing: it is complete`; {tenants} of {tenants} tenants connected (or as many as \
         answered in the table above); no control plane Terminating. Each finding says what to do."
    ));
    document.text(
        "A control plane that is Terminating: take no annotation off it, and see “If a tenant's \
         control plane is Terminating”.",
    );
}

fn afterwards(document: &mut Document, facts: &Facts) {
    document.heading("When it is done");
    let mut items = vec![
        "Take a new restore point, with `backupd snapshot --reason 'after the restore'` as it is \
         configured for this cluster. It begins a new lineage and says so."
            .to_owned(),
        "Keep `butler-restores/` (the journal and its plan, without secrets): the next runbook \
         takes the times from it."
            .to_owned(),
        "Delete what holds secrets: files that `fetch` wrote, copies of private keys.".to_owned(),
    ];
    if !facts.in_place() {
        items.push(
            "Start GitOps again only now, and check that it has nothing to change.".to_owned(),
        );
        items.push(
            "See that the old cluster cannot come up again: two management clusters on one DataStore \
             cost tenants their data."
                .to_owned(),
        );
    }
    document.items(items);
}
