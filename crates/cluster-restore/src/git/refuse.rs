//! Check of a kustomization for parts that are refused: remote parts, programs, charts.
//!
//! A remote part may change between the plan and the restore, and a program may do anything.
//! `kubectl kustomize` accepts field names in any case, so this check does too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::documents::{KUSTOMIZATIONS, parse, split};
use super::included::steps;

/// Largest kustomization, or file that configures it.
const MAX_BYTES: u64 = 1 << 20;
/// Largest number of kustomizations that include each other.
const MAX_FOLDERS: usize = 2_000;
/// Fields that name files and folders.
const PARTS: [&str; 3] = ["resources", "bases", "components"];
/// Fields that name files.
const FILES: [&str; 2] = ["crds", "configurations"];
/// Fields that name files or contain inline text.
const PATCHES: [&str; 1] = ["patchesstrategicmerge"];
/// Fields whose entries name a file in `path`.
const BY_PATH: [&str; 4] = ["patches", "patchesjson6902", "replacements", "openapi"];
/// Fields whose entries name files to generate objects from.
const GENERATED: [&str; 2] = ["configmapgenerator", "secretgenerator"];
/// Fields that name configurations of plugins.
const PLUGINS: [&str; 3] = ["generators", "transformers", "validators"];
/// Fields that inflate charts.
const CHARTS: [&str; 3] = ["helmcharts", "helmchartinflationgenerator", "helmglobals"];
/// Annotations that make kustomize run a program.
const FUNCTIONS: [&str; 2] = ["config.kubernetes.io/function", "config.k8s.io/function"];

/// Refused part, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct KustomizationRefusal {
    /// File.
    pub(super) file: PathBuf,
    /// Line, from 1, if known.
    pub(super) line: Option<usize>,
    /// Reason, as the end of a sentence that begins with the file.
    pub(super) why: String,
}

/// Checks the kustomization in `folder` of the checkout `tree`, and all that it includes.
pub(super) fn refusals(tree: &Path, folder: &Path) -> BTreeSet<KustomizationRefusal> {
    let mut look = KustomizationCheck {
        tree,
        found: BTreeSet::new(),
        open: vec![folder.to_owned()],
        seen: BTreeSet::new(),
    };
    while let Some(folder) = look.open.pop() {
        if !look.seen.insert(folder.clone()) {
            continue;
        }
        if look.seen.len() > MAX_FOLDERS {
            look.refuse(
                &folder,
                None,
                "is one of too many kustomizations that include each other",
            );
            break;
        }
        let files = KUSTOMIZATIONS.iter().map(|name| folder.join(name));
        for file in files.filter(|file| file.is_file()) {
            look.kustomization(&folder, &file);
        }
    }
    look.found
}

struct KustomizationCheck<'a> {
    tree: &'a Path,
    found: BTreeSet<KustomizationRefusal>,
    open: Vec<PathBuf>,
    seen: BTreeSet<PathBuf>,
}

/// File with its text, for line numbers.
#[derive(Clone, Copy)]
struct SourceFile<'a> {
    file: &'a Path,
    text: &'a str,
}

impl SourceFile<'_> {
    /// Returns the line where `word` first occurs.
    fn line(self, word: &str) -> Option<usize> {
        let word = word.lines().next().unwrap_or_default();
        let at = self.text.lines().position(|line| line.contains(word));
        at.filter(|_| !word.is_empty())
            .map(|at| at.saturating_add(1))
    }
}

impl KustomizationCheck<'_> {
    fn refuse(&mut self, file: &Path, line: Option<usize>, why: impl Into<String>) {
        self.found.insert(KustomizationRefusal {
            file: file.to_owned(),
            line,
            why: why.into(),
        });
    }

    fn text(&mut self, file: &Path) -> Option<String> {
        let small = file.metadata().is_ok_and(|m| m.len() <= MAX_BYTES);
        let text = small.then(|| std::fs::read_to_string(file).ok()).flatten();
        if text.is_none() {
            self.refuse(file, None, "cannot be read, or is too large");
        }
        text
    }

    fn kustomization(&mut self, folder: &Path, file: &Path) {
        let Some(text) = self.text(file) else {
            return;
        };
        let written = SourceFile { file, text: &text };
        for document in split(&text) {
            match parse(&document) {
                Ok(value) => self.fields(folder, written, &value),
                Err(line) => {
                    let line = line.and_then(|line| usize::try_from(line).ok());
                    self.refuse(file, line, "is no YAML that is taken");
                }
            }
        }
    }

    fn fields(&mut self, folder: &Path, written: SourceFile<'_>, value: &Value) {
        for (name, value) in value.as_object().into_iter().flatten() {
            let field = folded(name);
            if value.is_null() {
                continue;
            }
            if field == "<<" {
                self.fields(folder, written, value);
            } else if CHARTS.contains(&field.as_str()) {
                let line = written.line(name);
                self.refuse(
                    written.file,
                    line,
                    format!("has a chart inflated (`{name}`)"),
                );
            } else if PARTS.contains(&field.as_str()) {
                for part in texts(value) {
                    self.part(folder, written, part, true);
                }
            } else if FILES.contains(&field.as_str()) {
                for part in texts(value) {
                    self.part(folder, written, part, false);
                }
            } else if PATCHES.contains(&field.as_str()) {
                for part in texts(value).filter(|part| !is_inline(part)) {
                    self.part(folder, written, part, false);
                }
            } else if BY_PATH.contains(&field.as_str()) {
                for entry in entries(value) {
                    for part in named(entry, "path").filter_map(Value::as_str) {
                        self.part(folder, written, part, false);
                    }
                }
            } else if GENERATED.contains(&field.as_str()) {
                self.generated(folder, written, value);
            } else if PLUGINS.contains(&field.as_str()) {
                self.plugins(folder, written, name, value);
            }
        }
    }

    fn generated(&mut self, folder: &Path, written: SourceFile<'_>, value: &Value) {
        for entry in entries(value) {
            for field in ["files", "envs", "env"] {
                for part in named(entry, field).flat_map(texts) {
                    // NAME=FILE, or FILE.
                    let file = part.split_once('=').map_or(part, |(_, file)| file);
                    let file = if is_elsewhere(part) { part } else { file };
                    self.part(folder, written, file, false);
                }
            }
        }
    }

    /// Accepts plugins that are built into kustomize; any other one is a program.
    fn plugins(&mut self, folder: &Path, written: SourceFile<'_>, name: &str, value: &Value) {
        for entry in texts(value) {
            if is_inline(entry) {
                self.plugin(written, name, entry);
                continue;
            }
            let Some(file) = self.part(folder, written, entry, false) else {
                continue;
            };
            if let Some(text) = self.text(&file) {
                let own = SourceFile {
                    file: &file,
                    text: &text,
                };
                self.plugin(own, name, &text);
            }
        }
    }

    fn plugin(&mut self, written: SourceFile<'_>, name: &str, text: &str) {
        for document in split(text) {
            let value = parse(&document).unwrap_or_default();
            let has = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
            let notes = value.pointer("/metadata/annotations");
            let notes = notes.and_then(Value::as_object);
            let runs = notes.is_some_and(|n| FUNCTIONS.iter().any(|f| n.contains_key(*f)));
            let kind = has("/kind").unwrap_or_default();
            let built_in = has("/apiVersion") == Some("builtin");
            if built_in && !runs && kind != "HelmChartInflationGenerator" {
                continue;
            }
            let line = written.line(if kind.is_empty() { name } else { kind });
            let why = format!("has a plugin run (`{name}`, of the kind {kind:?})");
            self.refuse(written.file, line, why);
        }
    }

    /// Checks one name of a file, or of a folder if `folders` is set; returns the path of a file
    /// that is in the checkout.
    fn part(
        &mut self,
        folder: &Path,
        written: SourceFile<'_>,
        part: &str,
        folders: bool,
    ) -> Option<PathBuf> {
        let line = written.line(part);
        let shown: String = part.chars().take(200).collect();
        if is_elsewhere(part) {
            let why = format!("names a part that lies elsewhere: {shown}");
            self.refuse(written.file, line, why);
            return None;
        }
        let place = steps(folder, part).filter(|place| place.starts_with(self.tree));
        let Some(place) = place else {
            let why = format!("names a part outside of the repository: {shown}");
            self.refuse(written.file, line, why);
            return None;
        };
        if folders && place.is_dir() {
            self.open.push(place);
            return None;
        }
        if !place.is_file() {
            let why = format!("names a part that is not in the repository: {shown}");
            self.refuse(written.file, line, why);
            return None;
        }
        Some(place)
    }
}

/// Folds the case of a field's name as Go programs do.
fn folded(name: &str) -> String {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

/// Returns a text, or the texts of a list.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    entries(value).filter_map(Value::as_str)
}

/// Returns a value, or the values of a list.
fn entries(value: &Value) -> impl Iterator<Item = &Value> {
    let list = value.as_array().map(Vec::as_slice);
    list.unwrap_or(std::slice::from_ref(value)).iter()
}

/// Returns the values of an entry with this field name, in any case.
fn named<'v>(entry: &'v Value, field: &'static str) -> impl Iterator<Item = &'v Value> {
    let fields = entry.as_object().into_iter().flatten();
    fields.filter_map(move |(name, value)| (folded(name) == field).then_some(value))
}

/// Reports whether it is inline text and not a file name.
fn is_inline(part: &str) -> bool {
    !is_elsewhere(part) && (part.contains('\n') || part.contains('{') || part.contains(": "))
}

/// Reports whether kustomize would fetch it: all forms of an address and of a Git repository.
fn is_elsewhere(part: &str) -> bool {
    let part = part.trim().to_ascii_lowercase();
    let first = part.lines().next().unwrap_or_default();
    let host = first.split(['/', ':']).next().unwrap_or_default();
    let inline = part.contains('\n') || part.contains('{');
    let scheme = first.split_once("://").map(|(scheme, _)| scheme);
    let schemed = scheme.is_some_and(|s| {
        s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-:".contains(&b))
    });
    schemed
        || (!inline
            && (first.contains("::")
                || first.contains('?')
                || first.starts_with("gh:")
                || host.contains('@')
                || ["github.com", "gitlab.com", "bitbucket.org"].contains(&host)
                || (first.contains(':') && !first.contains(": "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(files: &[(&str, &str)]) -> Vec<String> {
        let tree = tempfile::tempdir().unwrap();
        let tree = tree.path();
        for (file, text) in files {
            let file = tree.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        let found = refusals(tree, &tree.join("app"));
        let told = found.into_iter().map(|r| {
            let file = r.file.strip_prefix(tree).unwrap().display().to_string();
            format!("{file}:{} {}", r.line.unwrap_or(0), r.why)
        });
        told.collect()
    }

    #[test]
    fn what_lies_elsewhere_is_refused_with_its_file_and_line() {
        for remote in [
            "https://example.org/base?ref=v1",
            "http://example.org/base.yaml",
            "ssh://git@example.org/base",
            "file:///etc/base",
            "git::https://example.org/base",
            "git@example.org:base.git",
            "GIT@github.com:a/b",
            "me@example.org:base",
            "github.com/org/base?ref=v1",
            "github.com/org/base",
            "gh:org/base",
            "example.org:org/base",
            "HTTPS://example.org/x.yaml",
        ] {
            for (field, text) in [
                ("resources", format!("resources:\n- {remote}\n")),
                ("Resources", format!("Resources:\n- {remote}\n")),
                ("re\u{17f}ources", format!("re\u{17f}ources:\n- {remote}\n")),
                ("bases", format!("bases:\n- {remote}\n")),
                ("components", format!("components:\n- {remote}\n")),
                ("crds", format!("crds:\n- {remote}\n")),
                ("configurations", format!("configurations:\n- {remote}\n")),
                ("patches", format!("patches:\n- path: {remote}\n")),
                (
                    "patchesStrategicMerge",
                    format!("patchesStrategicMerge:\n- {remote}\n"),
                ),
                (
                    "patchesJson6902",
                    format!("patchesJson6902:\n- path: {remote}\n"),
                ),
                ("replacements", format!("replacements:\n- path: {remote}\n")),
                ("openapi", format!("openapi:\n  path: {remote}\n")),
                ("transformers", format!("transformers:\n- {remote}\n")),
                ("generators", format!("generators:\n- {remote}\n")),
                ("validators", format!("validators:\n- {remote}\n")),
                (
                    "configMapGenerator",
                    format!("configMapGenerator:\n- files: [\"{remote}\"]\n"),
                ),
                (
                    "configMapGenerator",
                    format!("configMapGenerator:\n- files:\n  - k={remote}\n"),
                ),
                (
                    "secretGenerator",
                    format!("secretGenerator:\n- envs: [\"{remote}\"]\n"),
                ),
                ("<<", format!("<<:\n  resources: [\"{remote}\"]\n")),
            ] {
                let found = look(&[("app/kustomization.yaml", &text)]);
                assert_eq!(found.len(), 1, "{field} {remote}: {found:?}");
                let wanted = if text.lines().count() > 2 { "3" } else { "2" };
                let at =
                    format!("app/kustomization.yaml:{wanted} names a part that lies elsewhere");
                assert!(found[0].starts_with(&at), "{field} {remote}: {found:?}");
            }
        }
    }

    #[test]
    fn programs_charts_and_what_leads_out_are_refused() {
        for (text, why) in [
            ("helmCharts:\n- name: x\n", "1 has a chart inflated"),
            (
                "helmChartInflationGenerator: []\n",
                "1 has a chart inflated",
            ),
            ("helmGlobals:\n  chartHome: x\n", "1 has a chart inflated"),
            ("generators: [exec.yaml]\n", "4 has a plugin run"),
            ("transformers: [chart.yaml]\n", "2 has a plugin run"),
            (
                "validators:\n- |-\n  apiVersion: a/v1\n  kind: Own\n",
                "4 has a plugin run",
            ),
            ("resources: [../../out]\n", "1 names a part outside"),
            ("resources: [/etc]\n", "1 names a part outside"),
            ("resources: [missing]\n", "1 names a part that is not"),
            ("resources: [\n", "is no YAML"),
            (
                "# of others\nresources: [../base]\n",
                "base/kustomization.yml:1 names a part that lies",
            ),
        ] {
            let found = look(&[
                ("app/kustomization.yaml", text),
                (
                    "base/kustomization.yml",
                    "resources: [\"https://example.org/x\"]\n",
                ),
                (
                    "app/exec.yaml",
                    "apiVersion: builtin\n# by a function\n---\nkind: Own\nmetadata:\n  annotations:\n    \
                     config.kubernetes.io/function: |\n      exec: {path: ./x}\n",
                ),
                (
                    "app/chart.yaml",
                    "apiVersion: builtin\nkind: HelmChartInflationGenerator\n",
                ),
            ]);
            assert!(found.iter().any(|f| f.contains(why)), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_in_the_repository_is_taken() {
        let found = look(&[
            (
                "app/kustomization.yaml",
                "resources: [a.yaml, ../base/, ./a.yaml]\npatches:\n- path: a.yaml\n- patch: |-\n    - op: add\n      \
                 path: /metadata/annotations/u\n      value: https://example.org\n\
                 patchesStrategicMerge:\n- |-\n  apiVersion: v1\n  kind: A\n  url: https://example.org\n- a.yaml\n\
                 configMapGenerator:\n- name: c\n  files: [k=a.yaml, a.yaml]\n  literals: [u=https://example.org]\n\
                 transformers:\n- t.yaml\nimages:\n- name: example.org/x\n  newTag: v1\n\
                 namespace: x\ncommonAnnotations: {u: https://example.org}\n",
            ),
            ("app/a.yaml", "a: b\n"),
            (
                "app/t.yaml",
                "apiVersion: builtin\nkind: NamespaceTransformer\nmetadata: {name: n}\n",
            ),
            ("base/Kustomization", "resources: []\n"),
        ]);
        assert!(found.is_empty(), "{found:?}");
    }
}
