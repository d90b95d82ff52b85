//! Report that Butler's export of a cluster leaves beside its files: the objects that it wrote, and
//! the existing objects that it did not write. An object that the export could not read is absent
//! from Git, but not gone.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::documents::parse;

/// Name of the report, in the folder that the export wrote to.
pub(super) const FILE: &str = "coverage.yaml";
/// Largest report. It names each object of an export, with 150 bytes.
const MAX_BYTES: u64 = 32 << 20;
/// Longest reason, in characters; a reason is a sentence.
const MAX_WHY: usize = 300;

/// Object that the report names.
#[derive(Debug, Clone, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CoverageItem {
    api_version: String,
    group: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// File of the object, relative to the folder of the report.
    pub(super) path: String,
}

impl CoverageItem {
    /// Returns an approximate `apiVersion`: its group is right.
    pub(super) fn version(&self) -> String {
        if self.api_version.is_empty() && !self.group.is_empty() {
            return format!("{}/", self.group);
        }
        self.api_version.clone()
    }
}

/// Object that existed and is not in the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) item: CoverageItem,
    /// Reason.
    pub(super) why: String,
}

/// Content of the report.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Coverage {
    /// Folder of the report, relative to the checkout; empty for the checkout itself.
    pub(super) folder: std::path::PathBuf,
    /// Objects that were written.
    pub(super) captured: Vec<CoverageItem>,
    /// Objects that were not written.
    pub(super) gaps: Vec<Gap>,
    /// Parts of the cluster about which nothing is known, each as a sentence.
    pub(super) unseen: Vec<String>,
    /// Objects that were written without the changes of patches, and the Kustomization that patches
    /// them.
    pub(super) patched: Vec<(CoverageItem, String)>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CoverageReport {
    captured: Option<Vec<CoverageItem>>,
    flux_self_management: Option<Vec<CoverageItem>>,
    kustomization_observations: Option<Vec<Observation>>,
    discovery_failures: Option<Vec<Failure>>,
    path_collisions: Option<Vec<Collision>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Observation {
    namespace: String,
    name: String,
    skipped: bool,
    skip_reason: String,
    inline_patches: Option<Vec<Patch>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Patch {
    target_kind: String,
    target_name: String,
    target_namespace: String,
    target_group: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Failure {
    #[serde(flatten)]
    item: CoverageItem,
    error: String,
    hint: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Collision {
    path: String,
    conflicts: Option<Vec<CoverageItem>>,
}

/// Reads the report nearest to `root`, in it or above it, within the checkout `tree`. Returns an
/// error message if the report cannot be used.
pub(super) fn read(tree: &Path, root: &Path) -> Option<Result<Coverage, &'static str>> {
    let mut folders = root
        .ancestors()
        .take_while(|folder| folder.starts_with(tree));
    let file = folders.find_map(|folder| {
        let file = folder.join(FILE);
        file.is_file().then_some(file)
    })?;
    let small = file.metadata().is_ok_and(|m| m.len() <= MAX_BYTES);
    let text = small.then(|| std::fs::read_to_string(&file).ok()).flatten();
    let Some(Ok(value)) = text.map(|text| parse(&text)) else {
        return Some(Err(
            "it has the name of an export's report, and cannot be read",
        ));
    };
    if !is_report(&value) {
        return None;
    }
    let Ok(report) = serde_json::from_value::<CoverageReport>(value) else {
        return Some(Err("it is an export's report of an unknown form"));
    };
    let folder = file.parent().unwrap_or(tree);
    let folder = folder.strip_prefix(tree).unwrap_or(folder).to_owned();
    Some(Ok(Coverage::of(report, folder)))
}

/// Reports whether a document is a report: not a Kubernetes object, and with the fields of reports.
pub(super) fn is_report(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some();
    let told = [
        "fluxSelfManagement",
        "kustomizationObservations",
        "discoveryFailures",
    ];
    !has("apiVersion") && has("captured") && told.into_iter().any(has)
}

impl Coverage {
    fn of(report: CoverageReport, folder: std::path::PathBuf) -> Self {
        let mut coverage = Self {
            folder,
            captured: report.captured.unwrap_or_default(),
            ..Self::default()
        };
        for item in report.flux_self_management.unwrap_or_default() {
            coverage.gap(
                item,
                "it belongs to Flux itself, and the export leaves that out",
            );
        }
        for failure in report.discovery_failures.unwrap_or_default() {
            let said = [&failure.hint, &failure.error]
                .into_iter()
                .find(|s| !s.is_empty());
            let said = said.map_or("it does not say why", String::as_str);
            coverage.gap(
                failure.item,
                &format!("the export could not read it: {said}"),
            );
        }
        for collision in report.path_collisions.unwrap_or_default() {
            for item in collision.conflicts.unwrap_or_default() {
                let written = coverage.captured.iter().any(|c| same(c, &item));
                if !written {
                    let why = format!("another object was written to its file {}", collision.path);
                    coverage.gap(item, &why);
                }
            }
        }
        for seen in report.kustomization_observations.unwrap_or_default() {
            let name = format!("{}/{}", seen.namespace, seen.name);
            if seen.skipped {
                let why = one_line(&seen.skip_reason);
                coverage.unseen.push(format!(
                    "the export passed over all objects of the Flux Kustomization {name}: {why}"
                ));
            }
            for patch in seen.inline_patches.unwrap_or_default() {
                let item = CoverageItem {
                    group: patch.target_group,
                    kind: patch.target_kind,
                    namespace: patch.target_namespace,
                    name: patch.target_name,
                    ..CoverageItem::default()
                };
                coverage.patched.push((item, name.clone()));
            }
        }
        coverage
    }

    fn gap(&mut self, item: CoverageItem, why: &str) {
        let why = one_line(why);
        self.gaps.push(Gap { item, why });
    }
}

fn same(a: &CoverageItem, b: &CoverageItem) -> bool {
    let key = |item: &CoverageItem| {
        let version = item.version();
        let group = version
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        (
            group,
            item.kind.clone(),
            item.namespace.clone(),
            item.name.clone(),
        )
    };
    key(a) == key(b)
}

fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_WHY).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Report in the form that Butler's server writes.
    const REPORT: &str = "# coverage.yaml
captured:
- {apiVersion: butler.butlerlabs.dev/v1alpha1, kind: Team, name: payments, path: apps/prd/teams/payments.yaml}
clusterName: management
discoveryFailures:
- {inventoryID: _search_butler.butlerlabs.dev_Team, group: butler.butlerlabs.dev, kind: Team, name: search,
   error: \"no matches for kind\\n\", hint: RBAC denial, sourceKustomization: apps}
env: prd
fluxSelfManagement:
- {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, namespace: flux-system, name: flux-system}
kustomizationObservations:
- {name: apps, namespace: flux-system, ready: true, inventoryItemCount: 2, inlinePatches: [
    {targetKind: Team, targetName: payments, patchSize: 3, note: n}]}
- {name: infra, namespace: flux-system, ready: false, skipped: true, skipReason: never reconciled}
pathCollisions:
- path: apps/prd/teams/payments.yaml
  conflicts:
  - {apiVersion: butler.butlerlabs.dev/v1alpha1, kind: Team, name: payments}
  - {apiVersion: other.example.org/v1, kind: Team, name: payments}
";

    #[test]
    fn a_report_tells_what_is_missing_and_why() {
        let tree = tempfile::tempdir().unwrap();
        let (tree, root) = (tree.path(), tree.path().join("apps/prd"));
        std::fs::create_dir_all(&root).unwrap();
        assert!(read(tree, &root).is_none());
        std::fs::write(tree.join(FILE), REPORT).unwrap();
        let coverage = read(tree, &root).unwrap().unwrap();
        assert_eq!(coverage.folder, Path::new(""));
        assert_eq!(coverage.captured.len(), 1);
        let gaps: Vec<String> = coverage
            .gaps
            .iter()
            .map(|g| {
                format!(
                    "{} {} {}: {}",
                    g.item.version(),
                    g.item.kind,
                    g.item.name,
                    g.why
                )
            })
            .collect();
        assert_eq!(
            gaps,
            [
                "source.toolkit.fluxcd.io/v1 GitRepository flux-system: it belongs to Flux itself, and \
                 the export leaves that out",
                "butler.butlerlabs.dev/ Team search: the export could not read it: RBAC denial",
                "other.example.org/v1 Team payments: another object was written to its file \
                 apps/prd/teams/payments.yaml",
            ]
        );
        assert!(coverage.unseen[0].contains("flux-system/infra: never reconciled"));
        assert_eq!(coverage.patched[0].0.name, "payments");
        assert_eq!(coverage.patched[0].1, "flux-system/apps");

        // The nearer report counts; another file of that name is a plain file; a broken report is
        // an error.
        std::fs::write(root.join(FILE), "captured: []\nfluxSelfManagement: null\n").unwrap();
        let nearer = read(tree, &root).unwrap().unwrap();
        assert_eq!(
            (nearer.folder.as_path(), nearer.gaps.len()),
            (Path::new("apps/prd"), 0)
        );
        std::fs::write(root.join(FILE), "threshold: 80\n").unwrap();
        assert!(read(tree, &root).is_none());
        for broken in ["captured: [\n", "captured: all\ndiscoveryFailures: []\n"] {
            std::fs::write(root.join(FILE), broken).unwrap();
            assert!(read(tree, &root).unwrap().is_err(), "{broken}");
        }
    }
}
