//! `restore-cli status`: how far a restore is, from its journal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::recover::journal::{Journal, Outcome, Phase, State};
use backup_core::recover::plan::Plan;
use serde::Serialize;

use super::recover::{Journals, failed};

/// Objects that are listed for people.
const LISTED: usize = 20;
/// Journals that are looked through for how long a restore took.
pub(super) const LOOKED: usize = 50;

/// Say how far a restore is, what is still stopped, and what to do next
///
/// Reads the journal alone: works while the restore runs, and when the cluster is down.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// The journal [default: the newest one in the folder]
    #[arg(value_name = "JOURNAL")]
    journal: Option<PathBuf>,
    #[command(flatten)]
    journals: Journals,
}

pub(crate) fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let path = match &args.journal {
        Some(path) => path.clone(),
        None => newest(&args.journals.journals)?,
    };
    let state = Journal::look(&path).map_err(failed)?;
    let told = Told::of(&path, &state);
    frame.terminal.emit(&told)?;
    Ok(match told.ended.as_deref() {
        Some("complete") => Exit::Complete,
        _ => Exit::Partial,
    })
}

/// The newest journal in `folder`.
pub(super) fn newest(folder: &Path) -> Result<PathBuf, Failure> {
    let newest = all(folder)
        .with_context(|| format!("look for journals in {}", folder.display()))?
        .pop();
    newest.ok_or_else(|| {
        let told = format!("there is no journal in {}", folder.display());
        Failure::message(Exit::NotFound, told)
            .hint("name one, or the folder with --journals; `restore-cli restore` makes them")
    })
}

/// Journals of `folder`, oldest first: their names begin with the time.
pub(super) fn all(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "journal") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// How long the last complete restore took that had the steps and the way of `plan`, in seconds.
pub(super) fn last_seconds(folder: &Path, plan: &Plan) -> Option<u64> {
    let journals = all(folder).ok()?;
    journals.iter().rev().take(LOOKED).find_map(|path| {
        let before = Plan::read(&plan_of(path)).ok()?;
        let state = Journal::look(path).ok()?;
        let alike = before.mode == plan.mode
            && before.steps == plan.steps
            && before.cluster == plan.cluster
            && state.resumed == 0;
        let (how, ended) = state.ended.filter(|_| alike)?;
        let took = ended.duration_since(state.began?).as_secs();
        (how == "complete").then(|| u64::try_from(took).ok())?
    })
}

/// The plan that a journal follows.
pub(super) fn plan_of(journal: &Path) -> PathBuf {
    journal.with_extension("plan.json")
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    journal: String,
    restore: String,
    began: Option<jiff::Timestamp>,
    /// `complete`, `partial`, `failed`; absent while it runs or after a crash.
    ended: Option<String>,
    resumed: u64,
    phases: Vec<PhaseTold>,
    etcd: Vec<String>,
    objects: BTreeMap<Outcome, u64>,
    failed: Vec<Failed>,
    still_stopped: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PhaseTold {
    phase: Phase,
    /// Absent while it is being done.
    seconds: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Failed {
    object: String,
    why: String,
}

impl Told {
    fn of(path: &Path, state: &State) -> Self {
        let phases = state.phases.iter().map(|(phase, (began, done))| PhaseTold {
            phase: *phase,
            seconds: done.map(|done| done.duration_since(*began).as_secs()),
        });
        let failed = state
            .written
            .iter()
            .filter(|(_, d)| d.outcome == Outcome::Failed);
        let failed = failed.map(|(object, done)| Failed {
            object: object.clone(),
            why: done.why.clone().unwrap_or_default(),
        });
        Self {
            journal: path.display().to_string(),
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
                .map(backup_core::recover::quiesce::Parked::by_hand)
                .collect(),
        }
    }
}

impl Report for Told {
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
        page.heading("Next");
        match self.ended.as_deref() {
            Some("complete") => page.line("Nothing: it is complete."),
            _ => page.line(&format!("Go on with: restore-cli resume {}", self.journal)),
        }
    }
}
