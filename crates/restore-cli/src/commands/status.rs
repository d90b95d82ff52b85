//! Command `restore-cli status`, which shows the progress of a restore from its journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup_cli::config::{Config, ConfigFlags};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::findings::{Finding, table};
use backup_cli::open::StoreAccess;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use cluster_restore::journal::{Journal, JournalState, Outcome, Phase};
use cluster_restore::journal_replica::ReplicaHead;
use cluster_restore::orchestrate::{COMPLETE, COMPLETE_OF_PARTIAL, journals_in, replica_heads};
use serde::Serialize;

use super::recover::{JournalFlags, failed, fetch_copy};
use crate::flags::ReadFlags;

/// Largest number of objects that are listed for people.
const LISTED: usize = 20;

/// Say how far a restore is, what is still stopped, and what to do next
///
/// Reads the journal alone: works while the restore runs, and when the cluster is down. With a store
/// it also lists the journals that have a copy there, and reads one of those by its name.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The journal, as a file or as the name of the restore, which may be in the store alone
    /// [default: the newest one in the folder]
    #[arg(value_name = "JOURNAL")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    journals: JournalFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let folder = &args.journals.journals;
    let given = args.read.given();
    let named = JournalName::of(args.journal.as_deref(), folder);
    let listing = args.journal.is_none();
    let in_store = if listing {
        stored(&given, frame).await?
    } else {
        Vec::new()
    };
    let (path, state) = match named {
        Ok(JournalName::File(path)) => {
            let state = Journal::read_state(&path).map_err(failed)?;
            (path.display().to_string(), state)
        }
        Ok(JournalName::Restore(restore)) => {
            let scratch = tempfile::tempdir_in(&frame.environment.temp)
                .context("make a folder for the journal")?;
            let (path, _) = fetch_copy(&restore, scratch.path(), &given, frame).await?;
            let state = Journal::read_state(&path).map_err(failed)?;
            (restore, state)
        }
        Err(_) if !in_store.is_empty() => {
            frame.terminal.emit(&StoredJournals {
                journals_in_store: in_store,
            })?;
            return Ok(Exit::Complete);
        }
        Err(failure) => return Err(failure),
    };
    let mut told = JournalReport::of(path, &state);
    told.journals_in_store = in_store;
    frame.terminal.emit(&told)?;
    Ok(match told.ended.as_deref() {
        Some(COMPLETE) => Exit::Complete,
        _ => Exit::Partial,
    })
}

/// Journal as a person names it.
pub(super) enum JournalName {
    /// File that exists.
    File(PathBuf),
    /// Restore, whose journal may be in the store.
    Restore(String),
}

impl JournalName {
    /// Resolves `named`, or returns the newest journal of `folder`.
    pub(super) fn of(named: Option<&Path>, folder: &Path) -> Result<Self, Failure> {
        let Some(named) = named else {
            return Ok(Self::File(newest(folder)?));
        };
        let Some(restore) = named.to_str().filter(|_| !named.exists()) else {
            return Ok(Self::File(named.to_owned()));
        };
        let file = folder.join(format!("{restore}.journal"));
        if file.exists() {
            return Ok(Self::File(file));
        }
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if restore.chars().all(is_name) {
            return Ok(Self::Restore(restore.to_owned()));
        }
        Ok(Self::File(named.to_owned()))
    }
}

/// Returns the copies in the store, newest first; none where no store is configured. Warns if the store
/// cannot be read.
async fn stored(given: &ConfigFlags, frame: &Frame) -> Result<Vec<StoredJournalReport>, Failure> {
    let config = Config::load(given, frame.clock.now())?;
    let Ok(url) = config.need_store() else {
        return Ok(Vec::new());
    };
    let heads = async {
        let store = backup_cli::open::store(url, StoreAccess::Read, &frame.environment).await?;
        Ok(replica_heads(&store).await?)
    };
    let heads = frame.or_cancelled(heads).await;
    match heads {
        Ok(heads) => Ok(heads.iter().map(StoredJournalReport::of).collect()),
        Err(failure) if failure.exit() == Exit::Interrupted => Err(failure),
        Err(failure) => {
            frame.terminal.warn(&format!(
                "the journals in the store are not listed: {}",
                failure.one_line()
            ));
            Ok(Vec::new())
        }
    }
}

/// Returns the newest journal in `folder`.
fn newest(folder: &Path) -> Result<PathBuf, Failure> {
    let newest = journals_in(folder)
        .with_context(|| format!("look for journals in {}", folder.display()))?
        .pop();
    newest.ok_or_else(|| {
        let told = format!("there is no journal in {}", folder.display());
        Failure::message(Exit::NotFound, told).hint(
            "name one, or the folder with --journals; `restore-cli restore` makes them. With a \
                 store `restore-cli status` lists those that have a copy there",
        )
    })
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct JournalReport {
    journal: String,
    restore: String,
    began: Option<jiff::Timestamp>,
    /// `complete`, `partial`, `failed`; absent while it runs or after a crash.
    ended: Option<String>,
    resumed: u64,
    phases: Vec<PhaseReport>,
    etcd: Vec<String>,
    objects: BTreeMap<Outcome, u64>,
    failed: Vec<ObjectFailure>,
    still_stopped: Vec<String>,
    /// Whether everything that is missing is beyond the help of `resume`.
    stuck: bool,
    findings: Vec<Finding>,
    journals_in_store: Vec<StoredJournalReport>,
}

/// Copies of journals alone.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredJournals {
    journals_in_store: Vec<StoredJournalReport>,
}

impl Report for StoredJournals {
    fn page(&self, page: &mut Page) {
        in_store(page, &self.journals_in_store);
    }
}

/// Copy of a journal, from its head.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StoredJournalReport {
    restore: String,
    restore_point: String,
    began: Option<jiff::Timestamp>,
    /// `complete`, `partial`, `failed`; absent while it runs or after a crash.
    ended: Option<String>,
    resumed: u64,
    /// Phase at work, or the last one that was done.
    phase: Option<Phase>,
}

impl StoredJournalReport {
    fn of(head: &ReplicaHead) -> Self {
        Self {
            restore: head.restore.clone(),
            restore_point: head.restore_point.id.to_string(),
            began: head.progress.began,
            ended: head.progress.ended.as_ref().map(|(how, _)| how.clone()),
            resumed: head.progress.resumed,
            phase: head.progress.phases.keys().next_back().copied(),
        }
    }
}

fn in_store(page: &mut Page, journals: &[StoredJournalReport]) {
    if journals.is_empty() {
        return;
    }
    page.heading("Journals in the store");
    let rows = journals.iter().map(|told| {
        let phase = told.phase.map(|phase| format!("{phase:?}").to_lowercase());
        [
            told.restore.clone(),
            told.restore_point.clone(),
            told.ended.clone().unwrap_or_else(|| "no".to_owned()),
            phase.unwrap_or_else(|| "-".to_owned()),
            told.resumed.to_string(),
        ]
    });
    page.table(
        ["RESTORE", "RESTORE POINT", "ENDED", "PHASE", "RESUMED"],
        rows,
    );
    page.line(
        "Read one with: restore-cli status RESTORE. Continue with: restore-cli resume \
               RESTORE",
    );
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhaseReport {
    phase: Phase,
    /// Duration; absent while the phase is at work.
    seconds: Option<i64>,
}

#[derive(Debug, Serialize)]
struct ObjectFailure {
    object: String,
    why: String,
}

impl JournalReport {
    fn of(journal: String, state: &JournalState) -> Self {
        let phases = state
            .phases
            .iter()
            .map(|(phase, (began, done))| PhaseReport {
                phase: *phase,
                seconds: done.map(|done| done.duration_since(*began).as_secs()),
            });
        let failed = state
            .written
            .iter()
            .filter(|(_, d)| d.outcome == Outcome::Failed);
        let failed = failed.map(|(object, done)| ObjectFailure {
            object: object.clone(),
            why: done.why.clone().unwrap_or_default(),
        });
        Self {
            journal,
            restore: state.restore.clone(),
            began: state.began,
            ended: state.ended.as_ref().map(|(how, _)| how.clone()),
            resumed: state.resumed,
            phases: phases.collect(),
            etcd: state.etcd.clone(),
            objects: state.outcomes(),
            failed: failed.collect(),
            still_stopped: state
                .parked
                .iter()
                .map(cluster_restore::quiesce::ParkedItem::by_hand)
                .collect(),
            stuck: state.is_stuck()
                && state
                    .ended
                    .as_ref()
                    .is_some_and(|(how, _)| how == "partial"),
            findings: state.findings().map(Finding::from).collect(),
            journals_in_store: Vec::new(),
        }
    }
}

impl Report for JournalReport {
    fn page(&self, page: &mut Page) {
        let ended = self
            .ended
            .as_deref()
            .unwrap_or("no: it runs, or was cut off");
        let began = self.began.map_or_else(String::new, |t| t.to_string());
        page.fields([
            ("Restore", self.restore.clone()),
            ("Journal", self.journal.clone()),
            ("Began", began),
            ("Ended", ended.to_owned()),
        ]);
        page.heading("Phases");
        let rows = self.phases.iter().map(|p| {
            let name = serde_json::to_value(p.phase).ok();
            let name = name
                .and_then(|n| n.as_str().map(str::to_owned))
                .unwrap_or_default();
            let took = p
                .seconds
                .map_or_else(|| "at work".to_owned(), |s| format!("done in {s} s"));
            [name, took]
        });
        page.table(["PHASE", "STATE"], rows);
        if !self.objects.is_empty() {
            page.heading("Objects");
            let rows = self
                .objects
                .iter()
                .map(|(outcome, n)| [super::recover::word(*outcome).to_owned(), n.to_string()]);
            page.table(["WHAT", "HOW MANY"], rows);
        }
        if !self.failed.is_empty() {
            page.heading("Failed");
            let rows = self.failed.iter().take(LISTED);
            page.table(
                ["OBJECT", "WHY"],
                rows.map(|f| [f.object.clone(), f.why.clone()]),
            );
        }
        if !self.still_stopped.is_empty() {
            page.heading("Still stopped");
            for line in &self.still_stopped {
                page.line(&format!("  {line}"));
            }
        }
        if !self.findings.is_empty() {
            page.heading("Findings");
            table(page, &self.findings);
        }
        in_store(page, &self.journals_in_store);
        page.heading("Next");
        match self.ended.as_deref() {
            Some(COMPLETE) => page.line("Nothing: it is complete."),
            Some(COMPLETE_OF_PARTIAL) => page.line(
                "Nothing is left to do. `restore-cli show RESTORE-POINT` names what it lacked, and \
                 which older restore point has it.",
            ),
            _ => page.line(&super::recover::next_step(self.stuck, &self.journal)),
        }
    }
}
