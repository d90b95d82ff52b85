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
                    self.refuse(file, line, "is not YAML that is accepted");
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
            let why = format!("names a part in another place: {shown}");
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
mod tests;
