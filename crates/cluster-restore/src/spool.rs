//! ObjectSpool of the objects of a restore: heads in memory, bodies encrypted in a scratch file.
//!
//! An archive is sorted by name and a restore writes in another order, so every object is read once from
//! where it is stored and then taken from the spool when it is needed.

use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::path::Path;

use serde_json::Value;
use zeroize::Zeroizing;

use super::RecoverError;
use super::order::{Rank, rank};
use backup_core::archive::{ObjectHead, ObjectPath, StoredJson, read_json};
use backup_core::num::to_u64;
use backup_core::scratch::Scratch;

/// Largest number of objects. A head takes some 400 bytes: this many take 200 MiB.
const MAX_OBJECTS: usize = 500_000;

/// Head of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path of the object.
    pub path: ObjectPath,
    /// `group/version` in which the object was read.
    pub api_version: String,
    /// Name of the kind.
    pub kind: String,
    /// UID with which the object was read; none if it was written by hand.
    pub uid: Option<String>,
    /// Rank in the order of a restore.
    pub rank: Rank,
    /// UIDs of its owners, as they were captured.
    pub owners: Vec<String>,
    /// Whether only the fields that it names are known: fields that a server fills in do not count as
    /// differences.
    pub partial: bool,
    /// Reason why it cannot be restored, if it cannot be read.
    pub flaw: Option<String>,
    at: u64,
    length: u64,
}

/// ObjectSpool of objects; see the module.
pub struct ObjectSpool {
    scratch: Scratch,
    end: u64,
    entries: Vec<Entry>,
    by_uid: HashMap<String, usize>,
    by_path: HashMap<ObjectPath, usize>,
    unchosen: HashSet<ObjectPath>,
    doubt: Option<String>,
}

impl Entry {
    /// Returns the head of an object that is not in a spool.
    pub(super) fn placed(path: ObjectPath) -> Self {
        Self {
            rank: rank(&path, |_| false),
            path,
            api_version: String::new(),
            kind: String::new(),
            uid: None,
            owners: Vec::new(),
            partial: false,
            flaw: None,
            at: 0,
            length: 0,
        }
    }
}

impl ObjectSpool {
    /// Creates an empty spool with its bodies in `folder`, which needs room for about `bytes`.
    ///
    /// # Errors
    /// When no file can be created there.
    pub fn create(folder: &Path, bytes: u64) -> Result<Self, RecoverError> {
        let scratch = Scratch::create(folder, bytes).map_err(|source| RecoverError::Scratch {
            folder: folder.display().to_string(),
            source,
        })?;
        Ok(Self {
            scratch,
            end: 0,
            entries: Vec::new(),
            by_uid: HashMap::new(),
            by_path: HashMap::new(),
            unchosen: HashSet::new(),
            doubt: None,
        })
    }

    /// Spools an object of an archive. An object that the spool has already is skipped: several components
    /// may contain the same Secret.
    ///
    /// # Errors
    /// When there are too many objects, or when the scratch file cannot be written.
    pub fn take(&mut self, object: &StoredJson) -> Result<(), RecoverError> {
        self.add(&object.path, object.json())
    }

    /// Spools the object at `path`. If it cannot be read, only this object is lost: its entry says why.
    ///
    /// # Errors
    /// As [`ObjectSpool::take`].
    pub fn add(&mut self, path: &ObjectPath, json: &[u8]) -> Result<(), RecoverError> {
        if self.by_path.contains_key(path) {
            return Ok(());
        }
        if self.entries.len() >= MAX_OBJECTS {
            return Err(RecoverError::TooMany { most: MAX_OBJECTS });
        }
        let (head, flaw) = match ObjectHead::of(path, json) {
            Ok(head) => (Some(head), None),
            Err(e) => (None, Some(format!("it cannot be read: {e}"))),
        };
        let (api_version, kind, metadata) = match head {
            Some(head) => (head.api_version, head.kind, Some(head.metadata)),
            None => (String::new(), String::new(), None),
        };
        let (uid, labels, owners) = match metadata {
            Some(of) => (of.uid, of.labels.unwrap_or_default(), of.owner_references),
            None => (None, HashMap::new(), Vec::new()),
        };
        let index = self.entries.len();
        let mut bytes = Zeroizing::new(json.to_vec());
        let length = to_u64(bytes.len());
        self.scratch
            .put(self.end, &mut bytes)
            .map_err(|source| RecoverError::Scratch {
                folder: self.scratch.place().to_owned(),
                source,
            })?;
        let uid = uid.filter(|uid| !uid.is_empty());
        if let Some(uid) = &uid {
            self.by_uid.insert(uid.clone(), index);
        }
        self.by_path.insert(path.clone(), index);
        self.entries.push(Entry {
            rank: rank(path, |label| labels.contains_key(label)),
            path: path.clone(),
            api_version,
            kind,
            uid,
            owners: owners.into_iter().map(|owner| owner.uid).collect(),
            partial: false,
            flaw,
            at: self.end,
            length,
        });
        self.end = self.end.saturating_add(length);
        Ok(())
    }

    /// Does the same as [`ObjectSpool::add`]; `partial` means that only the fields that the object names are known.
    ///
    /// # Errors
    /// As [`ObjectSpool::take`].
    pub fn overlay(
        &mut self,
        path: &ObjectPath,
        json: &[u8],
        partial: bool,
    ) -> Result<(), RecoverError> {
        self.add(path, json)?;
        let entry = self.by_path(path).and_then(|at| self.entries.get_mut(at));
        if let Some(entry) = entry {
            entry.partial = partial;
        }
        Ok(())
    }

    /// Returns the heads, in the order in which they were spooled.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the head at a position.
    #[must_use]
    pub fn entry(&self, index: usize) -> Option<&Entry> {
        self.entries.get(index)
    }

    /// Returns the position of the object that had this UID.
    #[must_use]
    pub fn by_uid(&self, uid: &str) -> Option<usize> {
        self.by_uid.get(uid).copied()
    }

    /// Returns the position of the object at `path`.
    #[must_use]
    pub fn by_path(&self, path: &ObjectPath) -> Option<usize> {
        self.by_path.get(path).copied()
    }

    /// Returns the whole object of `entry`. May be a Secret.
    ///
    /// # Errors
    /// When the scratch file cannot be read, or the object is nested too deeply.
    pub fn value(&self, entry: &Entry) -> Result<Value, RecoverError> {
        read_json(&self.json(entry)?).map_err(|flaw| RecoverError::flawed(&entry.path, flaw))
    }

    /// Returns the JSON of `entry`, byte for byte as it was spooled. May be a Secret.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn json(&self, entry: &Entry) -> Result<Zeroizing<Vec<u8>>, RecoverError> {
        let mut bytes = Zeroizing::new(Vec::new());
        self.scratch
            .reader(entry.at, entry.length)
            .read_to_end(&mut bytes)
            .map_err(|source| RecoverError::Scratch {
                folder: self.scratch.place().to_owned(),
                source,
            })?;
        Ok(bytes)
    }

    /// Records an object of the archive that was not selected: the archive contains it, so it is never
    /// pruned.
    pub fn pass_over(&mut self, path: ObjectPath) {
        self.unchosen.insert(path);
    }

    /// Records why the spool may be incomplete: then nothing is pruned.
    pub(super) fn doubt(&mut self, why: String) {
        self.doubt.get_or_insert(why);
    }

    /// Returns why the spool may be incomplete.
    pub(super) fn doubted(&self) -> Option<&str> {
        self.doubt.as_deref()
    }

    /// Records all objects that `other` passed over, and its doubt.
    pub(super) fn pass_over_like(&mut self, other: &Self) {
        self.unchosen.extend(other.unchosen.iter().cloned());
        if let Some(doubt) = &other.doubt {
            self.doubt(doubt.clone());
        }
    }

    /// Whether the archive contains the object, selected or not.
    #[must_use]
    pub fn holds(&self, path: &ObjectPath) -> bool {
        self.by_path.contains_key(path) || self.unchosen.contains(path)
    }

    /// Keeps only the objects for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(&Entry) -> bool) {
        let unchosen = &mut self.unchosen;
        self.entries.retain(|entry| {
            let kept = keep(entry);
            if !kept {
                unchosen.insert(entry.path.clone());
            }
            kept
        });
        self.by_path.clear();
        self.by_uid.clear();
        for (index, entry) in self.entries.iter().enumerate() {
            self.by_path.insert(entry.path.clone(), index);
            if let Some(uid) = &entry.uid {
                self.by_uid.insert(uid.clone(), index);
            }
        }
    }

    /// Returns the positions in the order of a restore: by rank, owners before the objects they own, then by
    /// name. The objects of each inner list may be written at once.
    #[must_use]
    pub fn order(&self) -> Vec<Vec<usize>> {
        let depths = self.depths();
        let mut turns: std::collections::BTreeMap<(Rank, usize), Vec<usize>> =
            std::collections::BTreeMap::new();
        for (index, entry) in self.entries.iter().enumerate() {
            let depth = depths.get(index).copied().unwrap_or_default();
            turns.entry((entry.rank, depth)).or_default().push(index);
        }
        turns.into_values().collect()
    }

    /// Returns the number of owners of the same rank above each object.
    fn depths(&self) -> Vec<usize> {
        /// Chains of owners are short; a longer one is a cycle.
        const DEEPEST: usize = 16;
        let mut depths = vec![0_usize; self.entries.len()];
        for _ in 0..DEEPEST {
            let mut changed = false;
            for (index, entry) in self.entries.iter().enumerate() {
                let above = entry.owners.iter().filter_map(|uid| {
                    let owner = self.by_uid(uid)?;
                    (self.entry(owner)?.rank == entry.rank).then(|| depths.get(owner))?
                });
                let depth = above.map(|d| d.saturating_add(1)).max().unwrap_or(0);
                if let Some(held) = depths.get_mut(index)
                    && *held < depth
                {
                    *held = depth.min(DEEPEST);
                    changed = true;
                }
            }
            if !changed {
                break;
            }
        }
        depths
    }
}

impl std::fmt::Debug for ObjectSpool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ObjectSpool({} objects)", self.entries.len())
    }
}
