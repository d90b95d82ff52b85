//! Commands of `restore-cli`, one file for each.

use std::path::PathBuf;
use std::sync::Arc;

use backup_cli::config::{Config, ConfigError, ConfigFlags};
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::open::StoreAccess;
use backup_cli::program::Frame;
use backup_core::catalog::{CatalogError, ReadPolicy, RestorePoint};
use backup_core::crypt::{Identities, Trust, Verdict};
use backup_core::progress::Progress;
use backup_core::read::{ObjectReader, RestoreError, unlock};
use backup_core::store::Store;
use cluster_restore::orchestrate::PointFinder;

use crate::args::Command;

mod damage;
mod gaps;
mod kinds;
mod latest;
mod yaml;

pub(crate) mod audit;
pub(crate) mod diff;
pub(crate) mod fetch;
pub(crate) mod list;
pub(crate) mod plan;
pub(crate) mod prune;
mod recover;
pub(crate) mod resources;
pub(crate) mod restore;
pub(crate) mod resume;
pub(crate) mod runbook;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod verify_tenants;

/// Runs the requested command.
pub(crate) async fn run(command: &Command, frame: &Frame) -> Result<Exit, Failure> {
    match command {
        Command::List(args) => frame.or_cancelled(list::run(args, frame)).await,
        Command::Show(args) => frame.or_cancelled(show::run(args, frame)).await,
        Command::Resources(args) => resources::run(args, frame).await,
        Command::Diff(args) => diff::run(args, frame).await,
        Command::Verify(args) => verify::run(args, frame).await,
        Command::VerifyTenants(args) => {
            let asked = Box::pin(verify_tenants::run(args, frame));
            frame.or_cancelled(asked).await
        }
        Command::Fetch(args) => fetch::run(args, frame).await,
        Command::Plan(args) => Box::pin(plan::run(args, frame)).await,
        Command::Restore(args) => Box::pin(restore::run(args, frame)).await,
        Command::Status(args) => status::run(args, frame).await,
        Command::Resume(args) => Box::pin(resume::run(args, frame)).await,
        Command::Runbook(args) => frame.or_cancelled(runbook::run(args, frame)).await,
        Command::Prune(args) => frame.or_cancelled(prune::run(args, frame)).await,
        Command::Audit(args) => frame.or_cancelled(audit::run(args, frame)).await,
    }
}

/// Configuration and store, with which every command begins.
struct OpenedStore {
    config: Config,
    store: Arc<dyn Store>,
    /// View that decides which restore points count.
    view: ReadPolicy,
    /// Finder of restore points, which reports those that do not count.
    points: PointFinder,
}

/// Opens the store for reading; warns if any signature is trusted.
async fn open(given: &ConfigFlags, frame: &Frame) -> Result<OpenedStore, Failure> {
    let config = Config::load(given, frame.clock.now())?;
    let (url, trust) = match (config.need_store(), config.need_trust()) {
        (Ok(url), Ok(trust)) => (url, trust.clone()),
        (url, trust) => {
            let missing = url.err().into_iter().chain(trust.err());
            return Err(ConfigError::join(missing).into());
        }
    };
    let store = backup_cli::open::store(url, StoreAccess::Read, &frame.environment).await?;
    if matches!(trust, Trust::Anyone) {
        frame.terminal.warn(
            "signatures are not checked (trust is none): anyone who can write to the store can \
             make you restore what they like",
        );
    }
    let view = ReadPolicy {
        trust,
        now: frame.clock.now(),
    };
    let points = PointFinder::new(
        Arc::clone(&store),
        view.clone(),
        Arc::new(frame.terminal.clone()),
        frame.cancel.clone(),
    );
    Ok(OpenedStore {
        config,
        store,
        view,
        points,
    })
}

impl OpenedStore {
    /// Returns a reader of the objects of `point`, unlocked with one of `identities`.
    async fn reader(
        &self,
        point: &RestorePoint,
        identities: &Identities,
        reading: &ReadSettings,
        frame: &Frame,
    ) -> Result<ObjectReader, Failure> {
        let unlocking = async { Ok(unlock(&self.store, point, identities).await?) };
        let unlocked = frame.or_cancelled(unlocking).await?;
        Ok(ObjectReader {
            store: Arc::clone(&self.store),
            point: Arc::new(point.clone()),
            unlocked: Arc::new(unlocked),
            scratch: reading.scratch.clone(),
            progress: Arc::clone(&reading.progress),
            cancel: frame.cancel.clone(),
        })
    }
}

/// Settings that commands which read objects share in addition to the store.
struct ReadSettings {
    scratch: PathBuf,
    progress: Arc<dyn Progress>,
}

/// Makes a failure to read objects, with a hint.
fn read_failure(error: RestoreError) -> Failure {
    let full = disk_is_full(&error);
    let failure = Failure::from(error);
    if full {
        return failure.hint("name a folder with more room with --scratch");
    }
    if failure.exit() == Exit::Damaged {
        return failure.hint(
            "look into another restore point of `restore-cli list`; `restore-cli audit` shows \
             which objects are damaged",
        );
    }
    failure
}

/// Warns of a restore point that no trusted key signed; it may still be shown.
fn warn_untrusted(point: &RestorePoint, frame: &Frame) {
    if let Some(why) = distrust(point.verdict) {
        let id = &point.entry.id;
        let warning = format!("do not restore from {id}: {why}");
        frame.terminal.warn(&warning);
    }
}

/// Reports whether a file could not be written for lack of room.
fn disk_is_full(error: &RestoreError) -> bool {
    matches!(error, RestoreError::File { source, .. } if is_full(source))
}

/// Reports whether a write failed for lack of room.
fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Returns the word for a verdict, in tables and in JSON.
fn signature(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Trusted => "trusted",
        Verdict::NotChecked => "not checked",
        Verdict::Unsigned => "unsigned",
        Verdict::Untrusted => "not by a trusted key",
        Verdict::Forged => "forged",
    }
}

/// Returns the reason why a verdict is not trust; `None` if the restore point may be used.
fn distrust(verdict: Verdict) -> Option<&'static str> {
    match verdict {
        Verdict::Trusted | Verdict::NotChecked => None,
        Verdict::Unsigned => Some("it has no signature, so anybody could have written it"),
        Verdict::Untrusted => Some("it is signed, but not by a key that was given with --trust"),
        Verdict::Forged => Some("a trusted key signed other bytes: its manifest was changed"),
    }
}

/// Makes a failure to read a named restore point; a restore point without a trusted signature is a refusal.
fn refused(error: CatalogError) -> Failure {
    let CatalogError::Distrusted { id, verdict } = &error else {
        return error.into();
    };
    let why = distrust(*verdict).unwrap_or("nobody vouches for it");
    let refused = format!("restore point {id} is not trusted: {why}");
    Failure::message(Exit::Refused, refused).hint(latest::TRUST)
}
