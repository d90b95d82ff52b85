//! Whole, verified etcd snapshot that is held ready, in an encrypted scratch file or in a file that a person
//! named. A snapshot that is not verified cannot be held.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::RestoreError;
use super::assemble::{Assembly, assemble, scratch_in};
use super::fetch::find_component;
use super::keys::PointKeys;
use super::objects::PointObjects;
use super::verify::{SnapshotWriter, check_snapshot};
use crate::catalog::RestorePoint;
use crate::digest::Digest;
use crate::etcd::{Inspector, PageFacts, SnapshotError, SnapshotFacts, TornObjects, TrailerCheck};
use crate::id::ComponentName;
use crate::num::to_u64;
use crate::progress::Progress;
use crate::scratch::Scratch;
use crate::store::Store;

/// Bytes read and sent at once: large enough to be cheap, small enough for every server.
const PIECE: usize = 64 << 10;

/// Facts about a held snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalSnapshotFacts {
    /// Size in bytes, including the trailer if there is one.
    pub bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: Digest,
    /// Newest revision.
    pub revision: u64,
    /// Digest over the live keys and values, if they were counted.
    pub content: Option<Digest>,
    /// UID of the namespace `kube-system` in the snapshot.
    pub kube_system_uid: Option<String>,
    /// Version of the storage, if the snapshot records one.
    pub storage_version: Option<String>,
    /// Encryption prefixes of its Secrets.
    pub encryption_prefixes: Vec<String>,
    /// Whether the snapshot is a copy of a member's `db` file, which has no trailer.
    pub raw: bool,
    /// Live objects that no API server can decode.
    pub torn: TornObjects,
}

/// See the module.
#[derive(Debug)]
pub struct LocalSnapshot {
    facts: LocalSnapshotFacts,
    place: SnapshotPlace,
}

enum SnapshotPlace {
    Scratch(Scratch),
    File(PathBuf),
}

impl std::fmt::Debug for SnapshotPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scratch(_) => f.write_str("Scratch"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

impl LocalSnapshot {
    /// Fetches a snapshot of a restore point into an encrypted scratch file in `folder`, and holds it if
    /// everything matches: every digest, the trailer, the walk over its pages, the revision.
    ///
    /// # Errors
    /// See [`RestoreError`]; nothing is left behind.
    pub async fn fetch(
        store: Arc<dyn Store>,
        point: &RestorePoint,
        unlocked: Arc<PointKeys>,
        name: &ComponentName,
        folder: &Path,
        progress: Arc<dyn Progress>,
        cancel: CancellationToken,
    ) -> Result<Self, RestoreError> {
        let component = find_component(point, name)?;
        if component.etcd.is_none() {
            return Err(RestoreError::Snapshot {
                component: name.clone(),
                source: SnapshotError::KeyBucketMissing,
            });
        }
        let assembly = Assembly {
            objects: PointObjects {
                store,
                id: point.entry.id.clone(),
                folder: None,
            },
            unlocked,
            progress,
            cancel,
            file: None,
        };
        let out = SnapshotKeeper {
            scratch: scratch_in(folder, component)?,
            at: 0,
            watch: SnapshotWriter::default(),
        };
        let keeper = assemble(&assembly, component, folder, out).await?;
        let facts = check_snapshot(component, keeper.watch)?;
        Ok(Self {
            facts: LocalSnapshotFacts::of(facts),
            place: SnapshotPlace::Scratch(keeper.scratch),
        })
    }

    /// Verifies and holds a snapshot that is already a file.
    ///
    /// # Errors
    /// If the file cannot be read, is cut off or damaged, or is not an etcd snapshot.
    pub async fn file(path: &Path) -> Result<Self, LocalSnapshotError> {
        Self::look(path, false).await
    }

    /// Verifies and holds a copy of a member's `db` file. It has no trailer, so the walk over its pages is
    /// the only check.
    ///
    /// # Errors
    /// If the file cannot be read, or its pages cannot be walked.
    pub async fn raw_db(path: &Path) -> Result<Self, LocalSnapshotError> {
        Self::look(path, true).await
    }

    async fn look(path: &Path, raw: bool) -> Result<Self, LocalSnapshotError> {
        let path = path.to_owned();
        let looked = spawn_blocking(move || {
            let facts = look(&path, raw)?;
            let place = SnapshotPlace::File(path);
            Ok(Self { facts, place })
        });
        looked.await.map_err(LocalSnapshotError::Panicked)?
    }

    /// Returns the facts about the snapshot.
    #[must_use]
    pub fn facts(&self) -> &LocalSnapshotFacts {
        &self.facts
    }
}

/// Reason why a file cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LocalSnapshotError {
    /// The file cannot be read.
    #[error("cannot read the snapshot {file}")]
    Read {
        /// Name of the file.
        file: String,
        /// Cause.
        source: io::Error,
    },
    /// The file is not a sound snapshot.
    #[error("{file} is not a sound etcd snapshot")]
    Snapshot {
        /// Name of the file.
        file: String,
        /// Fault of the snapshot.
        source: SnapshotError,
    },
    /// The file was given as a raw copy, but is a snapshot with its trailer.
    #[error(
        "{file} is not a raw copy of a db file: it has the trailer of a snapshot, so restore it as one"
    )]
    NotRaw {
        /// Name of the file.
        file: String,
    },
    /// A part of the program panicked: a bug.
    #[error("a part of the program failed; please report this")]
    Panicked(#[source] tokio::task::JoinError),
}

impl LocalSnapshotFacts {
    fn of(facts: SnapshotFacts) -> Self {
        Self {
            bytes: facts.plain_size,
            sha256: facts.sha256,
            revision: facts.revision,
            content: facts.content,
            kube_system_uid: facts.kube_system_uid,
            storage_version: facts.storage_version,
            encryption_prefixes: facts.encryption_prefixes.into_iter().collect(),
            raw: false,
            torn: facts.torn,
        }
    }

    fn of_raw(bytes: u64, sha256: Digest, pages: PageFacts) -> Self {
        Self {
            bytes,
            sha256,
            revision: pages.revision,
            content: pages.content,
            kube_system_uid: pages.kube_system_uid,
            storage_version: pages.storage_version,
            encryption_prefixes: pages.encryption_prefixes.into_iter().collect(),
            raw: true,
            torn: pages.torn,
        }
    }
}

fn look(path: &Path, raw: bool) -> Result<LocalSnapshotFacts, LocalSnapshotError> {
    let file = path.display().to_string();
    let mut trailer = TrailerCheck::new();
    let mut pages = Inspector::new();
    let mut whole = Sha256::new();
    let mut bytes = 0_u64;
    let read = File::open(path).and_then(|mut file| {
        each_piece(&mut file, &mut |piece| {
            trailer.push(&piece);
            pages.push(&piece);
            whole.update(&piece);
            bytes = bytes.saturating_add(to_u64(piece.len()));
            Ok(())
        })
    });
    read.map_err(|source| LocalSnapshotError::Read {
        file: file.clone(),
        source,
    })?;
    let (trailer, pages) = (trailer.finish(), pages.finish());
    let unsound = |file: String| move |source| LocalSnapshotError::Snapshot { file, source };
    if !raw {
        let facts = SnapshotFacts::join(trailer, pages).map_err(unsound(file))?;
        return Ok(LocalSnapshotFacts::of(facts));
    }
    if trailer.is_ok() {
        return Err(LocalSnapshotError::NotRaw { file });
    }
    let pages = pages.map_err(unsound(file))?;
    let sha256 = Digest::from_bytes(whole.finalize().into());
    Ok(LocalSnapshotFacts::of_raw(bytes, sha256, pages))
}

fn each_piece(
    from: &mut dyn io::Read,
    piece: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let mut block = Vec::with_capacity(PIECE);
        let mut part = from.take(to_u64(PIECE));
        if part.read_to_end(&mut block)? == 0 {
            return Ok(());
        }
        piece(block.into())?;
    }
}

impl LocalSnapshot {
    /// Gives all bytes in order, in pieces of at most 64 KiB. The snapshot can be read more than once.
    ///
    /// # Errors
    /// When it cannot be read, its bytes changed since they were checked, or `piece` fails. The last piece is
    /// given only when the whole has the SHA-256 that was checked.
    pub fn pieces(&self, piece: &mut dyn FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        // A file may have changed since it was checked. The last piece is held back until the digest of all
        // bytes matches.
        let mut hasher = Sha256::new();
        let mut last: Option<Bytes> = None;
        let mut check = |bytes: Bytes| {
            hasher.update(&bytes);
            match last.replace(bytes) {
                Some(before) => piece(before),
                None => Ok(()),
            }
        };
        match &self.place {
            SnapshotPlace::Scratch(scratch) => {
                each_piece(&mut scratch.reader(0, self.facts.bytes), &mut check)?;
            }
            SnapshotPlace::File(path) => {
                let mut file = File::open(path)?;
                file.rewind()?;
                each_piece(&mut file, &mut check)?;
            }
        }
        let found = Digest::from_bytes(hasher.finalize().into());
        if found != self.facts.sha256 {
            return Err(io::Error::other(
                "it was changed after it was checked: its SHA-256 is different now",
            ));
        }
        last.map_or(Ok(()), piece)
    }
}

/// Writer that puts bytes into the scratch file and feeds them to the checks.
struct SnapshotKeeper {
    scratch: Scratch,
    at: u64,
    watch: SnapshotWriter,
}

impl Write for SnapshotKeeper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.watch.write_all(bytes)?;
        self.scratch.put(self.at, &mut bytes.to_vec())?;
        let length = to_u64(bytes.len());
        self.at = self.at.saturating_add(length);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(held: &LocalSnapshot) -> io::Result<Vec<u8>> {
        let mut got = Vec::new();
        held.pieces(&mut |bytes| {
            got.extend_from_slice(&bytes);
            Ok(())
        })?;
        Ok(got)
    }

    #[tokio::test]
    async fn what_is_no_snapshot_is_not_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let missing = LocalSnapshot::file(&path).await.unwrap_err();
        assert!(
            matches!(missing, LocalSnapshotError::Read { .. }),
            "{missing}"
        );
        std::fs::write(&path, vec![7; 70_000]).unwrap();
        for error in [
            LocalSnapshot::file(&path).await.unwrap_err(),
            LocalSnapshot::raw_db(&path).await.unwrap_err(),
        ] {
            assert!(
                matches!(error, LocalSnapshotError::Snapshot { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn a_file_that_changed_since_is_not_given_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let bytes: Vec<u8> = (0..40_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&path, &bytes).unwrap();
        let facts = LocalSnapshotFacts {
            bytes: u64::try_from(bytes.len()).unwrap(),
            sha256: Digest::of(&bytes),
            revision: 1,
            content: None,
            kube_system_uid: None,
            storage_version: None,
            encryption_prefixes: Vec::new(),
            raw: true,
            torn: TornObjects::default(),
        };
        let held = LocalSnapshot {
            facts,
            place: SnapshotPlace::File(path.clone()),
        };
        assert!(pieces(&held).unwrap() == bytes);
        let mut other = bytes.clone();
        other[5] ^= 1;
        std::fs::write(&path, &other).unwrap();
        let mut given = 0;
        let error = held.pieces(&mut |bytes| {
            given += bytes.len();
            Ok(())
        });
        assert!(error.unwrap_err().to_string().contains("changed"));
        assert!(given < bytes.len());
    }
}
