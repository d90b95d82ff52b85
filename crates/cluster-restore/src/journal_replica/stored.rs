//! Reader that lists the copies in a store, reads them, and writes them into a folder.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;

use super::head::ReplicaHead;
use super::{ReplicaError, UNFOLDED};
use backup_core::catalog::list_pages;
use backup_core::crypt::Opener;
use backup_core::format::layout::{self, JournalPart, ObjectKind};
use backup_core::newfile::{NewFile, OverwritePolicy};
use backup_core::num::{to_u64, to_usize};
use backup_core::store::{Store, StoreError};

/// Size limit of a head: it has a few hundred bytes, and there are eight phases.
const MAX_HEAD: u64 = 16 << 10;

/// Copy of a journal in the store.
#[derive(Debug, Clone)]
pub struct StoredJournal {
    store: Arc<dyn Store>,
    /// Name of the restore.
    pub restore: String,
    parts: Vec<JournalPart>,
}

/// Returns all copies in the store, oldest first.
///
/// # Errors
/// When the store cannot be listed.
pub async fn list(store: &Arc<dyn Store>) -> Result<Vec<StoredJournal>, StoreError> {
    let mut found: BTreeMap<String, Vec<JournalPart>> = BTreeMap::new();
    let mut pages = std::pin::pin!(list_pages(store.as_ref(), layout::JOURNALS));
    while let Some(page) = pages.try_next().await? {
        for object in page.objects {
            if let Some(ObjectKind::Journal { restore, part }) = ObjectKind::of(&object.key) {
                found.entry(restore).or_default().push(part);
            }
        }
    }
    let stored = found.into_iter().map(|(restore, mut parts)| {
        parts.sort();
        let store = Arc::clone(store);
        StoredJournal {
            store,
            restore,
            parts,
        }
    });
    Ok(stored.collect())
}

impl StoredJournal {
    /// Returns the copy of the journal of `restore`; it has no parts if there is no copy.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub async fn of(store: &Arc<dyn Store>, restore: &str) -> Result<Self, ReplicaError> {
        let found = list(store).await.map_err(|source| ReplicaError::Store {
            restore: restore.to_owned(),
            source,
        })?;
        let found = found.into_iter().find(|stored| stored.restore == restore);
        Ok(found.unwrap_or_else(|| Self {
            store: Arc::clone(store),
            restore: restore.to_owned(),
            parts: Vec::new(),
        }))
    }

    /// Returns the head of the newest lines; `None` if there are no lines yet.
    ///
    /// # Errors
    /// When the head cannot be read.
    pub async fn head(&self) -> Result<Option<ReplicaHead>, ReplicaError> {
        let Some(part) = self.lines().last() else {
            return Ok(None);
        };
        let key = self.key(part)?;
        let read = self.store.get_range(&key, 0..MAX_HEAD).await;
        let bytes = read.map_err(|source| self.failed(source))?;
        let (head, _) = self.split(part, &bytes)?;
        Ok(Some(head))
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = JournalPart> {
        let is = |part: &JournalPart| matches!(part, JournalPart::Lines(_));
        self.parts.iter().copied().filter(is)
    }

    /// Returns the decrypted bytes of a part.
    ///
    /// # Errors
    /// When the part cannot be read, or was not stored by somebody who can read the restore point.
    pub(super) async fn part(
        &self,
        part: JournalPart,
        opener: Opener<'_>,
    ) -> Result<Vec<u8>, ReplicaError> {
        let bytes = self.store.get(&self.key(part)?).await;
        let bytes = bytes.map_err(|source| self.failed(source))?;
        let (head, sealed) = self.split(part, &bytes)?;
        let folded = opener.open(&sealed, UNFOLDED);
        let folded =
            folded.map_err(|_| self.damaged(part, "sealed by somebody else, or changed"))?;
        let plain = backup_core::format::decompress("journal", &folded, UNFOLDED);
        let plain = plain.map_err(|_| self.damaged(part, "not what it should be"))?;
        // The sealed bytes repeat the head, so that one part cannot stand for another.
        let at = plain.iter().position(|byte| *byte == b'\n');
        let (inner, body) = plain.split_at(at.map_or(plain.len(), |at| at.saturating_add(1)));
        match serde_json::from_slice::<ReplicaHead>(inner) {
            Ok(inner) if inner == head => Ok(body.to_vec()),
            _ => Err(self.damaged(part, "another part than its name says")),
        }
    }

    /// Writes plan and journal into `folder`, as they were on the machine that made the copy. Returns the
    /// path of the journal.
    ///
    /// # Errors
    /// When there is no copy, when it is damaged, or when the folder cannot be written.
    pub async fn write_into(
        &self,
        opener: Opener<'_>,
        folder: &Path,
    ) -> Result<PathBuf, ReplicaError> {
        if self.lines().next().is_none() {
            return Err(ReplicaError::NoSuch {
                restore: self.restore.clone(),
            });
        }
        let failed = |operation, file: &Path| {
            let file = file.display().to_string();
            move |source| ReplicaError::File {
                operation,
                file,
                source,
            }
        };
        std::fs::create_dir_all(folder).map_err(failed("make", folder))?;
        let plan = folder.join(format!("{}.plan.json", self.restore));
        let journal = folder.join(format!("{}.journal", self.restore));
        let parts = |lines: bool| {
            let is = move |part: &JournalPart| matches!(part, JournalPart::Lines(_)) == lines;
            self.parts.iter().copied().filter(is)
        };
        for (file, lines) in [(&plan, false), (&journal, true)] {
            // An existing journal was written by a restore that is not lost.
            let to = match NewFile::create(file, OverwritePolicy::Refuse) {
                // The plan may exist already: it is compared with the journal anyway.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && !lines => continue,
                made => made.map_err(failed("make", file))?,
            };
            let mut next = 0_u64;
            for part_of in parts(lines) {
                let (JournalPart::Plan(at) | JournalPart::Lines(at)) = part_of;
                if at != next {
                    return Err(self.damaged(part_of, "not the one that follows"));
                }
                let body = self.part(part_of, opener).await?;
                let length = to_u64(body.len());
                next = next.saturating_add(if lines { length } else { 1 });
                to.file().write_all(&body).map_err(failed("write", file))?;
            }
            to.finish().map_err(failed("make", file))?;
        }
        Ok(journal)
    }

    fn key(&self, part: JournalPart) -> Result<backup_core::store::Key, ReplicaError> {
        layout::journal(&self.restore, part).ok_or_else(|| ReplicaError::NoSuch {
            restore: self.restore.clone(),
        })
    }

    fn split(
        &self,
        part: JournalPart,
        bytes: &Bytes,
    ) -> Result<(ReplicaHead, Bytes), ReplicaError> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let no_head = || self.damaged(part, "without a head");
        let most = to_usize(MAX_HEAD);
        let end = end.filter(|end| *end <= most).ok_or_else(no_head)?;
        let head: ReplicaHead = bytes
            .get(..end)
            .and_then(|head| serde_json::from_slice(head).ok())
            .ok_or_else(no_head)?;
        let named = layout::journal(&head.restore, part);
        let is = named.is_some_and(|key| key.as_str().ends_with(&format!("/{}", head.part)));
        if head.version != 1 || head.restore != self.restore || !is {
            return Err(self.damaged(part, "another part than its name says"));
        }
        Ok((head, bytes.slice(end.saturating_add(1)..)))
    }

    fn failed(&self, source: StoreError) -> ReplicaError {
        ReplicaError::Store {
            restore: self.restore.clone(),
            source,
        }
    }

    fn damaged(&self, part: JournalPart, what: &'static str) -> ReplicaError {
        ReplicaError::Damaged {
            restore: self.restore.clone(),
            part,
            what,
        }
    }
}
