//! Removal of mirrored files whose objects are gone, as far as the manifest proves it.

use std::collections::BTreeMap;
use std::path::Path;

use super::MirrorError;
use super::folder::list;
use super::place::{self, CRDS, DEFINITIONS, MARK, RESOURCES};
use super::staging::StagedObjects;
use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::format::export::{ArchiveFacts, KindFacts};
use backup_core::format::manifest::Manifest;
use backup_core::id::ComponentName;
use backup_core::num::to_u64;
use cluster_client::kube::Selection;

/// Reason for leaving out an object that still exists.
const BEING_DELETED: &str = "it is being deleted";
/// Reasons for leaving objects out that do not make the list of a kind incomplete.
const HARMLESS: [&str; 2] = [BEING_DELETED, "its namespace is not included"];
/// Depth of folders: kind, namespace.
const MAX_DEPTH: usize = 2;

/// Removes the files below `root` whose objects are gone; returns their number.
pub(super) fn remove(
    root: &Path,
    manifest: &Manifest,
    selection: &Selection,
    staged: &StagedObjects,
) -> Result<u64, MirrorError> {
    let sweep = |folder: &str, kind: &KindFacts| {
        let mut removed: u64 = 0;
        let files = files(root, folder)?;
        for place in files.into_iter().filter(|place| !staged.has(place)) {
            if proves(kind, folder, selection, &place) && unlink(&root.join(&place))? {
                removed = removed.saturating_add(1);
            }
        }
        Ok::<_, MirrorError>(removed)
    };
    let mut removed: u64 = 0;
    let facts = |name: &ComponentName| -> Option<&ArchiveFacts> {
        let component = manifest.component(name)?;
        component
            .archive
            .as_ref()
            .filter(|_| component.carried_from.is_none())
    };
    let crds = facts(&ComponentName::crds());
    let crds = crds.and_then(|facts| facts.kinds.iter().find(|k| k.resource == DEFINITIONS));
    if let Some(crds) = crds {
        removed = removed.saturating_add(sweep(CRDS, crds)?);
    }
    let kinds = facts(&ComponentName::resources()).into_iter();
    let kinds = kinds.flat_map(|facts| &facts.kinds);
    let kinds: BTreeMap<String, &KindFacts> = kinds
        .map(|kind| {
            (
                place::kind(&ResourceName::from(kind.resource.as_str())),
                kind,
            )
        })
        .collect();
    for folder in folders(&root.join(RESOURCES))? {
        let below = format!("{RESOURCES}/{folder}");
        match (kinds.get(&folder), crds) {
            (Some(kind), _) => removed = removed.saturating_add(sweep(&below, kind)?),
            // A kind without a definition has no objects.
            (None, Some(crds))
                if !staged.defines(&folder)
                    && proves(crds, CRDS, selection, &format!("{CRDS}/{folder}.yaml")) =>
            {
                for place in files(root, &below)? {
                    if unlink(&root.join(&place))? {
                        removed = removed.saturating_add(1);
                    }
                }
            }
            (None, _) => {}
        }
    }
    Ok(removed)
}

/// Whether all objects of the kind were listed.
fn is_whole(kind: &KindFacts) -> bool {
    let harmless = |reason: &str| HARMLESS.contains(&reason);
    kind.failed.is_none() && kind.skipped.iter().all(|skipped| harmless(&skipped.reason))
}

/// Whether the object of the file `place` would have been listed if it existed.
fn proves(kind: &KindFacts, folder: &str, selection: &Selection, place: &str) -> bool {
    if !is_whole(kind) {
        return false;
    }
    let defines = kind.resource == DEFINITIONS;
    // An object without the label may exist.
    if !defines && selection.selector.is_some() {
        return false;
    }
    let inside = place
        .strip_prefix(folder)
        .unwrap_or(place)
        .trim_start_matches('/');
    let namespace = inside.split_once('/').map(|(namespace, _)| namespace);
    if namespace.is_some() != kind.namespaced
        || namespace.is_some_and(|namespace| !selection.wants_namespace(namespace))
    {
        return false;
    }
    let deleting = kind.skipped.iter().filter(|s| s.reason == BEING_DELETED);
    deleting.into_iter().all(|skipped| {
        let named = u64::try_from(skipped.names.len()).ok() == Some(skipped.objects);
        named && skipped.names.iter().all(|name| of(kind, name) != place)
    })
}

/// Returns the file of an object that the manifest names.
fn of(kind: &KindFacts, name: &str) -> String {
    let (namespace, name) = match name.split_once('/') {
        Some((namespace, name)) if kind.namespaced => (Some(namespace.to_owned()), name),
        _ => (None, name),
    };
    place::place(&ObjectPath {
        resource: ResourceName::from(kind.resource.as_str()),
        namespace,
        name: name.to_owned(),
    })
}

/// Removes a file if it begins like a file of the mirror.
fn unlink(path: &Path) -> Result<bool, MirrorError> {
    use std::io::Read as _;
    let failed = |source| MirrorError::file("remove", path, source);
    let mut begins = String::new();
    let length = to_u64(MARK.len());
    let file = std::fs::File::open(path).map_err(failed)?;
    let read = file.take(length).read_to_string(&mut begins);
    if read.is_err() || begins != MARK {
        return Ok(false);
    }
    std::fs::remove_file(path).map_err(failed)?;
    Ok(true)
}

/// Returns the folders in a folder; none if the folder is missing.
fn folders(folder: &Path) -> Result<Vec<String>, MirrorError> {
    let entries = list(folder)?.into_iter();
    Ok(entries
        .filter(|(_, is_folder)| *is_folder)
        .map(|(name, _)| name)
        .collect())
}

/// Returns the files in a folder of `root` and below, as paths relative to `root`.
fn files(root: &Path, folder: &str) -> Result<Vec<String>, MirrorError> {
    let mut found = Vec::new();
    let mut folders = vec![(folder.to_owned(), 0_usize)];
    while let Some((folder, depth)) = folders.pop() {
        for (name, is_folder) in list(&root.join(&folder))? {
            let path = format!("{folder}/{name}");
            if !is_folder {
                found.push(path);
            } else if depth < MAX_DEPTH {
                folders.push((path, depth.saturating_add(1)));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::digest::Digest;
    use backup_core::format::export::{Consistency, Skipped};

    const FOLDER: &str = "resources/x.y";

    fn kind(skipped: &[(&str, u64, &[&str])], failed: Option<&str>) -> KindFacts {
        let skipped = skipped.iter().map(|(reason, objects, names)| Skipped {
            reason: (*reason).to_owned(),
            objects: *objects,
            names: names.iter().map(ToString::to_string).collect(),
            namespaces: BTreeMap::new(),
        });
        KindFacts {
            resource: "x.y".to_owned(),
            kind: "X".to_owned(),
            version: "v1".to_owned(),
            namespaced: true,
            also_served: Vec::new(),
            stored_version: None,
            resource_version: None,
            consistency: Consistency::OneRevision,
            objects: 0,
            bytes: 0,
            sha256: Digest::of(b""),
            skipped: skipped.collect(),
            managed_by: BTreeMap::new(),
            failed: failed.map(ToOwned::to_owned),
            lost: Vec::new(),
            list_failed: None,
            watched: None,
            complete: None,
            listed_because: None,
        }
    }

    #[test]
    fn only_a_whole_list_proves_that_an_object_is_gone() {
        let all = Selection::default();
        let proof = |kind: &KindFacts, selection: &Selection, place: &str| {
            proves(kind, FOLDER, selection, &format!("{FOLDER}/{place}"))
        };
        let whole = kind(&[], None);
        assert!(proof(&whole, &all, "n/a.yaml"));
        // The kind is namespaced, and this place has no namespace.
        assert!(!proof(&whole, &all, "a.yaml"));
        for half in [
            kind(&[], Some("forbidden")),
            kind(&[("it cannot be read", 1, &[])], None),
            kind(&[(BEING_DELETED, 1, &["n/a"])], None),
            kind(&[(BEING_DELETED, 200, &["n/b"])], None),
        ] {
            assert!(!proof(&half, &all, "n/a.yaml"), "{half:?}");
        }
        let other = kind(&[(BEING_DELETED, 1, &["n/b"]), (HARMLESS[1], 7, &[])], None);
        assert!(proof(&other, &all, "n/a.yaml"));
        let selector = Selection {
            selector: Some("a=b".to_owned()),
            ..Selection::default()
        };
        assert!(!proof(&whole, &selector, "n/a.yaml"));
        let others = Selection {
            exclude_namespaces: ["n".to_owned()].into(),
            ..Selection::default()
        };
        assert!(!proof(&whole, &others, "n/a.yaml"));
        assert!(proof(&whole, &others, "m/a.yaml"));
    }

    #[test]
    fn a_file_that_somebody_else_wrote_stays() {
        let folder = tempfile::TempDir::new().unwrap();
        let (own, other) = (folder.path().join("own"), folder.path().join("other"));
        std::fs::write(&own, format!("{MARK}a: b\n")).unwrap();
        std::fs::write(&other, "a: b\n").unwrap();
        assert!(unlink(&own).unwrap());
        assert!(!unlink(&other).unwrap());
        assert!(!own.exists() && other.exists());
    }
}
