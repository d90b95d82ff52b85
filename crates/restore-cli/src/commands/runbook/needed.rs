//! Part of the runbook on what must be at hand before anything is begun.

use backup_core::crypt::Trust;
use backup_core::store::url::StoreUrl;

use super::document::{Document, code};
use super::facts::Facts;

/// Writes the part.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    document.heading("Before you begin");
    document.text("Have all of this at hand. The first step checks for each variable.");
    document.table(["VARIABLE", "WHAT", "WHY"], variables(facts));
    document.items(things(facts));
    if facts.encrypted() {
        document.text("Any one of these keys opens all of it:");
        document.items(facts.recipients().iter().map(|key| code(key)));
    } else {
        document.text("The restore point is not encrypted: no key is needed.");
    }
    if let Trust::Keys(keys) = &facts.trust {
        document.text("Signed by a key of these, which the first step writes down:");
        document.items(keys.iter().map(|key| code(&key.to_string())));
    } else {
        document.text(
            "WARNING: no signature was checked when this was written (trust is none). Anyone who \
             can write to the store may have made this restore point.",
        );
    }
}

fn variables(facts: &Facts) -> Vec<[String; 3]> {
    let row =
        |name: &str, what: &str, why: &str| [name.to_owned(), what.to_owned(), why.to_owned()];
    let mut rows = Vec::new();
    if facts.encrypted() {
        rows.push(row(
            "`BUTLER_IDENTITY`",
            "a file with the private half of one of the keys below",
            "opens the restore point",
        ));
    }
    if facts.in_place() {
        rows.push(row(
            "`TALOSCONFIG`",
            "the talosconfig of an administrator (role os:admin)",
            "uploads and bootstraps; the daemon's own, os:etcd:backup, cannot",
        ));
        rows.push(row(
            "`TALOS_NODES`",
            "the addresses of all control plane nodes, separated by commas",
            "each is looked at before anything is done",
        ));
        rows.push(row(
            "`TALOS_CLUSTER`",
            "the cluster's name in its machine configuration",
            "says that it is this cluster that is meant",
        ));
    }
    rows.push(row(
        "`KUBECONFIG`",
        if facts.in_place() {
            "the kubeconfig of an administrator of this cluster"
        } else {
            "the kubeconfig of an administrator of the FRESH cluster"
        },
        "objects are written with it",
    ));
    if matches!(facts.store, StoreUrl::S3(_)) {
        rows.push(row(
            "`AWS_…`",
            "S3 credentials that may read the bucket, by the usual variables or files",
            "reads the store",
        ));
    }
    rows
}

fn things(facts: &Facts) -> Vec<String> {
    let mut items = vec![format!(
        "The programs `restore-cli` {}, `kubectl`{} on the PATH.",
        env!("CARGO_PKG_VERSION"),
        if facts.in_place() {
            " and `talosctl`"
        } else {
            ""
        }
    )];
    if facts.in_place() {
        items.push(
            "The cluster's machine secrets, if nodes have to be made again: nodes with other \
             secrets cannot use a snapshot. They are in component `machine-config` or `kit`, if \
             the restore point has it, or wherever you keep them."
                .to_owned(),
        );
        if !facts.nodes.endpoints.is_empty() {
            items.push(format!(
                "Endpoints of the Talos API, which must be reachable: {}.",
                facts.nodes.endpoints.join(", ")
            ));
        }
    } else {
        items.push(
            "A fresh cluster of the same or a newer Kubernetes, with Steward, Cluster API, \
             sealed-secrets and Butler installed, or without them so far; and no tenants. Its \
             network must be able to give tenants their old addresses."
                .to_owned(),
        );
        items.push(
            "The etcd of the tenants' DataStores, at its old address. If that is lost too, see “If the \
             etcd of a DataStore is lost”, and do that before step 4."
                .to_owned(),
        );
    }
    items.push("Room in the folder for temporary files: the largest component above.".to_owned());
    items
}
