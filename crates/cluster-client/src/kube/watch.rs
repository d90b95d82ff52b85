//! Watches that report changes of objects that an export would take.
//!
//! There is one watch for each kind, of the heads of objects only: no value is transferred. A watch keeps
//! the revision up to which it has reported; the objects it reported are recorded with the kept objects. When a watch has no position, at its start or after a break that was too long, any object of
//! the kind may have changed, and it reports that.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, Aborted};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connect::KubeOptions;
use super::discover::{Discovery, discover};
use super::failure::KubeError;
use super::kept_objects::{KeptObjects, ObjectKeeper};
use super::kind::Kind;
use super::scope::{CONFIG_MAPS, CRDS, SECRETS, noise};
use super::select::{KindDestination, KindScope, Selection};
use backup_core::archive::ResourceName;
use backup_core::id::ComponentName;

mod affected;
mod connection;
mod watcher;

use affected::AffectedComponents;
use connection::WatchConnection;
use watcher::KindWatcher;

/// Maximum number of watched kinds: each costs a connection. A Butler cluster with everything that the
/// platform brings has about 150.
pub const MOST: usize = 300;
/// Kinds whose position is queried at the same time; discovery uses the same number.
const AT_ONCE: usize = 4;
/// Delay after a new definition: it is served within a second, and seldom comes alone.
const SETTLE: Duration = Duration::from_secs(1);
/// Interval of discovery when no definition changes.
const DISCOVER_EVERY: Duration = Duration::from_mins(10);
/// First and longest pause after a failed discovery.
const DISCOVER_AGAIN: Duration = Duration::from_secs(1);
const DISCOVER_AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// Selection of the watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Objects that an export takes.
    pub selection: Selection,
    /// Components whose changes are reported. Those outside the Kubernetes API are ignored.
    pub components: BTreeSet<ComponentName>,
}

/// Change that a watch reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Components that an export would find changed.
    pub components: Vec<ComponentName>,
    /// Description of the change: a kind and a name, never a value.
    pub what: String,
}

/// State of a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    /// It receives changes.
    Watching,
    /// It is interrupted, and later continues at its position.
    Broken(String),
    /// The server does not permit or support the watch. It is tried again from time to time.
    Refused(String),
}

/// Receiver of the watches' reports.
pub trait WatchListener: Send + Sync {
    /// Called when something changed.
    fn changed(&self, change: Change);
    /// Called when the state of the watch on `kind`, which concerns `components`, changes.
    fn state(&self, kind: &str, components: &[ComponentName], state: WatchState);
    /// Called when the watch on `kind` received an answer, even if nothing changed.
    fn heard(&self, kind: &str);
    /// Called when the watch on `kind` had lost its position (410) and has started again.
    fn lost(&self, kind: &str);
    /// Called when there is no watch on `kind` any more.
    fn ended(&self, kind: &str);
}

/// Running watches, each with the version of its kind.
type WatchHandles = BTreeMap<ResourceName, (AbortHandle, String)>;
type RunningWatches<'a> =
    FuturesUnordered<Pin<Box<dyn Future<Output = Result<(), Aborted>> + Send + 'a>>>;

/// Watches until it is dropped. Records its reports in `kept`, which no other watches may use.
pub async fn watch(
    options: &KubeOptions,
    wanted: &WatchOptions,
    kept: &KeptObjects,
    listener: &dyn WatchListener,
) {
    let context = WatchContext {
        connection: WatchConnection::new(options.clone()),
        wanted,
        keeper: kept.keeper(),
        listener,
        beginning: Semaphore::new(AT_ONCE),
        defined: Notify::new(),
    };
    let mut handles = WatchHandles::new();
    let mut running: RunningWatches<'_> = FuturesUnordered::new();
    let mut failures: u32 = 0;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                // Watches continue meanwhile: discovery of a large cluster takes seconds.
                let found = discover_while_watching(&context, &mut running).await;
                match found {
                    Ok(found) => {
                        failures = 0;
                        next = Instant::now() + DISCOVER_EVERY;
                        adjust(&context, found, &mut handles, &running);
                    }
                    Err(error) => {
                        let pause = DISCOVER_AGAIN.saturating_mul(1 << failures.min(8));
                        next = Instant::now() + pause.min(DISCOVER_AGAIN_AT_MOST);
                        failures = failures.saturating_add(1);
                        context.connection.renew().await;
                        let all = context.all_components();
                        listener.state(DISCOVERY, &all, WatchState::Broken(error.line()));
                    }
                }
            }
            () = context.defined.notified() => {
                next = next.min(Instant::now() + SETTLE);
            }
            // A watch ends only when it is aborted.
            Some(_) = running.next(), if !running.is_empty() => {}
        }
    }
}

/// Name under which the state of discovery is reported.
const DISCOVERY: &str = "kinds";

/// State shared by all watches.
struct WatchContext<'a> {
    connection: WatchConnection,
    wanted: &'a WatchOptions,
    keeper: &'a dyn ObjectKeeper,
    listener: &'a dyn WatchListener,
    beginning: Semaphore,
    /// Signal that a definition was created, changed or deleted.
    defined: Notify,
}

impl WatchContext<'_> {
    fn all_components(&self) -> Vec<ComponentName> {
        self.wanted.components.iter().cloned().collect()
    }
}

/// Discovers while watches continue.
async fn discover_while_watching(
    context: &WatchContext<'_>,
    running: &mut RunningWatches<'_>,
) -> Result<Discovery, KubeError> {
    let found = async {
        let api = context.connection.api().await?;
        discover(&api, None).await
    };
    let mut found = std::pin::pin!(found);
    loop {
        tokio::select! {
            found = &mut found => return found,
            Some(_) = running.next(), if !running.is_empty() => {}
        }
    }
}

/// Starts watches on new kinds, and ends those on kinds that are gone.
fn adjust<'a>(
    context: &'a WatchContext<'a>,
    found: Discovery,
    handles: &mut WatchHandles,
    running: &RunningWatches<'a>,
) {
    let mut kinds: Vec<(Kind, AffectedComponents)> = Vec::new();
    let mut left = 0_usize;
    for kind in found.kinds {
        let Some(affected) = affected(context.wanted, &kind) else {
            continue;
        };
        if kinds.len() < MOST {
            kinds.push((kind, affected));
        } else {
            left = left.saturating_add(1);
        }
    }
    handles.retain(|resource, (handle, version)| {
        let same = |kind: &Kind| kind.resource == *resource && kind.version == *version;
        let stays = kinds.iter().any(|(kind, _)| same(kind));
        if !stays {
            handle.abort();
            context.keeper.watch_ended(resource);
            context.listener.ended(resource.as_str());
        }
        stays
    });
    for (number, (kind, affected)) in kinds.into_iter().enumerate() {
        let resource = kind.resource.clone();
        if handles.contains_key(&resource) {
            continue;
        }
        let (handle, registration) = AbortHandle::new_pair();
        handles.insert(resource, (handle, kind.version.clone()));
        let watcher = async move {
            KindWatcher::new(context, &kind, affected, number)
                .forever()
                .await;
        };
        running.push(Abortable::new(watcher, registration).boxed());
    }
    if left > 0 {
        let text = format!("{left} kinds are not watched: at most {MOST} can be watched");
        let all = context.all_components();
        context
            .listener
            .state(DISCOVERY, &all, WatchState::Refused(text));
    } else {
        context.listener.ended(DISCOVERY);
    }
}

/// Returns the components that changes of a kind concern; `None` if it needs no watch.
fn affected(wanted: &WatchOptions, kind: &Kind) -> Option<AffectedComponents> {
    let name = kind.resource.as_str();
    // Even if the selection names it: such kinds change all the time.
    if noise(name).is_some() || !kind.can_list {
        return None;
    }
    let destination = match (wanted.selection.scope(kind), name) {
        // Sealing keys and kubeconfigs are taken whatever is selected.
        (_, SECRETS) => KindDestination::Secrets,
        (KindScope::Take(destination), _) => destination,
        (KindScope::LeaveOut(_), _) => return None,
    };
    let affected = AffectedComponents::new(kind, destination);
    // Definitions announce new kinds.
    (!affected.all(wanted).is_empty() || (name == CRDS && watches_resources(wanted)))
        .then_some(affected)
}

fn watches_resources(wanted: &WatchOptions) -> bool {
    wanted.components.contains(&ComponentName::resources())
}

/// Reports whether the kind is Secrets or ConfigMaps, whose objects go to several components.
fn has_places(kind: &Kind) -> bool {
    matches!(kind.resource.as_str(), SECRETS | CONFIG_MAPS)
}
