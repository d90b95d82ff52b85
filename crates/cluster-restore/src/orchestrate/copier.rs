//! Copy of a journal in the store, updated during the work, and used where the folder is lost.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backup_core::causes;
use backup_core::read::unlock;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    IdentitySource, OrchestrateError, PointFinder, Reporter, Requirement, RestoreContext, plan_file,
};
use crate::JournalReplica;
use crate::journal::Journal;
use crate::journal_replica::{ReplicaError, ReplicaHead, ReplicaKeeper, StoredJournal};
use crate::plan::Plan;

/// Interval between updates of the copy. Lines that a crash loses from the copy are checked again anyway.
const EVERY: Duration = Duration::from_secs(2);
/// Pause after a failure, so that a store that is away is not asked all the time.
const AGAIN: Duration = Duration::from_secs(60);
/// Time limit for the first and for the last lines; the restore waits for these.
const WITHIN: Duration = Duration::from_secs(20);

/// Copy of a journal that is being written.
pub(super) struct JournalCopier {
    state: Mutex<CopierState>,
    /// Token that ends the work if somebody else continues the restore.
    stop: CancellationToken,
    reporter: Arc<dyn Reporter>,
}

struct CopierState {
    /// Keeper of the copy; `None` where the copy cannot be sealed or was given up.
    keeper: Option<ReplicaKeeper>,
    /// Time of the next try after a failure.
    again: Option<Instant>,
    told: bool,
    elsewhere: Option<ReplicaError>,
}

impl JournalCopier {
    /// Begins the copy of `journal`. Warns if it cannot be sealed.
    pub(super) async fn of(
        context: &RestoreContext,
        plan: &Plan,
        journal: &Journal,
    ) -> Result<Arc<Self>, OrchestrateError> {
        let setup = &context.setup;
        let store = &setup.points.store;
        let identities = setup.identities()?;
        let unlocking = async { Ok(unlock(store, &context.point, &identities).await) };
        let path = journal.path();
        let (keeper, told) = match setup.or_cancelled(unlocking).await? {
            Ok(unlocked) => {
                let keeper = ReplicaKeeper::new(
                    Arc::clone(store),
                    Arc::new(unlocked),
                    (plan, &plan_file(path)),
                    (&journal.state.restore, path),
                );
                (Some(keeper), false)
            }
            Err(error) => {
                no_copy(&causes::line_once(&error), setup.reporter.as_ref());
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
            stop: setup.cancel.clone(),
            reporter: Arc::clone(&setup.reporter),
        }))
    }

    /// Does `work`, and updates the copy meanwhile. If somebody else continues the same restore, the work
    /// ends, or does not begin.
    pub(super) async fn run_alongside<T>(
        &self,
        work: impl Future<Output = Result<T, OrchestrateError>>,
    ) -> Result<T, OrchestrateError> {
        // The first update claims the restore, before anything is done.
        self.catch_up().await;
        if let Some(error) = self.elsewhere().await {
            return Err(error.into());
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
            Some(error) => Err(error.into()),
            None => ended,
        }
    }

    async fn elsewhere(&self) -> Option<ReplicaError> {
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
                state.elsewhere = Some(error);
                self.stop.cancel();
                return;
            }
            Ok(Err(error)) => {
                if !is_transient(&error) {
                    state.keeper = None;
                }
                causes::line_once(&error)
            }
            Err(_) => "the store took too long".to_owned(),
        };
        state.again = Some(Instant::now() + AGAIN);
        if !std::mem::replace(&mut state.told, true) {
            no_copy(&why, self.reporter.as_ref());
        }
    }
}

fn is_transient(error: &ReplicaError) -> bool {
    matches!(error, ReplicaError::Store { source, .. } if source.is_transient())
}

fn no_copy(why: &str, reporter: &dyn Reporter) {
    reporter.warn(&format!(
        "the journal is kept only in its folder, and the restore continues: {why}"
    ));
}

/// Writes the copy of the journal of `restore` into `folder`; returns its path and its head.
///
/// # Errors
/// When the store has no such copy, or no identity opens it.
pub async fn fetch_copy(
    restore: &str,
    folder: &Path,
    points: &PointFinder,
    identities: &dyn IdentitySource,
) -> Result<(PathBuf, ReplicaHead), OrchestrateError> {
    let stored = StoredJournal::of(&points.store, restore).await?;
    let head = stored.head().await?;
    let head = head.ok_or_else(|| ReplicaError::NoSuch {
        restore: restore.to_owned(),
    })?;
    // The restore point's key opens the copy, so the restore point must have a trusted signature.
    let id = head.restore_point.id.to_string();
    let point = points.find(&id, &Requirement::Nothing).await?;
    let identities = identities
        .identities()
        .map_err(OrchestrateError::Identities)?;
    let unlocked = unlock(&points.store, &point, &identities).await;
    let unlocked = unlocked.map_err(OrchestrateError::Unlock)?;
    let (_, opener) = unlocked
        .of_journals()
        .ok_or(OrchestrateError::SealedJournal)?;
    Ok((stored.write_into(opener, folder).await?, head))
}
