//! Comparison of a restored cluster with its archive, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::site::ButlerSite;
use serde_json::Value;

/// Result of the comparison.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) objects: usize,
    /// Objects with a status in the archive, and those of them whose status is restored.
    pub(crate) status: (usize, usize),
    /// Owner references in the archive, and those that name a living owner now.
    pub(crate) owners: (usize, usize),
    pub(crate) differences: Vec<String>,
}

impl Compared {
    /// Checks that every status and every owner of the archive is restored, and that there are many.
    pub(crate) fn has_status_and_owners(&self) {
        for (had, has) in [self.status, self.owners] {
            assert!(had > 20 && had == has, "{self:?}");
        }
    }
}

/// Compares as [`compare`] does; there must be no difference.
pub(crate) async fn same(
    site: &ButlerSite,
    kubeconfig: &Path,
    skipped: &BTreeSet<String>,
) -> Result<Compared> {
    let compared = compare(site, kubeconfig, skipped).await?;
    let differences = &compared.differences;
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(compared)
}

/// Checks that a plan of the restored objects has nothing to do.
pub(crate) fn nothing_to_do(planned: &Value) -> Result<()> {
    for kind in planned["plan"]["kinds"].as_array().context("no kinds")? {
        for count in ["create", "change", "conflict", "fail"] {
            ensure!(kind[count] == 0, "{kind:#}");
        }
    }
    Ok(())
}

/// Compares every object of the newest restore point but those in `skipped` with the cluster.
pub(crate) async fn compare(
    site: &ButlerSite,
    kubeconfig: &Path,
    skipped: &BTreeSet<String>,
) -> Result<Compared> {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for component in [
        "crds",
        "resources",
        "secrets",
        "sealed-secrets",
        "kubeconfigs",
    ] {
        let file = site.fetched(component).await?;
        let mut archive = tar::Archive::new(std::fs::File::open(&file)?);
        for entry in archive.entries()? {
            let entry = entry?;
            let path = String::from_utf8(entry.path_bytes().into_owned())?;
            if path.starts_with("resources/") && !skipped.contains(&path) {
                wanted.insert(path, serde_json::from_reader(entry)?);
            }
        }
    }
    let kinds: BTreeSet<&str> = wanted.keys().filter_map(|p| p.split('/').nth(1)).collect();
    let mut live: BTreeMap<String, Value> = BTreeMap::new();
    let mut uids = BTreeSet::new();
    for kind in kinds {
        for item in site.listed(kubeconfig, kind).await? {
            let name = item["metadata"]["name"].as_str().context("no name")?;
            let path = match item["metadata"]["namespace"].as_str() {
                Some(ns) => format!("resources/{kind}/namespaces/{ns}/{name}.json"),
                None => format!("resources/{kind}/cluster/{name}.json"),
            };
            uids.insert(
                item["metadata"]["uid"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            );
            live.insert(path, item);
        }
    }
    let mut found = Compared::default();
    for (path, wanted) in wanted {
        found.objects += 1;
        let Some(live) = live.get(&path) else {
            found.differences.push(format!("{path} is not there"));
            continue;
        };
        // The server owns the status of its own kinds.
        let custom = path.contains(".butlerlabs.dev/")
            || path.contains("x-k8s.io/")
            || path.contains("bitnami.com/");
        let status = wanted.get("status").filter(|_| custom);
        if let Some(status) = status {
            found.status.0 += 1;
            if live.get("status") == Some(status) {
                found.status.1 += 1;
            } else {
                found.differences.push(format!("{path}: another status"));
            }
        }
        for owner in owners(&wanted) {
            found.owners.0 += 1;
            let named = |o: &&Value| o["kind"] == owner["kind"] && o["name"] == owner["name"];
            let now = owners(live).into_iter().find(|o| named(o));
            let uid = now.and_then(|o| o["uid"].as_str());
            if uid.is_some_and(|uid| uids.contains(uid)) {
                found.owners.1 += 1;
            } else {
                found
                    .differences
                    .push(format!("{path}: without its owner {owner}"));
            }
        }
        if plain(&wanted) != plain(live) {
            // The data of Secrets is not printed.
            let (mut old, mut new) = (plain(&wanted), plain(live));
            for object in [&mut old, &mut new] {
                object.as_object_mut().map(|o| o.remove("data"));
            }
            let difference = format!("{path}:\n  {old}\n  {new}");
            found.differences.push(difference);
        }
    }
    Ok(found)
}

fn owners(object: &Value) -> Vec<&Value> {
    let owners = object["metadata"]["ownerReferences"].as_array();
    owners.into_iter().flatten().collect()
}

/// Returns the parts that people and controllers write.
fn plain(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
        if fields.get("kind") == Some(&Value::from("Namespace")) {
            fields.remove("spec");
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for name in [
            "creationTimestamp",
            "generateName",
            "generation",
            "managedFields",
            "ownerReferences",
            "resourceVersion",
            "uid",
        ] {
            metadata.remove(name);
        }
    }
    object
}
