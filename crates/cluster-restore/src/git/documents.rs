//! Reader of a folder's files as documents: plain YAML and JSON, and the output of kustomize.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use zeroize::Zeroizing;

use super::coverage::{self, Coverage};
use super::included::included;
use super::kustomize::NetworkIsolation;
use super::{GitError, MAX_OBJECTS, MAX_TEXT};
use backup_core::archive::read_json;
use backup_core::format::manifest::Finding;
use backup_core::num::to_u64;
use backup_core::scratch::Scratch;

/// Largest file of manifests; the definitions of a large operator take three MiB.
const MAX_FILE: u64 = 8 << 20;
/// Deepest nesting of folders.
const MAX_DEPTH: usize = 32;
/// Deepest nesting of lists.
const MAX_LISTS: usize = 4;
/// Largest number of events that aliases may replay in one document.
const MAX_REPLAYED: usize = 10_000;
/// Largest number of aliases in one document.
const MAX_ALIASES: usize = 1_000;
/// Largest number of bytes under anchors in one document; with the limits above it bounds what
/// aliases expand to.
const MAX_ANCHORED: usize = 256 << 10;
/// File names that kustomize accepts for its configuration.
pub(super) const KUSTOMIZATIONS: [&str; 3] =
    ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Limits for reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadLimits {
    /// Largest number of files, and of objects in them.
    pub(super) objects: u64,
    /// Largest size of their text.
    pub(super) bytes: u64,
}

impl ReadLimits {
    /// Limits of a mirror.
    pub(super) const ALL: Self = Self {
        objects: MAX_OBJECTS,
        bytes: MAX_TEXT,
    };
}

/// Object from Git, kept in the scratch file.
#[derive(Debug, Clone)]
pub(super) struct Document {
    /// File, or folder that was built, in the repository.
    pub(super) file: Arc<str>,
    /// Number of the document in the file, from 1.
    pub(super) number: usize,
    at: u64,
    length: usize,
}

/// Everything that was read: names in memory, content in a scratch file.
pub(super) struct DocumentSet {
    pub(super) documents: Vec<Document>,
    pub(super) findings: Vec<Finding>,
    /// Reason why some of Git's objects may not have been read.
    pub(super) doubt: Option<String>,
    /// Report of Butler's export.
    pub(super) coverage: Option<Coverage>,
    most: ReadLimits,
    bytes: u64,
    scratch: Scratch,
    end: u64,
}

/// Folders to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct CheckoutFolders<'a> {
    /// Private folder around the checkout.
    pub(super) home: &'a Path,
    /// Checkout.
    pub(super) tree: &'a Path,
    /// Folder in the checkout that is read.
    pub(super) root: &'a Path,
    /// Folder that is left out.
    pub(super) without: Option<&'a Path>,
}

/// Files found in a folder.
#[derive(Debug, Default)]
struct FolderListing {
    files: Vec<PathBuf>,
    kustomizations: Vec<PathBuf>,
    odd: Vec<PathBuf>,
}

/// Reads all documents in `place`.
pub(super) async fn read(
    place: CheckoutFolders<'_>,
    most: ReadLimits,
) -> Result<DocumentSet, GitError> {
    let mut found = FolderListing::default();
    let mut read = DocumentSet::new(place.home, most)?;
    walk(place, most, place.root, 0, &mut found)?;
    let name = |path: &Path| {
        let inner = path.strip_prefix(place.tree).unwrap_or(path);
        inner.display().to_string()
    };
    match coverage::read(place.tree, place.root) {
        None => {}
        Some(Ok(coverage)) => read.coverage = Some(coverage),
        Some(Err(odd)) => read.warn(coverage::FILE.to_owned(), odd),
    }
    for odd in &found.odd {
        read.warn(
            name(odd),
            "it is not a plain file, or is nested too deep; it was not read",
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
    let built: Vec<&PathBuf> = found.kustomizations.iter().filter(part).collect();
    let apart = match built.is_empty() {
        true => NetworkIsolation::None,
        false => read.network_isolation().await,
    };
    for folder in built {
        read.kustomization(place, folder, &name, apart).await?;
    }
    Ok(read)
}

/// Lists `folder`. A folder with a kustomization is built as a whole, as Flux does.
fn walk(
    place: CheckoutFolders<'_>,
    most: ReadLimits,
    folder: &Path,
    depth: usize,
    found: &mut FolderListing,
) -> Result<(), GitError> {
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
        let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
        // A name with a leading dot belongs to Git or another tool.
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str());
        if kind.is_dir() {
            if place.without != Some(path.as_path()) {
                walk(place, most, &path, depth.saturating_add(1), found)?;
            }
        } else if matches!(ending, Some("yaml" | "yml" | "json")) {
            if kind.is_file() {
                found.files.push(path);
            } else {
                found.odd.push(path);
            }
            let files = found.files.len().saturating_add(found.odd.len());
            if to_u64(files) > most.objects {
                let (what, most) = ("there are more files", most.objects);
                return Err(GitError::TooMuch { what, most });
            }
        }
    }
    Ok(())
}

impl DocumentSet {
    /// Returns an empty reader with its scratch file in `folder`.
    pub(super) fn new(folder: &Path, most: ReadLimits) -> Result<Self, GitError> {
        let scratch = Scratch::create(folder, 0).map_err(|e| GitError::read(folder, e))?;
        Ok(Self {
            documents: Vec::new(),
            findings: Vec::new(),
            doubt: None,
            coverage: None,
            most,
            bytes: 0,
            scratch,
            end: 0,
        })
    }

    /// Returns the content of a document.
    pub(super) fn value(&self, document: &Document) -> Result<Value, GitError> {
        let failed = |source| GitError::Read {
            file: document.file.to_string(),
            source,
        };
        let mut json = Zeroizing::new(vec![0; document.length]);
        self.scratch.get(document.at, &mut json).map_err(failed)?;
        let odd = |_| failed(std::io::ErrorKind::InvalidData.into());
        read_json(&json).map_err(odd)
    }

    /// Reports something that was not read and may contain objects.
    pub(super) fn warn(&mut self, object: String, cause: &str) {
        self.doubt
            .get_or_insert_with(|| format!("{object}: {cause}"));
        self.note(object, cause);
    }

    fn note(&mut self, object: String, cause: &str) {
        self.findings.push(Finding::warning(
            object,
            cause,
            "its objects come from the restore point, if that has them; if not, correct it \
             in Git and plan again",
        ));
    }

    /// Reads the documents of a file.
    pub(super) fn text(&mut self, file: &str, bytes: &[u8]) -> Result<(), GitError> {
        let size = to_u64(bytes.len());
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.most.bytes {
            let (what, most) = ("there are more bytes of manifests", self.most.bytes);
            return Err(GitError::TooMuch { what, most });
        }
        let Ok(text) = std::str::from_utf8(bytes) else {
            self.warn(file.to_owned(), "it is not text; it was not read");
            return Ok(());
        };
        let name: Arc<str> = file.into();
        for (number, text) in split(text).into_iter().enumerate() {
            let number = number.saturating_add(1);
            match parse(&text) {
                Ok(Value::Null) => {}
                Ok(value) if is_report(&name, &value) => {}
                Ok(value) => self.object(&name, number, &value, 0)?,
                Err(line) => {
                    let at = line.map(|line| format!(" near its line {line}"));
                    let at = at.unwrap_or_default();
                    let cause = format!("its document {number} is not YAML that is accepted{at}");
                    self.warn(file.to_owned(), &cause);
                }
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        file: &Arc<str>,
        number: usize,
        value: &Value,
        depth: usize,
    ) -> Result<(), GitError> {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
        let (version, kind) = (text("/apiVersion"), text("/kind"));
        if version.is_some() && kind.is_some_and(|k| k.ends_with("List")) && depth < MAX_LISTS {
            let items = value.get("items").and_then(Value::as_array);
            if let Some(items) = items {
                for item in items {
                    self.object(file, number, item, depth.saturating_add(1))?;
                }
                return Ok(());
            }
        }
        let named = text("/metadata/name").is_some_and(|n| !n.is_empty());
        let of_kustomize = version.is_some_and(|v| v.starts_with("kustomize.config.k8s.io/"));
        if version.is_none() || kind.is_none() || !named || of_kustomize {
            let cause = format!("its document {number} is not a Kubernetes object");
            self.note(file.to_string(), &cause);
            return Ok(());
        }
        let held = to_u64(self.documents.len());
        if held >= self.most.objects {
            let (what, most) = ("there are more objects", self.most.objects);
            return Err(GitError::TooMuch { what, most });
        }
        let mut json = Zeroizing::new(value.to_string().into_bytes());
        let (at, length) = (self.end, json.len());
        let put = self.scratch.put(at, &mut json);
        put.map_err(|source| GitError::Read {
            file: self.scratch.place().to_owned(),
            source,
        })?;
        self.end = at.saturating_add(to_u64(length));
        self.documents.push(Document {
            file: Arc::clone(file),
            number,
            at,
            length,
        });
        Ok(())
    }
}

/// Reports whether a document is the report of Butler's export, which is read separately.
fn is_report(file: &str, value: &Value) -> bool {
    file.rsplit('/').next() == Some(coverage::FILE) && coverage::is_report(value)
}

/// Splits a file into its documents; leaves out documents that contain only comments.
pub(super) fn split(text: &str) -> Vec<String> {
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

/// Parses one document. The error is the line of the mistake, if known. The parser's message is not
/// repeated, because it may quote values.
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
