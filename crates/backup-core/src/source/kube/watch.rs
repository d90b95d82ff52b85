//! Tells when something changes that an export would take.
//!
//! One watch for each kind, of the heads of objects alone: no value passes. A watch keeps the revision
//! up to which it has heard; which objects it told of is noted beside what is kept of them. Where it has
//! lost its place, at its beginning as after a break that was too long, everything of the kind may have
//! changed, and that is what it tells.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use futures::future::{AbortHandle, Abortable, Aborted};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connect::KubeOptions;
use super::discover::{Discovered, Kind, discover};
use super::failure::KubeError;
use super::kept::Kept;
use super::scope::{CONFIG_MAPS, CRDS, SECRETS, noise};
use super::select::{Home, Scope, Selection};
use crate::archive::ResourceName;
use crate::id::ComponentName;

mod concern;
mod follow;
mod reach;

use concern::Concern;
use follow::Follow;
use reach::Reach;

/// Kinds that are watched at most: each costs a connection. A Butler cluster with everything that the
/// platform brings has about 150.
pub const MOST: usize = 300;
/// Kinds whose place is asked for at the same time: what discovery does, too.
const AT_ONCE: usize = 4;
/// A definition is served within a second, and seldom comes alone.
const SETTLE: Duration = Duration::from_secs(1);
/// How often kinds are discovered without anybody having told of a new one.
const DISCOVER_EVERY: Duration = Duration::from_mins(10);
/// How soon again after kinds could not be discovered, and at most later on.
const DISCOVER_AGAIN: Duration = Duration::from_secs(1);
const DISCOVER_AGAIN_AT_MOST: Duration = Duration::from_secs(30);

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchOptions {
    /// Which objects an export takes.
    pub selection: Selection,
    /// The components whose changes are wanted. Those that are not of the Kubernetes API are left out.
    pub components: BTreeSet<ComponentName>,
}

/// Something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The components that an export would find changed.
    pub components: Vec<ComponentName>,
    /// What it was, in words: a kind and a name, never a value.
    pub what: String,
}

/// How a watch does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchState {
    /// It hears what happens.
    Watching,
    /// It does not at the moment, and goes on from where it was when it does again.
    Broken(String),
    /// The server does not let us watch, or cannot do it. It is asked again now and then.
    Refused(String),
}

/// Who is told.
pub trait WatchListener: Send + Sync {
    /// Something changed.
    fn changed(&self, change: Change);
    /// The watch on `kind`, which concerns `components`, does better or worse than before.
    fn state(&self, kind: &str, components: &[ComponentName], state: WatchState);
    /// The watch on `kind` has heard from the server, be it that nothing happened.
    fn heard(&self, kind: &str);
    /// The watch on `kind` had lost its place (410) and has begun anew.
    fn lost(&self, kind: &str);
    /// There is no watch on `kind` any more.
    fn ended(&self, kind: &str);
}

/// The watches, each with the version of its kind.
type Handles = BTreeMap<ResourceName, (AbortHandle, String)>;
type Running<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Result<(), Aborted>> + Send + 'a>>>;

/// Watches until it is dropped; what it hears is noted in `kept`, which other watches may not use.
pub async fn watch(
    options: &KubeOptions,
    wanted: &WatchOptions,
    kept: &Kept,
    listener: &dyn WatchListener,
) {
    let ground = Ground {
        reach: Reach::new(options.clone()),
        wanted,
        kept,
        listener,
        beginning: Semaphore::new(AT_ONCE),
        defined: Notify::new(),
    };
    let mut handles = Handles::new();
    let mut running: Running<'_> = FuturesUnordered::new();
    let mut failures: u32 = 0;
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(next) => {
                // Watches go on meanwhile: a large cluster takes seconds.
                let found = discovered(&ground, &mut running).await;
                match found {
                    Ok(found) => {
                        failures = 0;
                        next = Instant::now() + DISCOVER_EVERY;
                        adjust(&ground, found, &mut handles, &running);
                    }
                    Err(error) => {
                        let pause = DISCOVER_AGAIN.saturating_mul(1 << failures.min(8));
                        next = Instant::now() + pause.min(DISCOVER_AGAIN_AT_MOST);
                        failures = failures.saturating_add(1);
                        ground.reach.renew().await;
                        let all = ground.all_components();
                        listener.state(DISCOVERY, &all, WatchState::Broken(error.line()));
                    }
                }
            }
            () = ground.defined.notified() => {
                next = next.min(Instant::now() + SETTLE);
            }
            // Their end is that they were told to.
            Some(_) = running.next(), if !running.is_empty() => {}
        }
    }
}

/// What the state of discovery is told under.
const DISCOVERY: &str = "kinds";

/// What all watches share.
struct Ground<'a> {
    reach: Reach,
    wanted: &'a WatchOptions,
    kept: &'a Kept,
    listener: &'a dyn WatchListener,
    beginning: Semaphore,
    /// A definition was made, changed or deleted.
    defined: Notify,
}

impl Ground<'_> {
    fn all_components(&self) -> Vec<ComponentName> {
        self.wanted.components.iter().cloned().collect()
    }
}

/// Discovers while watches go on.
async fn discovered(
    ground: &Ground<'_>,
    running: &mut Running<'_>,
) -> Result<Discovered, KubeError> {
    let found = async {
        let api = ground.reach.api().await?;
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

/// Begins watches on kinds that are new, and ends those on kinds that are gone.
fn adjust<'a>(
    ground: &'a Ground<'a>,
    found: Discovered,
    handles: &mut Handles,
    running: &Running<'a>,
) {
    let mut kinds: Vec<(Kind, Concern)> = Vec::new();
    let mut left = 0_usize;
    for kind in found.kinds {
        let Some(concern) = concern(ground.wanted, &kind) else {
            continue;
        };
        if kinds.len() < MOST {
            kinds.push((kind, concern));
        } else {
            left = left.saturating_add(1);
        }
    }
    handles.retain(|resource, (handle, version)| {
        let same = |kind: &Kind| kind.resource == *resource && kind.version == *version;
        let stays = kinds.iter().any(|(kind, _)| same(kind));
        if !stays {
            handle.abort();
            ground.kept.ended(resource);
            ground.listener.ended(resource.as_str());
        }
        stays
    });
    for (number, (kind, concern)) in kinds.into_iter().enumerate() {
        let resource = kind.resource.clone();
        if handles.contains_key(&resource) {
            continue;
        }
        let (handle, registration) = AbortHandle::new_pair();
        handles.insert(resource, (handle, kind.version.clone()));
        let follow = async move {
            Follow::new(ground, &kind, concern, number).forever().await;
        };
        running.push(Abortable::new(follow, registration).boxed());
    }
    if left > 0 {
        let text = format!("{left} kinds are not watched: {MOST} are the most");
        let all = ground.all_components();
        ground
            .listener
            .state(DISCOVERY, &all, WatchState::Refused(text));
    } else {
        ground.listener.ended(DISCOVERY);
    }
}

/// What changes of a kind concern; `None` if it needs no watch.
fn concern(wanted: &WatchOptions, kind: &Kind) -> Option<Concern> {
    let name = kind.resource.as_str();
    // Also if it was asked for by name: such kinds change all the time.
    if noise(name).is_some() || !kind.can_list {
        return None;
    }
    let home = match (wanted.selection.scope(kind), name) {
        // Sealing keys and kubeconfigs are taken whatever is selected.
        (_, SECRETS) => Home::Secrets,
        (Scope::Take(home), _) => home,
        (Scope::LeaveOut(_), _) => return None,
    };
    let concern = Concern::new(kind, home);
    // Definitions tell of new kinds.
    (!concern.all(wanted).is_empty() || (name == CRDS && watches_resources(wanted)))
        .then_some(concern)
}

fn watches_resources(wanted: &WatchOptions) -> bool {
    wanted.components.contains(&ComponentName::resources())
}

/// Whether heads of this kind are Secrets' or ConfigMaps', which go to several components.
fn has_places(kind: &Kind) -> bool {
    matches!(kind.resource.as_str(), SECRETS | CONFIG_MAPS)
}
