//! Part of the runbook for a restore without this program, and for other losses.

use backup_core::store::url::StoreUrl;

use super::document::{Document, code};
use super::facts::Facts;
use super::shell::word;

/// Writes the part.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    datastores(document, facts);
    document.heading("Without restore-cli");
    document.text(
        "FORMAT.md ends in a script that takes a restore point apart with `age`, `zstd`, `jq`, `perl` \
         and `sha256sum`. Save it as `recover.sh`, beside this text, while all is well.",
    );
    copy(document, facts);
    if facts.in_place() {
        etcd(document, facts);
    } else {
        objects(document, facts);
    }
}

/// Writes the command that copies all stored objects into a folder.
fn copy(document: &mut Document, facts: &Facts) {
    match &facts.store {
        StoreUrl::S3(s3) => {
            let slash = if s3.prefix.is_empty() { "" } else { "/" };
            let from = word(&format!("s3://{}{slash}{}", s3.bucket, s3.prefix));
            let option = |name: &str, value: &Option<String>| {
                let value = value
                    .as_ref()
                    .map(|value| format!(" {name} {}", word(value)));
                value.unwrap_or_default()
            };
            document.aside([format!(
                "aws s3 sync {from} copy{}{}",
                option("--endpoint-url", &s3.endpoint),
                option("--region", &s3.region)
            )]);
        }
        StoreUrl::Folder(folder) => {
            let folder = word(&folder.display().to_string());
            document.aside([format!("ln -s {folder} copy")]);
        }
    }
}

/// Returns the command that writes a component to a file.
fn recover(facts: &Facts, component: &str, file: &str) -> String {
    let identity = if facts.encrypted() {
        "\"$BUTLER_IDENTITY\""
    } else {
        "-"
    };
    let manifest = word(&format!("copy/{}", facts.point.entry.key));
    format!("sh recover.sh copy {manifest} {identity} {file} {component}")
}

fn etcd(document: &mut Document, facts: &Facts) {
    let Some((component, etcd)) = facts.etcd() else {
        return;
    };
    document.aside([
        recover(facts, "etcd", "etcd.snapshot"),
        "etcdutl snapshot status etcd.snapshot --write-out table".to_owned(),
    ]);
    let keys = etcd.total_keys.map(|keys| format!("{keys} keys, "));
    document.text(format!(
        "Must show: revision {}, {}{} bytes, SHA-256 {}.",
        etcd.revision,
        keys.unwrap_or_default(),
        component.plain_bytes,
        code(&component.plain_sha256.to_string())
    ));
    let words = facts.node_words();
    let node = words.first().map_or("NODE", String::as_str);
    document.text(
        "When service etcd is `Preparing` on every control plane node, on exactly one of them, and \
         without `--recover-skip-hash-check`:",
    );
    document.aside([
        format!("talosctl --nodes {node} bootstrap --recover-from etcd.snapshot"),
        format!("talosctl --nodes {node} service etcd"),
        format!("talosctl --nodes {node} etcd status"),
    ]);
    document.text(
        "An end without failure means accepted, no more. Watch until etcd is `Running` and \
         healthy; the others join automatically. `AlreadyExists`: an earlier try may have worked, \
         look before you wipe. Then restart as above, and compare the tenants with the table.",
    );
    document.text("The file holds every Secret of the cluster. Delete it when you are done.");
}

fn objects(document: &mut Document, facts: &Facts) {
    let components = facts.point.manifest.components.iter();
    let archives = components.filter(|c| c.archive.as_ref().is_some_and(|a| !a.kinds.is_empty()));
    let lines = archives.flat_map(|component| {
        let name = component.name.as_str();
        let file = word(&format!("{}.tar", name.replace('/', "-")));
        [
            recover(facts, &word(name), &file),
            format!("tar -xf {file}"),
        ]
    });
    document.aside(lines.collect::<Vec<_>>());
    document.text(
        "Each object is a file of JSON below `resources/`. It is slow, and it is dangerous: tenants are \
         lost by one wrong order. With Steward, Cluster API, Butler and Flux scaled to 0 and their \
         webhook configurations absent, create in this order:",
    );
    document.items([
        "Namespaces; CustomResourceDefinitions (wait until Established); StorageClasses and \
         PriorityClasses; ServiceAccounts; RBAC",
        "sealing keys; then Secrets and ConfigMaps, without their ownerReferences",
        "DataStores; Butler's configuration, Teams, Users, NetworkPools; TenantClusters, each with its \
         status at once",
        "Clusters with `spec.paused: true`; their infrastructure; StewardControlPlanes and \
         TenantControlPlanes with the annotation `steward.butlerlabs.dev/paused` in the create itself, \
         then their status; Services with their clusterIP; machines",
        "everything else; SealedSecrets; Flux; webhook configurations last",
    ]);
    document.text("For each file, and never with an old `uid` in `ownerReferences`:");
    document.aside([
        "jq 'del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.ownerReferences, \
         .metadata.creationTimestamp, .metadata.generation, .metadata.managedFields)' FILE | kubectl \
         create -f -",
        "kubectl patch KIND NAME -n NAMESPACE --subresource=status --type merge -p \"$(jq -c '{status}' \
         FILE)\"",
    ]);
    document.text(
        "Then owners, with their new UIDs; only then controllers, in the order sealed-secrets, \
         Steward, Cluster API, Butler, Flux; and the annotations off, tenant by tenant.",
    );
}

/// Writes the part on the etcds behind tenants.
fn datastores(document: &mut Document, facts: &Facts) {
    let datastores: Vec<_> = facts.datastores().collect();
    if datastores.is_empty() {
        return;
    }
    document.heading("If the etcd of a DataStore is lost");
    document.text(
        "Only if its own data is lost as well: it holds the tenants' objects, and a living one is \
         newer. With Steward stopped, for every member, on its machine, with the names that its \
         members have always had:",
    );
    for (name, component) in datastores {
        if let Some(etcd) = &component.etcd {
            document.text(format!(
                "DataStore {}: revision {}, {} bytes, users {}.",
                code(name),
                etcd.revision,
                component.plain_bytes,
                etcd.users.join(", ")
            ));
        }
        document.aside([
            "# MEMBER, PEER_URL, MEMBERS (NAME=PEER_URL,…) and FOLDER, a new one, are this member's."
                .to_owned(),
            format!(
                "restore-cli restore datastore {} {} --data-dir \"$FOLDER\" --name \"$MEMBER\" \
                 --peer-url \"$PEER_URL\" --initial-cluster \"$MEMBERS\"{}",
                word(name),
                facts.id(),
                facts.identity()
            ),
        ]);
    }
    document.text(
        "Start etcd on the folder with the flags that it prints. Users, roles and passwords come back \
         with the data. An empty etcd would raise no error: tenants would be Ready, and empty.",
    );
}
