//! Runbook steps that restore etcd on the same nodes.

use cluster_restore::etcd::{RestartKind, WipeCommand, restarts_on};

use super::document::{Document, code};
use super::facts::Facts;
use super::steps::same_cluster;

/// Writes the steps.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    look(document, facts);
    restore(document, facts);
    back(document, facts);
    restart(document, facts);
}

/// Writes the command that wipes a node, with what it destroys.
pub(super) fn wipe(document: &mut Document, facts: &Facts) {
    let talos = facts
        .etcd()
        .and_then(|(_, etcd)| etcd.talos_version.clone());
    for node in facts.node_words() {
        let wipe = WipeCommand::of(&node, talos.as_deref());
        document.aside([wipe.command]);
        document.text(format!("DESTROYS {}.", wipe.destroys));
    }
    document.text(
        "Never leave the list of labels empty: that wipes the whole disk, the node's identity \
         included.",
    );
}

fn look(document: &mut Document, facts: &Facts) {
    document.step("see what state the nodes are in");
    document.text(
        "By hand, for every control plane node. Changes nothing. A node that does not answer is \
         powered on, or made again with the same machine secrets, first.",
    );
    let mut lines: Vec<String> = Vec::new();
    for node in facts.node_words() {
        lines.push(format!("talosctl --nodes {node} service etcd"));
        lines.push(format!("talosctl --nodes {node} etcd members"));
    }
    if lines.is_empty() {
        lines.push("talosctl --nodes \"$TALOS_NODES\" service etcd".to_owned());
    }
    document.aside(lines);
    document.text(
        "Must show: service etcd in state `Preparing` on all of them, and no members anywhere. If a \
         majority runs, do not restore. If etcd is in another state, its data is in the way: see “If \
         etcd's data is in the way”.",
    );
    document.text("No control plane node may be of machine type `init`.");
}

fn restore(document: &mut Document, facts: &Facts) {
    let Some((component, etcd)) = facts.etcd() else {
        return;
    };
    document.step("restore etcd onto one node");
    document.text(
        "THIS WRITES. It looks at every node, refuses if anything is in the way, fetches and \
         verifies the whole snapshot, uploads, bootstraps, and waits until etcd gives its revision \
         back. The other control plane nodes join automatically. Leave `--yes --target …` out to \
         be shown the nodes and asked.",
    );
    document.run([format!(
        "restore-cli restore etcd {} --nodes \"$TALOS_NODES\" --restart-kubelets --yes --target \
         \"$TALOS_CLUSTER\"{}",
        facts.id(),
        facts.identity()
    )]);
    document.text(format!(
        "Must show: {} bytes of revision {} uploaded; a revision that is not below {}; every other \
         control plane node joined; an end with code 0.",
        component.plain_bytes, etcd.revision, etcd.revision
    ));
    document.text(
        "If it fails or dies: run it again. It checks first how far the restore is, and continues \
         from there. `AlreadyExists` is not a reason to wipe: the command checks that itself. Code \
         6 names what is in the way, with the remedy. Code 7: etcd is back, and a node did not \
         join or a kubelet did not restart; it says which.",
    );
}

fn back(document: &mut Document, facts: &Facts) {
    document.step("see that the API server is back, and is this cluster's");
    let mut lines = vec![
        "timeout 600 sh -c 'until kubectl get --raw /readyz; do sleep 5; done'".to_owned(),
        "kubectl get namespaces".to_owned(),
    ];
    if let Some(kubernetes) = facts.kubernetes() {
        lines.push(same_cluster("=", &kubernetes.uid));
    }
    document.run(lines);
    document.text(
        "Must show: `ok`, all namespaces, and `the right cluster`. If the API server does not come up within ten minutes: `talosctl --nodes NODE \
         containers --kubernetes` and `talosctl --nodes NODE logs kubelet`.",
    );
}

fn restart(document: &mut Document, facts: &Facts) {
    document.step("restart what has seen a later state than etcd has");
    document.text(
        "etcd went back in time, and its watchers have seen revisions that no longer exist. The \
         kubelets of the nodes named were restarted in the step before; the rest is by hand, in \
         this order. Nodes and Pods are stale for some minutes: that passes.",
    );
    let words = facts.node_words();
    let nodes: Vec<&str> = words.iter().map(String::as_str).collect();
    let restarts = restarts_on(&nodes, &nodes);
    let lines = restarts.iter().map(|restart| {
        let done = restart.kind == RestartKind::Kubelet && restart.node.is_some();
        let mark = if done { "# only if it failed: " } else { "" };
        format!("{mark}{}", restart.command)
    });
    document.aside(lines);
    if let Some((_, etcd)) = facts
        .etcd()
        .filter(|(_, e)| !e.encryption_prefixes.is_empty())
    {
        document.text(format!(
            "Secrets in etcd are encrypted as {}. If Secrets cannot be read now, the encryption \
             configuration of the API server has changed since then: it comes with the machine \
             secrets.",
            code(&etcd.encryption_prefixes.join(", "))
        ));
    }
}
