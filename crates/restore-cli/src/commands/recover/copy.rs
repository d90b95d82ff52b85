//! The copy of a journal in the store, kept up beside the work, and used where the folder is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_cli::config::Given;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_cli::terminal::Terminal;
use backup_core::recover::Copied;
use backup_core::recover::journal::Journal;
use backup_core::recover::plan::Plan;
use backup_core::recover::stored::{Head, Keeper, Stored, StoredError};
use backup_core::restore::unlock;
use backup_core::store::StoreError;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Ground;
use crate::commands::latest::Needs;
use crate::commands::{Opened, open, status};

/// Between two looks at the journal: what a crash loses of the copy is looked at again anyway.
const EVERY: Duration = Duration::from_secs(2);
/// After a failure. A store that is away must not be asked all the time.
const AGAIN: Duration = Duration::from_secs(60);
/// For the first and for the last lines; the restore waits for these.
const WITHIN: Duration = Duration::from_secs(20);

/// The copy of a journal that is being written.
pub(crate) struct Copying {
    keeping: Mutex<Keeping>,
    /// Ends the work if somebody else goes on with the restore.
    stop: CancellationToken,
    terminal: Terminal,
}

struct Keeping {
    /// None where the copy cannot be sealed, or was given up.
    keeper: Option<Keeper>,
    /// When it is tried again after a failure.
    again: Option<Instant>,
    told: bool,
    elsewhere: Option<Failure>,
}

impl Copying {
    /// The copy of `journal`. Where it cannot be sealed, that is told.
    pub(crate) async fn of(
        ground: &Ground,
        plan: &Plan,
        journal: &Journal,
        frame: &Frame,
    ) -> Result<Arc<Self>, Failure> {
        let config = &ground.opened.config;
        let identities = config.identities(|text| frame.terminal.warn(text))?;
        let unlocking = async {
            let unlocked = unlock(&ground.opened.store, &ground.point, &identities).await;
            Ok(unlocked.map_err(Failure::from))
        };
        let path = journal.path();
        let (keeper, told) = match frame.or_cancelled(unlocking).await? {
            Ok(unlocked) => {
                let keeper = Keeper::new(
                    Arc::clone(&ground.opened.store),
                    Arc::new(unlocked),
                    (plan, &status::plan_of(path)),
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
            keeping: Mutex::new(Keeping {
                keeper,
                again: None,
                told,
                elsewhere: None,
            }),
            stop: frame.cancel.clone(),
            terminal: frame.terminal.clone(),
        }))
    }

    /// Does `work`, and keeps the copy up meanwhile. If somebody else goes on with the same restore,
    /// the work ends, or is not begun.
    pub(crate) async fn beside<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // Before anything is done: it claims the restore.
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
            // The work goes on meanwhile.
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
        self.keeping.lock().await.elsewhere.take()
    }
}

#[async_trait]
impl Copied for Copying {
    async fn catch_up(&self) {
        let mut keeping = self.keeping.lock().await;
        let waits = keeping.again.is_some_and(|again| Instant::now() < again);
        let Some(keeper) = keeping.keeper.as_mut().filter(|_| !waits) else {
            return;
        };
        let why = match timeout(WITHIN, keeper.catch_up()).await {
            Ok(Ok(())) => {
                keeping.again = None;
                return;
            }
            Ok(Err(error @ StoredError::Elsewhere { .. })) => {
                keeping.keeper = None;
                keeping.elsewhere = Some(stored_failed(error));
                self.stop.cancel();
                return;
            }
            Ok(Err(error)) => {
                if !is_transient(&error) {
                    keeping.keeper = None;
                }
                stored_failed(error).one_line()
            }
            Err(_) => "the store took too long".to_owned(),
        };
        keeping.again = Some(Instant::now() + AGAIN);
        if !std::mem::replace(&mut keeping.told, true) {
            no_copy(&why, &self.terminal);
        }
    }
}

fn is_transient(error: &StoredError) -> bool {
    matches!(error, StoredError::Store { source, .. } if source.is_transient())
}

fn no_copy(why: &str, terminal: &Terminal) {
    terminal.warn(&format!(
        "the journal is kept in its folder alone, and the restore goes on: {why}"
    ));
}

/// A failure of the copy, with the exit code that it means.
fn stored_failed(error: StoredError) -> Failure {
    let exit = match &error {
        StoredError::Elsewhere { .. } => Some(Exit::Refused),
        StoredError::NoSuch { .. } => Some(Exit::NotFound),
        StoredError::Damaged { .. } => Some(Exit::Damaged),
        StoredError::Store {
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

/// Lays the copy of the journal of `restore` into `folder`: its path, and its head.
pub(crate) async fn fetched(
    restore: &str,
    folder: &Path,
    given: &Given,
    frame: &Frame,
) -> Result<(PathBuf, Head), Failure> {
    let opened = frame.or_cancelled(open(given, frame)).await?;
    let found = async {
        let stored = Stored::of(&opened.store, restore).await;
        let stored = stored.map_err(stored_failed)?;
        let head = stored.head().await.map_err(stored_failed)?;
        let head = head.ok_or_else(|| {
            stored_failed(StoredError::NoSuch {
                restore: restore.to_owned(),
            })
        })?;
        Ok((stored, head))
    };
    let (stored, head) = frame.or_cancelled(found).await?;
    let laid = lay(&opened, &stored, &head, folder, frame);
    Ok((frame.or_cancelled(laid).await?, head))
}

async fn lay(
    opened: &Opened,
    stored: &Stored,
    head: &Head,
    folder: &Path,
    frame: &Frame,
) -> Result<PathBuf, Failure> {
    // Its key opens the copy, so it must be the one that somebody trusted vouches for.
    let id = head.restore_point.id.to_string();
    let point = opened.find(&id, &Needs::Nothing, frame).await?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let unlocked = unlock(&opened.store, &point, &identities).await?;
    let (_, opener) = unlocked
        .of_journals()
        .ok_or_else(|| Failure::message(Exit::Refused, "no identity opens the journal"))?;
    stored.lay(opener, folder).await.map_err(stored_failed)
}
