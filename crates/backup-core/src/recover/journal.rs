//! What a restore has done, on disk before and after it does it: a line of JSON for each.
//!
//! A crash at any point leaves lines from which the same restore goes on: what is done is not done
//! again, what was begun is looked at first, and what was stopped is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::RecoverError;
use super::quiesce::Parked;
use crate::digest::Digest;

/// The longest line: a name of an object and a sentence of the server.
const MAX_LINE: u64 = 64 << 10;

/// A part of a restore, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// etcd is restored from its snapshot.
    Etcd,
    /// Controllers are stopped and webhooks parked.
    Quiesce,
    /// Definitions are made and served.
    Crds,
    /// Objects are written.
    Objects,
    /// Owners that came later are named.
    Link,
    /// Nothing was lost since.
    Settle,
    /// Everything that was stopped goes on.
    Resume,
    /// Tenants are asked.
    Verify,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was made.
    Created,
    /// It was there and was changed.
    Changed,
    /// It was there as it should be.
    Same,
    /// It was left out, with the reason.
    Skipped,
    /// It was there otherwise and was left so, or fields of it were.
    Conflict,
    /// It was taken away, because pruning was asked for.
    Pruned,
    /// It could not be written, with the reason.
    Failed,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "record")]
pub enum Record {
    /// The first line: what is restored where.
    #[serde(rename_all = "camelCase")]
    Begun {
        /// Names this restore.
        restore: String,
        /// The tool and its version.
        tool: String,
        /// The plan.
        plan: Digest,
        /// When.
        at: Timestamp,
    },
    /// It goes on after an interruption.
    #[serde(rename_all = "camelCase")]
    Resumed {
        /// When.
        at: Timestamp,
    },
    /// A phase begins.
    #[serde(rename_all = "camelCase")]
    PhaseBegun {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A phase is done.
    #[serde(rename_all = "camelCase")]
    PhaseDone {
        /// Which.
        phase: Phase,
        /// When.
        at: Timestamp,
    },
    /// A step of the etcd phase.
    #[serde(rename_all = "camelCase")]
    Etcd {
        /// What was reached, in a few words.
        reached: String,
        /// When.
        at: Timestamp,
    },
    /// Something is going to be stopped; this is how it was.
    #[serde(rename_all = "camelCase")]
    Parking {
        /// What, and how it was.
        parked: Parked,
    },
    /// It goes on as it was.
    #[serde(rename_all = "camelCase")]
    Unparked {
        /// What.
        place: String,
    },
    /// An object is going to be written.
    #[serde(rename_all = "camelCase")]
    Writing {
        /// Its path in the archive.
        object: String,
    },
    /// An object is done.
    #[serde(rename_all = "camelCase")]
    Written {
        /// Its path in the archive.
        object: String,
        /// What became of it.
        outcome: Outcome,
        /// The UID that it has now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        uid: Option<String>,
        /// Why, in a sentence; never a value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
    },
    /// An owner that came later is named.
    #[serde(rename_all = "camelCase")]
    Linked {
        /// The object's path in the archive.
        object: String,
    },
    /// The last line of an attempt.
    #[serde(rename_all = "camelCase")]
    Ended {
        /// `complete`, `partial` or `failed`.
        how: String,
        /// When.
        at: Timestamp,
    },
}

/// What the lines so far say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The restore's name.
    pub restore: String,
    /// Its plan.
    pub plan: Option<Digest>,
    /// When it began.
    pub began: Option<Timestamp>,
    /// Phases with their times.
    pub phases: BTreeMap<Phase, (Timestamp, Option<Timestamp>)>,
    /// Steps of the etcd phase.
    pub etcd: Vec<String>,
    /// Objects that are done: what became of each, its UID, and why.
    pub written: BTreeMap<String, Done>,
    /// Objects that were begun and are not known to be done.
    pub open: BTreeSet<String>,
    /// Objects whose late owners are named.
    pub linked: BTreeSet<String>,
    /// What is stopped and not yet put back, in the order it was stopped.
    pub parked: Vec<Parked>,
    /// How the last attempt ended, if it did.
    pub ended: Option<(String, Timestamp)>,
    /// How often it went on after an interruption.
    pub resumed: u64,
}

/// An object that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What became of it.
    pub outcome: Outcome,
    /// The UID that it has now.
    pub uid: Option<String>,
    /// Why.
    pub why: Option<String>,
}

impl State {
    fn take(&mut self, record: Record) {
        match record {
            Record::Begun {
                restore, plan, at, ..
            } => {
                self.restore = restore;
                self.plan = Some(plan);
                self.began = Some(at);
            }
            Record::Resumed { .. } => {
                self.ended = None;
                self.resumed = self.resumed.saturating_add(1);
            }
            Record::PhaseBegun { phase, at } => {
                self.phases.entry(phase).or_insert((at, None)).1 = None;
            }
            Record::PhaseDone { phase, at } => {
                self.phases.entry(phase).or_insert((at, None)).1 = Some(at);
            }
            Record::Etcd { reached, .. } => self.etcd.push(reached),
            Record::Parking { parked } => {
                if !self.parked.iter().any(|p| p.place() == parked.place()) {
                    self.parked.push(parked);
                }
            }
            Record::Unparked { place } => self.parked.retain(|p| p.place() != place),
            Record::Writing { object } => {
                self.open.insert(object);
            }
            Record::Written {
                object,
                outcome,
                uid,
                why,
            } => {
                self.open.remove(&object);
                self.written.insert(object, Done { outcome, uid, why });
            }
            Record::Linked { object } => {
                self.linked.insert(object);
            }
            Record::Ended { how, at } => self.ended = Some((how, at)),
        }
    }

    /// Whether a phase is done.
    #[must_use]
    pub fn is_done(&self, phase: Phase) -> bool {
        self.phases
            .get(&phase)
            .is_some_and(|(_, done)| done.is_some())
    }

    /// How many objects ended as each outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<Outcome, u64> {
        let mut counts = BTreeMap::new();
        for done in self.written.values() {
            let count: &mut u64 = counts.entry(done.outcome).or_default();
            *count = count.saturating_add(1);
        }
        counts
    }
}

/// A journal that is written to. No second process can open it meanwhile.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// What it says so far.
    pub state: State,
}

impl Journal {
    /// Begins a new one in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// When it cannot be written, or is there already.
    pub fn begin(
        folder: &Path,
        restore: &str,
        plan: Digest,
        at: Timestamp,
    ) -> Result<Self, RecoverError> {
        let path = folder.join(format!("{restore}.journal"));
        let failed = |operation: &'static str| {
            let file = path.display().to_string();
            move |source| RecoverError::Journal {
                operation,
                file,
                source,
            }
        };
        std::fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        let file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed("make"))?;
        lock(&file, &path)?;
        // Its name must outlive a crash too.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("write"))?;
        let mut journal = Self {
            file,
            path,
            state: State::default(),
        };
        journal.write(vec![Record::Begun {
            restore: restore.to_owned(),
            tool: super::TOOL.to_owned(),
            plan,
            at,
        }])?;
        Ok(journal)
    }

    /// Opens the one at `path` to go on with it. A line that a crash cut off is taken away.
    ///
    /// # Errors
    /// When it cannot be read, is open elsewhere, or is damaged.
    pub fn open(path: &Path) -> Result<Self, RecoverError> {
        let failed = |operation: &'static str| {
            let file = path.display().to_string();
            move |source| RecoverError::Journal {
                operation,
                file,
                source,
            }
        };
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .open(path)
            .map_err(failed("open"))?;
        lock(&file, path)?;
        let (state, whole) = parse(&mut file, path)?;
        file.set_len(whole).map_err(failed("write"))?;
        file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            state,
        })
    }

    /// What the one at `path` says, without opening it for more.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn look(path: &Path) -> Result<State, RecoverError> {
        let mut file = File::open(path).map_err(|source| RecoverError::Journal {
            operation: "open",
            file: path.display().to_string(),
            source,
        })?;
        Ok(parse(&mut file, path)?.0)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines, all of them on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written; then nothing more may be done.
    pub fn write(&mut self, records: Vec<Record>) -> Result<(), RecoverError> {
        let failed = |source| RecoverError::Journal {
            operation: "write",
            file: self.path.display().to_string(),
            source,
        };
        let mut text = Vec::new();
        for record in &records {
            serde_json::to_writer(&mut text, record)
                .map_err(std::io::Error::from)
                .map_err(failed)?;
            text.push(b'\n');
        }
        self.file.write_all(&text).map_err(failed)?;
        self.file.sync_data().map_err(failed)?;
        for record in records {
            self.state.take(record);
        }
        Ok(())
    }
}

fn lock(file: &File, path: &Path) -> Result<(), RecoverError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(RecoverError::JournalInUse {
            file: path.display().to_string(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(RecoverError::Journal {
            operation: "lock",
            file: path.display().to_string(),
            source,
        }),
    }
}

/// What the lines say, and how many bytes of whole lines there are.
fn parse(file: &mut File, path: &Path) -> Result<(State, u64), RecoverError> {
    let mut state = State::default();
    let mut whole = 0_u64;
    let mut number = 0_u64;
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|source| RecoverError::Journal {
                operation: "read",
                file: path.display().to_string(),
                source,
            })?;
        number = number.saturating_add(1);
        // Nothing after it was done: a line is on disk before what follows from it.
        if read == 0 || line.last() != Some(&b'\n') {
            break;
        }
        let record = serde_json::from_slice(&line).map_err(|e| RecoverError::JournalDamaged {
            file: path.display().to_string(),
            line: number,
            column: e.column(),
        })?;
        state.take(record);
        whole = whole.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    if state.plan.is_none() {
        return Err(RecoverError::JournalDamaged {
            file: path.display().to_string(),
            line: 1,
            column: 1,
        });
    }
    Ok((state, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-11-24T03:00:00Z".parse().unwrap()
    }

    fn begun(folder: &Path) -> Journal {
        Journal::begin(folder, "20261124", Digest::of(b"plan"), at()).unwrap()
    }

    #[test]
    fn what_was_written_is_known_again_and_a_cut_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = begun(folder.path());
        let writing = |object: &str| Record::Writing {
            object: object.to_owned(),
        };
        journal.write(vec![writing("a"), writing("b")]).unwrap();
        journal
            .write(vec![Record::Written {
                object: "a".to_owned(),
                outcome: Outcome::Created,
                uid: Some("new".to_owned()),
                why: None,
            }])
            .unwrap();
        let state = journal.state.clone();
        let path = journal.path().to_owned();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"record\":\"writ").unwrap();
        drop(file);
        assert_eq!(Journal::look(&path).unwrap(), state);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.state, state);
        assert!(state.open.contains("b") && !state.open.contains("a"));
        journal.write(vec![writing("c")]).unwrap();
        drop(journal);
        assert!(Journal::look(&path).unwrap().open.contains("c"));
    }

    #[test]
    fn two_do_not_write_one() {
        let folder = tempfile::tempdir().unwrap();
        let journal = begun(folder.path());
        let second = Journal::open(journal.path()).unwrap_err();
        assert!(
            matches!(second, RecoverError::JournalInUse { .. }),
            "{second}"
        );
    }

    #[test]
    fn a_damaged_line_is_told_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let journal = begun(folder.path());
        let path = journal.path().to_owned();
        drop(journal);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"record\":\"other\"}\n").unwrap();
        let error = Journal::look(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
