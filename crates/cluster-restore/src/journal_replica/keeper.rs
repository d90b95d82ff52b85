//! Keeper that adds new lines of a journal file to its copy.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::head::ReplicaHead;
use super::stored::StoredJournal;
use super::{PLAN_PART, ReplicaError, SEGMENT};
use backup_core::crypt::{Opener, Sealer};
use backup_core::digest::Digest;
use backup_core::format::layout::{self, JournalPart};
use backup_core::num::to_u64;
use backup_core::read::PointKeys;
use backup_core::store::{CreateOutcome, Store, StoreError};

use crate::plan::Plan;

/// Keeper of the copy of one journal.
pub struct ReplicaKeeper {
    store: Arc<dyn Store>,
    unlocked: Arc<PointKeys>,
    head: ReplicaHead,
    journal: PathBuf,
    plan: PathBuf,
    /// Position where the next lines begin; `None` before the copy was read.
    at: Option<u64>,
    /// Object that may have been stored, but is not known to be.
    pending: Option<PendingPart>,
}

#[derive(Clone)]
struct PendingPart {
    part: JournalPart,
    bytes: Bytes,
    digest: Digest,
    /// Number of journal bytes in it.
    length: u64,
    head: ReplicaHead,
}

impl ReplicaKeeper {
    /// Creates a keeper for the journal and the plan in these files.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        unlocked: Arc<PointKeys>,
        (plan, plan_file): (&Plan, &Path),
        (restore, journal): (&str, &Path),
    ) -> Self {
        Self {
            store,
            unlocked,
            head: ReplicaHead::of(plan, restore),
            journal: journal.to_owned(),
            plan: plan_file.to_owned(),
            at: None,
            pending: None,
        }
    }

    /// Stores the lines that the journal has and the copy lacks. May be called again after an error.
    ///
    /// # Errors
    /// As [`ReplicaError`] says; [`ReplicaError::Elsewhere`] if somebody else stored other lines.
    pub async fn catch_up(&mut self) -> Result<(), ReplicaError> {
        let mut at = match self.at {
            Some(at) => at,
            None => self.begin().await?,
        };
        loop {
            // A pending object stays until it is known to be stored: the caller may drop this future.
            if let Some(pending) = self.pending.clone() {
                at = self.put(pending, at).await?;
                self.at = Some(at);
                self.pending = None;
            }
            let Some(lines) = self.lines(at)? else {
                return Ok(());
            };
            let mut head = self.head.clone();
            for line in lines.split(|byte| *byte == b'\n') {
                head.progress.take(line);
            }
            self.pending = Some(self.sealed(JournalPart::Lines(at), head, &lines)?);
        }
    }

    /// Compares the copy with the beginning of the journal, and stores the plan if the copy has no lines.
    async fn begin(&mut self) -> Result<u64, ReplicaError> {
        let stored = StoredJournal::of(&self.store, &self.head.restore).await?;
        let mut at = 0_u64;
        for part in stored.lines() {
            let elsewhere = || ReplicaError::Elsewhere {
                restore: self.head.restore.clone(),
            };
            let (_, opener) = self.keys()?;
            let copied = stored.part(part, opener).await?;
            let mut own = vec![0; copied.len()];
            let file = self.open(&self.journal)?;
            let read = file.read_exact_at(&mut own, at);
            if part != JournalPart::Lines(at) || read.is_err() || own != copied {
                return Err(elsewhere());
            }
            at = at.saturating_add(to_u64(own.len()));
            for line in own.split(|byte| *byte == b'\n') {
                self.head.progress.take(line);
            }
        }
        if at == 0 {
            let plan = std::fs::read(&self.plan).map_err(|source| ReplicaError::File {
                operation: "read",
                file: self.plan.display().to_string(),
                source,
            })?;
            for (number, part) in plan.chunks(PLAN_PART).enumerate() {
                let part_of = JournalPart::Plan(to_u64(number));
                let pending = self.sealed(part_of, self.head.clone(), part)?;
                // An existing part belongs to the same plan: the name of the restore contains the plan's
                // digest.
                self.create(&pending).await?;
            }
        }
        self.at = Some(at);
        Ok(at)
    }

    /// Returns whole lines of the journal from `at` on, as many as fit into one object.
    fn lines(&self, at: u64) -> Result<Option<Vec<u8>>, ReplicaError> {
        let file = self.open(&self.journal)?;
        let mut size = SEGMENT;
        loop {
            let mut bytes = vec![0; size];
            let read = file.read_at(&mut bytes, at);
            let read = read.map_err(|source| ReplicaError::File {
                operation: "read",
                file: self.journal.display().to_string(),
                source,
            })?;
            bytes.truncate(read);
            if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
                bytes.truncate(end.saturating_add(1));
                return Ok(Some(bytes));
            }
            // Either a line is longer than a segment, or a line is still being written.
            if read < size {
                return Ok(None);
            }
            size = size.saturating_mul(2);
        }
    }

    fn open(&self, path: &Path) -> Result<File, ReplicaError> {
        File::open(path).map_err(|source| ReplicaError::File {
            operation: "read",
            file: path.display().to_string(),
            source,
        })
    }

    fn keys(&self) -> Result<(Sealer, Opener<'_>), ReplicaError> {
        let keys = self.unlocked.of_journals();
        keys.ok_or_else(|| ReplicaError::Damaged {
            restore: self.head.restore.clone(),
            part: JournalPart::Lines(0),
            what: "closed to the identities given",
        })
    }

    fn sealed(
        &self,
        part: JournalPart,
        mut head: ReplicaHead,
        body: &[u8],
    ) -> Result<PendingPart, ReplicaError> {
        let unusable = |what| ReplicaError::Damaged {
            restore: self.head.restore.clone(),
            part,
            what,
        };
        let key = layout::journal(&head.restore, part).ok_or_else(|| unusable("without a name"))?;
        let name = key.as_str().rsplit('/').next().unwrap_or_default();
        name.clone_into(&mut head.part);
        let mut bytes = serde_json::to_vec(&head).map_err(|_| unusable("without a head"))?;
        bytes.push(b'\n');
        let mut plain = bytes.clone();
        plain.extend_from_slice(body);
        let folded = zstd::bulk::compress(&plain, 3).map_err(|_| unusable("not to be folded"))?;
        let (sealer, _) = self.keys()?;
        let sealed = sealer
            .seal(&folded)
            .map_err(|_| unusable("not to be sealed"))?;
        bytes.extend_from_slice(&sealed);
        let bytes = Bytes::from(bytes);
        Ok(PendingPart {
            part,
            digest: Digest::of(&bytes),
            bytes,
            length: to_u64(body.len()),
            head,
        })
    }

    async fn create(&self, pending: &PendingPart) -> Result<CreateOutcome, ReplicaError> {
        let key = layout::journal(&self.head.restore, pending.part);
        let key = key.ok_or_else(|| ReplicaError::NoSuch {
            restore: self.head.restore.clone(),
        })?;
        let (bytes, digest) = (pending.bytes.clone(), pending.digest);
        let created = self.store.create(&key, bytes, digest).await;
        let created = created.map_err(|source| self.failed(source))?;
        if created == CreateOutcome::Existed {
            // An earlier attempt may have succeeded although its answer was lost.
            let there = self.store.get(&key).await;
            let there = there.map_err(|source| self.failed(source))?;
            if Digest::of(&there) == digest {
                return Ok(CreateOutcome::New);
            }
        }
        Ok(created)
    }

    /// Stores lines and returns the position after them.
    async fn put(&mut self, pending: PendingPart, at: u64) -> Result<u64, ReplicaError> {
        match self.create(&pending).await {
            Ok(CreateOutcome::New) => {
                self.head = pending.head;
                Ok(at.saturating_add(pending.length))
            }
            Ok(CreateOutcome::Existed) => {
                // Only somebody who can read the restore point can create a valid part.
                let stored = StoredJournal::of(&self.store, &self.head.restore).await?;
                let (_, opener) = self.keys()?;
                stored.part(pending.part, opener).await?;
                Err(ReplicaError::Elsewhere {
                    restore: self.head.restore.clone(),
                })
            }
            Err(error) => Err(error),
        }
    }

    fn failed(&self, source: StoreError) -> ReplicaError {
        ReplicaError::Store {
            restore: self.head.restore.clone(),
            source,
        }
    }
}

impl std::fmt::Debug for ReplicaKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplicaKeeper({}, {:?})", self.head.restore, self.at)
    }
}
