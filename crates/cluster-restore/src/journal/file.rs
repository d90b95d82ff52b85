//! Journal as a file that one process has open.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::super::{RecoverError, TOOL};
use super::records::Record;
use super::state::JournalState;
use backup_core::digest::Digest;
use backup_core::newfile::{NewFile, OverwritePolicy};
use backup_core::num::to_u64;

/// Longest line: a webhook configuration of the largest size that etcd accepts.
const MAX_LINE: u64 = 2 << 20;
/// The same limit as a length.
#[expect(clippy::as_conversions, reason = "a constant that both types hold")]
const MAX_LINE_LENGTH: usize = MAX_LINE as usize;

/// Journal that is written to. No second process can open it meanwhile.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// Number of bytes in whole lines.
    whole: u64,
    /// Whether a write failed. Then nothing more is written until the journal is opened again.
    broken: bool,
    /// State after all lines so far.
    pub state: JournalState,
}

impl Journal {
    /// Begins a new journal in `folder`, which is created if it is missing. The journal gets its
    /// name once its first line is on disk.
    ///
    /// # Errors
    /// When it cannot be written, or already exists.
    pub fn begin(
        folder: &Path,
        restore: &str,
        plan: Digest,
        at: Timestamp,
    ) -> Result<Self, RecoverError> {
        let path = folder.join(format!("{restore}.journal"));
        let failed = |operation| failed(operation, &path);
        std::fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        let new = NewFile::create(&path, OverwritePolicy::Refuse).map_err(failed("make"))?;
        let file = new.file().try_clone().map_err(failed("make"))?;
        lock(&file, &path)?;
        let mut journal = Self {
            file,
            path: path.clone(),
            whole: 0,
            broken: false,
            state: JournalState::default(),
        };
        journal.write(vec![Record::Begun {
            restore: restore.to_owned(),
            tool: TOOL.to_owned(),
            plan,
            at,
        }])?;
        // The name must survive a crash too.
        new.finish().map_err(failed("make"))?;
        Ok(journal)
    }

    /// Opens the journal at `path` to continue it. A line that a crash cut off is removed.
    ///
    /// # Errors
    /// When it cannot be read, is open elsewhere, or is damaged.
    pub fn open(path: &Path) -> Result<Self, RecoverError> {
        let failed = |operation| failed(operation, path);
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
            whole,
            broken: false,
            state,
        })
    }

    /// Reads the state of the journal at `path`, without locking or changing it.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn read_state(path: &Path) -> Result<JournalState, RecoverError> {
        let mut file = File::open(path).map_err(failed("open", path))?;
        Ok(parse(&mut file, path)?.0)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines. All of them are on disk when this returns.
    ///
    /// # Errors
    /// When they cannot be written; then nothing more may be done. The part that was written is
    /// removed, so that the journal can be continued once there is space.
    pub fn write(&mut self, records: Vec<Record>) -> Result<(), RecoverError> {
        let failed = failed("write", &self.path);
        if self.broken {
            return Err(failed(std::io::Error::other(
                "a line before could not be written",
            )));
        }
        let records: Vec<Record> = records.into_iter().map(Record::bounded).collect();
        let mut text = Vec::new();
        for record in &records {
            if let Err(e) = serde_json::to_writer(&mut text, record) {
                return Err(failed(e.into()));
            }
            text.push(b'\n');
        }
        let written = self.file.write_all(&text);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            self.broken = true;
            // If this fails too, the cut line is found when the journal is opened.
            self.file.set_len(self.whole).ok();
            return Err(failed(error));
        }
        let length = to_u64(text.len());
        self.whole = self.whole.saturating_add(length);
        for record in records {
            self.state.take(record);
        }
        Ok(())
    }
}

/// Returns the error of an operation on the journal at `path`.
fn failed(operation: &'static str, path: &Path) -> impl Fn(std::io::Error) -> RecoverError + use<> {
    let file = path.display().to_string();
    move |source| RecoverError::Journal {
        operation,
        file: file.clone(),
        source,
    }
}

fn lock(file: &File, path: &Path) -> Result<(), RecoverError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(std::fs::TryLockError::WouldBlock) => Err(RecoverError::JournalInUse {
            file: path.display().to_string(),
        }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed("lock", path)(source)),
    }
}

/// Returns the state after all lines, and the number of bytes in whole lines.
fn parse(file: &mut File, path: &Path) -> Result<(JournalState, u64), RecoverError> {
    let mut state = JournalState::default();
    let mut whole = 0_u64;
    let mut number = 0_u64;
    let mut reader = BufReader::new(file);
    loop {
        let mut line = Vec::new();
        let read = reader
            .by_ref()
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(failed("read", path))?;
        number = number.saturating_add(1);
        let is_whole = line.last() == Some(&b'\n');
        // Nothing was done after a cut line: a line is on disk before what follows from it.
        if read == 0 || (!is_whole && line.len() < MAX_LINE_LENGTH) {
            break;
        }
        let record = serde_json::from_slice(&line).map_err(|e| RecoverError::JournalDamaged {
            file: path.display().to_string(),
            line: number,
            column: e.column(),
        })?;
        state.take(record);
        whole = whole.saturating_add(to_u64(read));
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
    use super::super::records::{Outcome, Phase};
    use super::*;
    use backup_core::format::manifest::Finding;

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
        assert_eq!(Journal::read_state(&path).unwrap(), state);
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.state, state);
        assert!(state.open.contains("b") && !state.open.contains("a"));
        journal.write(vec![writing("c")]).unwrap();
        drop(journal);
        assert!(Journal::read_state(&path).unwrap().open.contains("c"));
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
        let error = Journal::read_state(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn beginning_follows_no_link_and_touches_nothing_that_is_there() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let folder = tempfile::tempdir().unwrap();
        let other = folder.path().join("of-somebody-else");
        std::fs::write(&other, "as it was").unwrap();
        let part = folder.path().join("20261124.journal.part");
        symlink(&other, &part).unwrap();
        let journal = begun(folder.path());
        assert_eq!(Journal::read_state(journal.path()).unwrap(), journal.state);
        let mode = journal.path().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // Begin also refuses to replace a journal or to follow a link.
        let again = Journal::begin(folder.path(), "20261124", Digest::of(b"plan"), at());
        assert!(
            matches!(again, Err(RecoverError::Journal { .. })),
            "{again:?}"
        );
        symlink(&other, folder.path().join("20261125.journal")).unwrap();
        Journal::begin(folder.path(), "20261125", Digest::of(b"plan"), at()).unwrap_err();
        assert!(part.is_symlink());
        assert_eq!(std::fs::read(&other).unwrap(), b"as it was");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn what_a_phase_found_is_found_anew_when_it_is_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = begun(folder.path());
        let (phase, at) = (Phase::Resume, at());
        let found = Record::Found {
            phase,
            finding: Finding::error("a", "é".repeat(5000), String::new()),
        };
        let done = Record::PhaseDone { phase, at };
        journal.write(vec![found, done]).unwrap();
        let state = Journal::read_state(journal.path()).unwrap();
        assert_eq!(state, journal.state);
        assert_eq!(state.findings().count(), 1);
        assert!(state.findings().all(|f| f.cause.len() < 4200));
        journal
            .write(vec![Record::PhaseBegun { phase, at }])
            .unwrap();
        assert_eq!(journal.state.findings().count(), 0);
    }

    #[test]
    fn what_was_tried_again_is_looked_at_again_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = begun(folder.path());
        let at = at();
        let begins = |phase| Record::PhaseBegun { phase, at };
        let ends = |phase| Record::PhaseDone { phase, at };
        let written = |object: &str, outcome| Record::Written {
            object: object.to_owned(),
            outcome,
            uid: None,
            why: None,
        };
        let phases = [Phase::Objects, Phase::Link, Phase::Settle];
        let made = written("a", Outcome::Created);
        let failed = written("b", Outcome::Failed);
        journal.write(vec![made, failed]).unwrap();
        for phase in phases {
            journal.write(vec![begins(phase), ends(phase)]).unwrap();
        }
        assert!(!journal.state.is_written(), "one failed");
        // It is tried again, and the later phases are still to do.
        let again = written("b", Outcome::Created);
        let objects = Phase::Objects;
        journal
            .write(vec![begins(objects), again, ends(objects)])
            .unwrap();
        assert!(
            !journal.state.is_written(),
            "nobody looked whether it stays"
        );
        assert_eq!(journal.state.fresh, ["b".to_owned()].into());
        for phase in [Phase::Link, Phase::Settle] {
            journal.write(vec![begins(phase), ends(phase)]).unwrap();
        }
        assert!(journal.state.is_written());
        assert_eq!(Journal::read_state(journal.path()).unwrap(), journal.state);
    }
}
