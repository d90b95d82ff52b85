//! Recorder of the objects to mirror while they are read: one object is in memory at a time, the rest in a
//! file without a name.

use std::collections::{BTreeSet, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, IntoInnerError, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::flux::FluxPaths;
use super::place::{self, DEFINITIONS};
use super::redact::redact;
use super::{MirrorError, private};
use crate::git::{MAX_OBJECTS, MAX_TEXT};
use backup_core::archive::{ObjectPath, ResourceName, read_json};
use backup_core::num::to_u64;
use backup_core::source::ObjectTap;

/// Size of the buffer that collects small writes.
const BUFFER: usize = 256 << 10;

/// Recorder of the objects of one run. An error is reported when the objects are taken, not while the run
/// reads.
#[derive(Debug)]
pub struct StagingArea {
    custom: BTreeSet<ResourceName>,
    noted: Mutex<Result<Recording, MirrorError>>,
}

#[derive(Debug)]
struct Recording {
    out: BufWriter<File>,
    staged: StagedIndex,
}

#[derive(Debug, Default)]
struct StagedIndex {
    /// Files, by a part of the digest of their path: if two share it, both are kept.
    files: HashSet<u64>,
    definitions: BTreeSet<String>,
    objects: u64,
    bytes: u64,
    left_out: u64,
    applied: FluxPaths,
}

/// All recorded objects of one run. They are deleted when this is dropped.
#[derive(Debug)]
pub struct StagedObjects {
    file: File,
    counted: StagedIndex,
}

impl StagingArea {
    /// Starts recording objects of the `custom` kinds, and their definitions, in a file of `folder`.
    ///
    /// # Errors
    /// When no such file can be created.
    pub fn begin(folder: &Path, custom: BTreeSet<ResourceName>) -> Result<Arc<Self>, MirrorError> {
        private(folder)?;
        let file = tempfile::tempfile_in(folder);
        let file = file.map_err(|source| MirrorError::file("make a file in", folder, source))?;
        let noted = Recording {
            out: BufWriter::with_capacity(BUFFER, file),
            staged: StagedIndex::default(),
        };
        Ok(Arc::new(Self {
            custom,
            noted: Mutex::new(Ok(noted)),
        }))
    }

    /// Returns the recorded objects and stops recording.
    ///
    /// # Errors
    /// The error that happened while objects were recorded.
    pub fn take(&self) -> Result<StagedObjects, MirrorError> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let Recording { out, staged } = std::mem::replace(&mut *noted, Err(MirrorError::Taken))?;
        let file = out.into_inner().map_err(IntoInnerError::into_error);
        Ok(StagedObjects {
            file: file.map_err(MirrorError::note)?,
            counted: staged,
        })
    }
}

impl ObjectTap for StagingArea {
    fn object(&self, path: &ObjectPath, json: &[u8]) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(open) = noted.as_mut() {
            open.staged.applied.note(path, json);
        }
        let defines = path.resource.as_str() == DEFINITIONS;
        if !defines && !self.custom.contains(&path.resource) {
            return;
        }
        if let Ok(open) = noted.as_mut()
            && let Err(error) = open.note(path, json, defines)
        {
            *noted = Err(error);
        }
    }
}

impl Recording {
    fn note(&mut self, path: &ObjectPath, json: &[u8], defines: bool) -> Result<(), MirrorError> {
        let object = read_json(json).ok();
        let Some(plain) = object.and_then(|object| redact(&path.resource, object)) else {
            // The restore point contains it as it is.
            return Ok(());
        };
        let (place, text) = (place::place(path), place::text(&plain));
        let counted = &mut self.staged;
        counted.objects = counted.objects.saturating_add(1);
        counted.bytes = counted.bytes.saturating_add(to_u64(text.len()));
        if counted.objects > MAX_OBJECTS || counted.bytes > MAX_TEXT {
            return Err(MirrorError::TooMuch);
        }
        let left_out = to_u64(plain.left_out.len());
        counted.left_out = counted.left_out.saturating_add(left_out);
        counted.files.insert(print(&place));
        if defines {
            counted
                .definitions
                .insert(place::kind(&ResourceName::from(path.name.as_str())));
        }
        for part in [&place, &text] {
            let written = self.out.write_all(&to_u64(part.len()).to_le_bytes());
            let written = written.and_then(|()| self.out.write_all(part.as_bytes()));
            written.map_err(MirrorError::note)?;
        }
        Ok(())
    }
}

impl StagedObjects {
    /// Whether this file is among them. May also be true for a few other files.
    pub(super) fn has(&self, place: &str) -> bool {
        self.counted.files.contains(&print(place))
    }

    /// Whether the definition of a kind's folder is among them.
    pub(super) fn defines(&self, folder: &str) -> bool {
        self.counted.definitions.contains(folder)
    }

    /// Returns what Flux applies, according to the objects that were read.
    pub(super) fn applied(&self) -> &FluxPaths {
        &self.counted.applied
    }

    /// Returns the number of fields that were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.counted.left_out
    }

    /// Calls `take` with the path and text of each file.
    pub(super) fn each(
        &mut self,
        mut take: impl FnMut(&str, &str) -> Result<(), MirrorError>,
    ) -> Result<(), MirrorError> {
        self.file
            .seek(SeekFrom::Start(0))
            .map_err(MirrorError::note)?;
        let mut file = BufReader::with_capacity(BUFFER, &self.file);
        for _ in 0..self.counted.objects {
            let place = read(&mut file).map_err(MirrorError::note)?;
            let text = read(&mut file).map_err(MirrorError::note)?;
            take(&place, &text)?;
        }
        Ok(())
    }
}

fn read(file: &mut impl std::io::Read) -> std::io::Result<String> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut text = String::new();
    let read = file.take(length).read_to_string(&mut text)?;
    if u64::try_from(read).ok() == Some(length) {
        Ok(text)
    } else {
        Err(std::io::ErrorKind::UnexpectedEof.into())
    }
}

fn print(place: &str) -> u64 {
    let digest = Sha256::digest(place.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |print, byte| print << 8 | u64::from(*byte))
}
