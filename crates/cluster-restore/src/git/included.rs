//! Folders and files that are parts of another kustomization, and so are not read on their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::documents::{KUSTOMIZATIONS, parse};

/// Largest kustomization; it names some dozens of parts.
const MAX_BYTES: u64 = 1 << 20;
/// Fields that name parts.
const PARTS: [&str; 3] = ["resources", "bases", "components"];

/// Parts that kustomizations include.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct IncludedParts {
    /// Folders that another kustomization builds.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files that a kustomization uses.
    pub(super) files: BTreeSet<PathBuf>,
}

/// Finds the parts that the kustomizations in `folders` include. A circle of kustomizations that no
/// other one includes is not left out: building it reports the error.
pub(super) fn included(folders: &[PathBuf]) -> IncludedParts {
    let mut parts: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
    let mut found = IncludedParts::default();
    for folder in folders {
        let (read, component) = read(folder);
        // A component is never built alone.
        if component {
            found.folders.insert(folder.clone());
        }
        parts.insert(folder, read);
    }
    let named: BTreeSet<&PathBuf> = parts.values().flatten().collect();
    let begins = folders.iter().filter(|folder| !named.contains(folder));
    let mut open: Vec<&Path> = begins.map(PathBuf::as_path).collect();
    let mut seen: BTreeSet<&Path> = BTreeSet::new();
    while let Some(folder) = open.pop() {
        if !seen.insert(folder) {
            continue;
        }
        for part in parts.get(folder).into_iter().flatten() {
            match parts.get_key_value(part.as_path()) {
                Some((inner, _)) => {
                    found.folders.insert(part.clone());
                    open.push(inner);
                }
                None => drop(found.files.insert(part.clone())),
            }
        }
    }
    found
}

/// Returns the parts in the same repository that the kustomization in `folder` names, and whether
/// it is a component. An unreadable one names none, and building it reports the error.
fn read(folder: &Path) -> (Vec<PathBuf>, bool) {
    let file = KUSTOMIZATIONS.iter().map(|name| folder.join(name));
    let file = file.into_iter().find(|file| file.is_file());
    let small = |file: &PathBuf| file.metadata().is_ok_and(|m| m.len() <= MAX_BYTES);
    let text = file
        .filter(small)
        .and_then(|file| std::fs::read_to_string(file).ok());
    let Some(Ok(value)) = text.map(|text| parse(&text)) else {
        return (Vec::new(), false);
    };
    let lists = PARTS
        .iter()
        .filter_map(|field| value.get(field)?.as_array());
    let named = lists.flatten().filter_map(Value::as_str);
    let parts = named.filter_map(|part| inside(folder, part)).collect();
    let component = value.get("kind").and_then(Value::as_str) == Some("Component");
    (parts, component)
}

/// Returns the path of a part; `None` if it is elsewhere on the network.
fn inside(folder: &Path, part: &str) -> Option<PathBuf> {
    if part.contains("://") {
        return None;
    }
    steps(folder, part)
}

/// Resolves a relative path from `folder`; `None` for an absolute path.
pub(super) fn steps(folder: &Path, part: &str) -> Option<PathBuf> {
    let mut place = folder.to_owned();
    for step in Path::new(part).components() {
        match step {
            Component::CurDir => {}
            Component::ParentDir => drop(place.pop()),
            Component::Normal(name) => place.push(name),
            Component::Prefix(_) | Component::RootDir => return None,
        }
    }
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(root: &Path, all: &[(&str, &str)]) -> Vec<PathBuf> {
        let made = all.iter().map(|(folder, text)| {
            let folder = root.join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("kustomization.yaml"), text).unwrap();
            folder
        });
        made.collect()
    }

    #[test]
    fn what_another_kustomization_includes_is_no_object_by_itself() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let folders = made(
            root,
            &[
                ("app/base", "resources: [a.yaml]\n"),
                (
                    "app/overlays/one",
                    "resources: [../../base, ../../../shared/x.yaml]\n",
                ),
                (
                    "app/overlays/two",
                    "bases: [../../base/]\ncomponents: [../../extra]\n",
                ),
                (
                    "app/extra",
                    "kind: Component\nresources: [https://example.org/x]\n",
                ),
                ("alone", "kind: Component\n"),
                ("broken", "resources: [\n"),
            ],
        );
        let found = included(&folders);
        let held = |names: &[&str]| names.iter().map(|n| root.join(n)).collect::<BTreeSet<_>>();
        assert_eq!(found.folders, held(&["app/base", "app/extra", "alone"]));
        assert_eq!(found.files, held(&["app/base/a.yaml", "shared/x.yaml"]));
    }

    #[test]
    fn a_circle_is_not_left_out_without_a_word() {
        let root = tempfile::tempdir().unwrap();
        let folders = made(
            root.path(),
            &[("a", "resources: [../b]\n"), ("b", "resources: [../a]\n")],
        );
        assert_eq!(included(&folders), IncludedParts::default());
    }
}
