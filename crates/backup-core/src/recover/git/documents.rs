//! The files of a folder as documents: plain YAML and JSON, and what kustomize makes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::included::included;
use super::{GitError, program};
use crate::format::manifest::{Finding, Severity};

/// A file of manifests; the definitions of a large operator take three MiB.
const MAX_FILE: u64 = 8 << 20;
/// All of them: they are held in memory while they are laid over the archive.
const MAX_ALL: u64 = 64 << 20;
/// Files and folders that are looked at.
const MAX_FILES: u64 = 20_000;
/// Documents that are held.
const MAX_DOCUMENTS: u64 = 50_000;
/// Folders in folders.
const MAX_DEPTH: usize = 32;
/// Lists in lists.
const MAX_LISTS: usize = 4;
/// Events that aliases may give again, in one document.
const MAX_REPLAYED: usize = 10_000;
/// Aliases in one document.
const MAX_ALIASES: usize = 1_000;
/// Bytes under anchors in one document: with the above, what aliases can make of them.
const MAX_ANCHORED: usize = 256 << 10;
/// One folder, built.
const BUILD: Duration = Duration::from_secs(60);
/// The names under which kustomize looks for its configuration.
pub(super) const KUSTOMIZATIONS: [&str; 3] =
    ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// An object as it stands in Git.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The file, or the folder that was built, in the repository.
    pub(super) file: String,
    /// Which of the file's documents, from 1 on.
    pub(super) number: usize,
    /// The object.
    pub(super) value: Value,
}

/// Everything that was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) documents: Vec<Document>,
    pub(super) findings: Vec<Finding>,
    bytes: u64,
}

/// What is in a folder.
#[derive(Debug, Default)]
struct Found {
    files: Vec<PathBuf>,
    kustomizations: Vec<PathBuf>,
    odd: Vec<PathBuf>,
}

/// Reads the folder `root` of the repository at `repository`.
pub(super) async fn read(repository: &Path, root: &Path) -> Result<Read, GitError> {
    let mut found = Found::default();
    let mut seen = 0;
    walk(root, 0, &mut seen, &mut found)?;
    let mut read = Read::default();
    let name = |path: &Path| {
        let inner = path.strip_prefix(repository).unwrap_or(path);
        inner.display().to_string()
    };
    for odd in &found.odd {
        read.warn(
            name(odd),
            "it is no plain file, or lies too deep; it was not read",
        );
    }
    let included = included(&found.kustomizations);
    let part = |file: &&PathBuf| !included.files.contains(*file);
    for file in found.files.iter().filter(part) {
        let failed = |source| GitError::Read {
            file: name(file),
            source,
        };
        let size = tokio::fs::metadata(file).await.map_err(failed)?.len();
        if size > MAX_FILE {
            let cause = format!("it has {size} bytes, above {MAX_FILE}; it was not read");
            read.warn(name(file), &cause);
            continue;
        }
        let bytes = tokio::fs::read(file).await.map_err(failed)?;
        read.text(&name(file), &bytes)?;
    }
    let part = |folder: &&PathBuf| !included.folders.contains(*folder);
    for folder in found.kustomizations.iter().filter(part) {
        let what = format!("build {}", name(folder));
        let built = program::run(program::kustomize(folder), &what, BUILD, MAX_ALL).await;
        match built {
            Ok(bytes) => read.text(&name(folder), &bytes)?,
            Err(GitError::Start { .. }) => read.warn(
                name(folder),
                "it holds a kustomization, and `kubectl`, which builds it, is not there; nothing \
                 of it was taken",
            ),
            // The program names files of the checkout, which is gone afterwards.
            Err(e) => {
                let said = e.to_string().replace(&repository.display().to_string(), "");
                read.warn(name(folder), &format!("{said}; nothing of it was taken"));
            }
        }
    }
    Ok(read)
}

/// Lists `folder`. One with a kustomization is built as a whole, as Flux does.
fn walk(folder: &Path, depth: usize, seen: &mut u64, found: &mut Found) -> Result<(), GitError> {
    let failed = |source| GitError::Read {
        file: folder.display().to_string(),
        source,
    };
    if depth > MAX_DEPTH {
        found.odd.push(folder.to_owned());
        return Ok(());
    }
    if KUSTOMIZATIONS.iter().any(|k| folder.join(k).is_file()) {
        found.kustomizations.push(folder.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut entries: Vec<_> = entries.collect::<Result<_, _>>().map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        *seen = seen.saturating_add(1);
        if *seen > MAX_FILES {
            let (what, most) = ("there are more files", MAX_FILES);
            return Err(GitError::TooMuch { what, most });
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        // What begins with a dot is Git's own, or of a tool.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str());
        if kind.is_dir() {
            walk(&path, depth.saturating_add(1), seen, found)?;
        } else if matches!(ending, Some("yaml" | "yml" | "json")) {
            if kind.is_file() {
                found.files.push(path);
            } else {
                found.odd.push(path);
            }
        }
    }
    Ok(())
}

impl Read {
    fn warn(&mut self, object: String, cause: &str) {
        self.findings.push(Finding {
            severity: Severity::Warning,
            object,
            cause: cause.to_owned(),
            remedy: "what it stands for comes from the restore point, if that has it; otherwise \
                     put it right in Git and plan again"
                .to_owned(),
        });
    }

    /// Takes the documents of a file.
    pub(super) fn text(&mut self, file: &str, bytes: &[u8]) -> Result<(), GitError> {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > MAX_ALL {
            let (what, most) = ("there are more bytes of manifests", MAX_ALL);
            return Err(GitError::TooMuch { what, most });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.warn(file.to_owned(), "it is no text; it was not read");
            return Ok(());
        };
        for (number, text) in split(text).into_iter().enumerate() {
            let number = number.saturating_add(1);
            match parse(&text) {
                Ok(Value::Null) => {}
                Ok(value) => self.value(file, number, value, 0)?,
                Err(line) => {
                    let at = line.map(|line| format!(" near its line {line}"));
                    let at = at.unwrap_or_default();
                    let cause = format!("its document {number} is no YAML that is taken{at}");
                    self.warn(file.to_owned(), &cause);
                }
            }
        }
        Ok(())
    }

    fn value(
        &mut self,
        file: &str,
        number: usize,
        value: Value,
        depth: usize,
    ) -> Result<(), GitError> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        if version.is_some() && kind.is_some_and(|k| k.ends_with("List")) && depth < MAX_LISTS {
            let items = value.get("items").and_then(Value::as_array).cloned();
            if let Some(items) = items {
                for item in items {
                    self.value(file, number, item, depth.saturating_add(1))?;
                }
                return Ok(());
            }
        }
        let named = text("/metadata/name").is_some_and(|n| !n.is_empty());
        let of_kustomize = version.is_some_and(|v| v.starts_with("kustomize.config.k8s.io/"));
        if version.is_none() || kind.is_none() || !named || of_kustomize {
            let cause = format!("its document {number} is no object of Kubernetes");
            self.warn(file.to_owned(), &cause);
            return Ok(());
        }
        let held = u64::try_from(self.documents.len()).unwrap_or(u64::MAX);
        if held >= MAX_DOCUMENTS {
            let (what, most) = ("there are more objects", MAX_DOCUMENTS);
            return Err(GitError::TooMuch { what, most });
        }
        self.documents.push(Document {
            file: file.to_owned(),
            number,
            value,
        });
        Ok(())
    }
}

/// The documents of a file; those without anything but comments are left out.
fn split(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for line in text.split_inclusive('\n') {
        let rest = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        match rest {
            Some(rest) => {
                let rest = rest.trim_start();
                documents.push(rest.to_owned());
            }
            None => {
                if let Some(last) = documents.last_mut() {
                    last.push_str(line);
                }
            }
        }
    }
    let says = |document: &String| {
        let mut lines = document.lines().map(str::trim);
        lines.any(|l| !l.is_empty() && !l.starts_with(['#', '%']) && l != "...")
    };
    documents.retain(says);
    documents
}

/// One document; the line where it is wrong, if it is. What the parser says is not repeated: it may
/// quote values.
pub(crate) fn parse(text: &str) -> Result<Value, Option<u64>> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! {
            max_aliases: MAX_ALIASES,
            max_recorded_anchor_bytes: MAX_ANCHORED,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPLAYED,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|e| e.location().map(|at| at.line()))
}
