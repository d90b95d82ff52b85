//! Single watch: it starts at a revision, receives later changes, and continues there after a break.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use http::StatusCode;
use serde::Deserialize;
use tokio::time::Instant;

use super::super::failure::KubeError;
use super::super::kind::Kind;
use super::super::object::Meta;
use super::super::request::{Api, parse};
use super::super::select::KindDestination;
use super::affected::AffectedComponents;
use super::{Change, WatchContext, WatchState};

/// Duration of a watch before the server ends it, and the range of extra seconds, so that not all watches
/// start again at once. A connection that died silently is noticed at this time.
const LASTS: Duration = Duration::from_secs(150);
const SPREAD: u64 = 60;
/// Longest tolerated delay of the end of a watch.
const GRACE: Duration = Duration::from_secs(20);
/// Duration after which a watch counts as healthy.
const WELL_AFTER: Duration = Duration::from_secs(2);
/// First and longest pause after a break: a key that was created while the API server was away is noticed
/// this much after the server is back.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pause after the server has refused: rights are granted by people.
const REFUSED_PAUSE: Duration = Duration::from_mins(5);
/// Refusals that may come from a server that has just started and has not read the access rules yet.
const REFUSALS: u32 = 10;
/// Largest page of one head, or event: an object is below 3 MiB with all the fields left out here.
const MAX_LINE: usize = 3 << 20;

/// One watch; see the module.
pub(super) struct KindWatcher<'a> {
    context: &'a WatchContext<'a>,
    kind: &'a Kind,
    affected: AffectedComponents,
    lasts: Duration,
    /// Revision up to which it has reported.
    place: Option<String>,
    /// Server revision after a break; the watch has missed nothing once it reaches it.
    now: Option<String>,
    /// Whether the last try failed.
    failed_before: bool,
    /// Whether it ever had a position.
    had_position: bool,
    /// Time since which it receives changes.
    up: Option<Instant>,
    /// Number of refusals in a row.
    refusals: u32,
}

#[derive(Deserialize)]
struct HeadList {
    metadata: HeadListMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadListMeta {
    #[serde(default)]
    resource_version: String,
}

#[derive(Deserialize)]
struct WatchEvent {
    #[serde(rename = "type")]
    what: String,
    object: EventObject,
}

#[derive(Deserialize)]
struct EventObject {
    #[serde(default)]
    metadata: Meta,
    /// Status code, if the event is an error.
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

impl<'a> KindWatcher<'a> {
    pub(super) fn new(
        context: &'a WatchContext<'a>,
        kind: &'a Kind,
        affected: AffectedComponents,
        number: usize,
    ) -> Self {
        let number = u64::try_from(number).unwrap_or(0);
        let more = number.wrapping_mul(7).checked_rem(SPREAD).unwrap_or(0);
        Self {
            context,
            kind,
            affected,
            lasts: LASTS.saturating_add(Duration::from_secs(more)),
            place: None,
            now: None,
            failed_before: false,
            had_position: false,
            up: None,
            refusals: 0,
        }
    }

    fn name(&self) -> &str {
        self.kind.resource.as_str()
    }

    fn report_state(&self, state: WatchState) {
        if state != WatchState::Watching {
            self.context.keeper.disconnected(self.kind);
        }
        let components = self.affected.all(self.context.wanted);
        self.context.listener.state(self.name(), &components, state);
    }

    /// Watches until it is dropped.
    pub(super) async fn forever(mut self) {
        let mut pauses = pauses();
        loop {
            self.up = None;
            let result = self.once().await;
            let well = self.up.is_some_and(|up| up.elapsed() > WELL_AFTER);
            if well {
                pauses = self::pauses();
            }
            let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
            self.failed_before = result.is_err();
            match result {
                Ok(()) if well => {}
                Ok(()) => tokio::time::sleep(pause).await,
                Err(KubeError::Gone { .. }) => {
                    self.forget();
                    self.context.listener.lost(self.name());
                    if !well {
                        tokio::time::sleep(pause).await;
                    }
                }
                Err(error) if is_refusal(&error) => {
                    self.report_state(WatchState::Refused(error.line()));
                    self.refusals = self.refusals.saturating_add(1);
                    let soon = self.refusals < REFUSALS;
                    tokio::time::sleep(if soon { pause } else { REFUSED_PAUSE }).await;
                }
                Err(error) => {
                    if matches!(
                        error,
                        KubeError::TooLarge { .. } | KubeError::Malformed { .. }
                    ) {
                        // It would fail again at the same event.
                        self.forget();
                    }
                    self.report_state(WatchState::Broken(error.line()));
                    tokio::time::sleep(error.retry_after().unwrap_or(pause).max(pause)).await;
                    self.context.connection.renew().await;
                }
            }
        }
    }

    /// Discards the position.
    fn forget(&mut self) {
        self.place = None;
        self.context.keeper.watch_ended(&self.kind.resource);
    }

    /// Runs one watch request to its end.
    async fn once(&mut self) -> Result<(), KubeError> {
        let api = self.context.connection.api().await?;
        let place = self.begin(&api).await?;
        let path = self.kind.path();
        let lasts = self.lasts.as_secs();
        let watch = format!(
            "{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={lasts}\
             &resourceVersion={place}{}",
            self.selector()
        );
        let mut lines = api.lines(&watch).await?;
        self.up = Some(Instant::now());
        self.refusals = 0;
        self.context
            .keeper
            .connected(self.kind, self.now.take().as_deref());
        self.report_state(WatchState::Watching);
        let end = Instant::now() + self.lasts + GRACE;
        loop {
            let Ok(line) = tokio::time::timeout_at(end, lines.next(MAX_LINE)).await else {
                return Err(KubeError::Slow {
                    server: api.server.clone(),
                    path,
                    limit: self.lasts + GRACE,
                });
            };
            let Some(line) = line? else {
                return Ok(());
            };
            let event: WatchEvent = parse(&path, "event of a watch", &line)?;
            self.handle_event(&path, event)?;
        }
    }

    /// Returns the revision to watch from.
    async fn begin(&mut self, api: &Api) -> Result<String, KubeError> {
        if let Some(place) = self.place.clone() {
            // An etcd restored to an older state would report nothing until it has reached this revision.
            if !self.failed_before {
                return Ok(place);
            }
            let now = self.ask(api).await?;
            if !is_before(&now, &place) {
                self.now = Some(now);
                return Ok(place);
            }
            return Err(KubeError::Gone {
                path: self.kind.path(),
                token: None,
            });
        }
        let place = self.ask(api).await?;
        self.place = Some(place.clone());
        self.context.keeper.watch_started(self.kind, &place);
        // A list from now on contains all changes before this position.
        let what = if self.had_position {
            format!("the watch on {} began again", self.name())
        } else {
            format!("the watch on {} began", self.name())
        };
        self.had_position = true;
        self.changed(self.affected.all(self.context.wanted), what);
        Ok(place)
    }

    /// Returns the current revision.
    async fn ask(&self, api: &Api) -> Result<String, KubeError> {
        // The semaphore is not closed while the watches live.
        let _permit = self.context.beginning.acquire().await;
        let path = format!("{}?limit=1{}", self.kind.path(), self.selector());
        let bytes = api
            .heads()
            .with_short_retries()
            .bytes(&path, MAX_LINE)
            .await?;
        let heads: HeadList = parse(&path, "list", &bytes)?;
        let place = heads.metadata.resource_version;
        let is_one = !place.is_empty() && place.bytes().all(|b| b.is_ascii_alphanumeric());
        if is_one && place != "0" {
            return Ok(place);
        }
        Err(KubeError::Status {
            path,
            status: StatusCode::NOT_IMPLEMENTED,
            message: "its lists have no revision, so they cannot be watched".to_owned(),
            retry_after: None,
        })
    }

    fn selector(&self) -> String {
        // As in the export: Secrets of two components are taken whatever their labels are.
        let selector = self.context.wanted.selection.selector.as_deref();
        let selector =
            selector.filter(|_| self.affected.destination() == KindDestination::Resources);
        selector
            .map(super::super::list::selector_query)
            .unwrap_or_default()
    }

    fn handle_event(&mut self, path: &str, event: WatchEvent) -> Result<(), KubeError> {
        let EventObject {
            metadata: meta,
            code,
            message,
        } = event.object;
        if event.what == "ERROR" {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
            let path = path.to_owned();
            return Err(match status {
                StatusCode::GONE => KubeError::Gone { path, token: None },
                _ => KubeError::Status {
                    path,
                    status,
                    message,
                    retry_after: None,
                },
            });
        }
        self.context.listener.heard(self.name());
        if !meta.resource_version.is_empty() {
            self.place = Some(meta.resource_version.clone());
        }
        let happened = match event.what.as_str() {
            "ADDED" => "was made",
            "MODIFIED" => "was changed",
            "DELETED" => "was deleted",
            _ => {
                let keeper = self.context.keeper;
                keeper.report(self.kind, &meta.resource_version, None);
                return Ok(());
            }
        };
        let namespace = meta.namespace.as_deref();
        let namespace = namespace.map(|n| format!("{n}/")).unwrap_or_default();
        let object = (format!("{namespace}{}", meta.name), event.what == "DELETED");
        let keeper = self.context.keeper;
        keeper.report(self.kind, &meta.resource_version, Some(object));
        if self.affected.destination() == KindDestination::Crds {
            keeper.definition_changed(&meta.name);
            self.context.defined.notify_one();
        }
        let components = self
            .affected
            .of(self.context.wanted, &meta, event.what == "ADDED");
        let what = format!("{} {namespace}{} {happened}", self.name(), meta.name);
        self.changed(components, what);
        Ok(())
    }

    fn changed(&self, components: Vec<backup_core::id::ComponentName>, what: String) {
        if !components.is_empty() {
            self.context.listener.changed(Change { components, what });
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Reports whether an early retry is useless.
fn is_refusal(error: &KubeError) -> bool {
    const NEVER: [StatusCode; 4] = [
        StatusCode::BAD_REQUEST,
        StatusCode::METHOD_NOT_ALLOWED,
        StatusCode::NOT_ACCEPTABLE,
        StatusCode::NOT_IMPLEMENTED,
    ];
    match error {
        KubeError::Forbidden { .. } => true,
        KubeError::Status { status, .. } => NEVER.contains(status),
        _ => false,
    }
}

/// Reports whether one revision comes before another; revisions of etcd are numbers.
fn is_before(now: &str, place: &str) -> bool {
    match (now.parse::<u64>(), place.parse::<u64>()) {
        (Ok(now), Ok(place)) => now < place,
        _ => false,
    }
}
