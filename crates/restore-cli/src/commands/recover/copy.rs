//! Copy of a journal in the store, updated during the work, and used where the folder is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_cli::config::ConfigFlags;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_cli::terminal::Terminal;
use backup_core::read::unlock;
use backup_core::store::StoreError;
use cluster_restore::JournalReplica;
use cluster_restore::journal::Journal;
use cluster_restore::journal_replica::{ReplicaError, ReplicaHead, ReplicaKeeper, StoredJournal};
use cluster_restore::orchestrate::{Requirement, plan_file};
use cluster_restore::plan::Plan;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::RestoreContext;
use crate::commands::{OpenedStore, open};

/// Interval between updates of the copy. Lines that a crash loses from the copy are checked again anyway.
const EVERY: Duration = Duration::from_secs(2);
/// Pause after a failure, so that a store that is away is not asked all the time.
const AGAIN: Duration = Duration::from_secs(60);
/// Time limit for the first and for the last lines; the restore waits for these.
const WITHIN: Duration = Duration::from_secs(20);

/// Copy of a journal that is being written.
pub(crate) struct JournalCopier {
    state: Mutex<CopierState>,
    /// Token that ends the work if somebody else continues the restore.
    stop: CancellationToken,
    terminal: Terminal,
}

struct CopierState {
    /// Keeper of the copy; `None` where the copy cannot be sealed or was given up.
    keeper: Option<ReplicaKeeper>,
    /// Time of the next try after a failure.
    again: Option<Instant>,
    told: bool,
    elsewhere: Option<Failure>,
}

impl JournalCopier {
    /// Begins the copy of `journal`. Warns if it cannot be sealed.
    pub(crate) async fn of(
        context: &RestoreContext,
        plan: &Plan,
        journal: &Journal,
        frame: &Frame,
    ) -> Result<Arc<Self>, Failure> {
        let config = &context.opened.config;
        let identities = config.identities(|text| frame.terminal.warn(text))?;
        let unlocking = async {
            let unlocked = unlock(&context.opened.store, &context.point, &identities).await;
            Ok(unlocked.map_err(Failure::from))
        };
        let path = journal.path();
        let (keeper, told) = match frame.or_cancelled(unlocking).await? {
            Ok(unlocked) => {
                let keeper = ReplicaKeeper::new(
                    Arc::clone(&context.opened.store),
                    Arc::new(unlocked),
                    (plan, &plan_file(path)),
                    (&journal.state.restore, path),
                );
                (Some(keeper), false)
            }
            Err(failure) => {
                no_copy(&failure.one_line(), &frame.terminal);
                (None, true)
            }
        };
        Ok(Arc::new(Self {
            state: Mutex::new(CopierState {
                keeper,
                again: None,
                told,
                elsewhere: None,
            }),
            stop: frame.cancel.clone(),
            terminal: frame.terminal.clone(),
        }))
    }

    /// Does `work`, and updates the copy meanwhile. If somebody else continues the same restore, the work
    /// ends, or does not begin.
    pub(crate) async fn run_alongside<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // The first update claims the restore, before anything is done.
        self.catch_up().await;
        if let Some(failure) = self.elsewhere().await {
            return Err(failure);
        }
        let mut work = std::pin::pin!(work);
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                () = sleep(EVERY) => {}
            }
            // The work goes on during the update.
            tokio::select! {
                ended = &mut work => break ended,
                () = self.catch_up() => {}
            }
        };
        self.catch_up().await;
        match self.elsewhere().await {
            Some(failure) => Err(failure),
            None => ended,
        }
    }

    async fn elsewhere(&self) -> Option<Failure> {
        self.state.lock().await.elsewhere.take()
    }
}

#[async_trait]
impl JournalReplica for JournalCopier {
    async fn catch_up(&self) {
        let mut state = self.state.lock().await;
        let waits = state.again.is_some_and(|again| Instant::now() < again);
        let Some(keeper) = state.keeper.as_mut().filter(|_| !waits) else {
            return;
        };
        let why = match timeout(WITHIN, keeper.catch_up()).await {
            Ok(Ok(())) => {
                state.again = None;
                return;
            }
            Ok(Err(error @ ReplicaError::Elsewhere { .. })) => {
                state.keeper = None;
                state.elsewhere = Some(stored_failed(error));
                self.stop.cancel();
                return;
            }
            Ok(Err(error)) => {
                if !is_transient(&error) {
                    state.keeper = None;
                }
                stored_failed(error).one_line()
            }
            Err(_) => "the store took too long".to_owned(),
        };
        state.again = Some(Instant::now() + AGAIN);
        if !std::mem::replace(&mut state.told, true) {
            no_copy(&why, &self.terminal);
        }
    }
}

fn is_transient(error: &ReplicaError) -> bool {
    matches!(error, ReplicaError::Store { source, .. } if source.is_transient())
}

fn no_copy(why: &str, terminal: &Terminal) {
    terminal.warn(&format!(
        "the journal is kept only in its folder, and the restore continues: {why}"
    ));
}

/// Makes a failure of the copy, with its exit code.
fn stored_failed(error: ReplicaError) -> Failure {
    let exit = match &error {
        ReplicaError::Elsewhere { .. } => Some(Exit::Refused),
        ReplicaError::NoSuch { .. } => Some(Exit::NotFound),
        ReplicaError::Damaged { .. } => Some(Exit::Damaged),
        ReplicaError::Store {
            source: StoreError::NotFound { .. },
            ..
        } => Some(Exit::NotFound),
        _ => None,
    };
    let failure = Failure::from(anyhow::Error::new(error));
    match exit {
        Some(exit) => failure.because_of(exit),
        None => failure,
    }
}

/// Writes the copy of the journal of `restore` into `folder`; returns its path and its head.
pub(crate) async fn fetch_copy(
    restore: &str,
    folder: &Path,
    given: &ConfigFlags,
    frame: &Frame,
) -> Result<(PathBuf, ReplicaHead), Failure> {
    let opened = frame.or_cancelled(open(given, frame)).await?;
    let found = async {
        let stored = StoredJournal::of(&opened.store, restore).await;
        let stored = stored.map_err(stored_failed)?;
        let head = stored.head().await.map_err(stored_failed)?;
        let head = head.ok_or_else(|| {
            stored_failed(ReplicaError::NoSuch {
                restore: restore.to_owned(),
            })
        })?;
        Ok((stored, head))
    };
    let (stored, head) = frame.or_cancelled(found).await?;
    let laid = write_into(&opened, &stored, &head, folder, frame);
    Ok((frame.or_cancelled(laid).await?, head))
}

async fn write_into(
    opened: &OpenedStore,
    stored: &StoredJournal,
    head: &ReplicaHead,
    folder: &Path,
    frame: &Frame,
) -> Result<PathBuf, Failure> {
    // The restore point's key opens the copy, so the restore point must have a trusted signature.
    let id = head.restore_point.id.to_string();
    let point = opened.find(&id, &Requirement::Nothing).await?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let unlocked = unlock(&opened.store, &point, &identities).await?;
    let (_, opener) = unlocked
        .of_journals()
        .ok_or_else(|| Failure::message(Exit::Refused, "no identity opens the journal"))?;
    stored
        .write_into(opener, folder)
        .await
        .map_err(stored_failed)
}
