//! Reader of the objects of one kind: from a list, or from the kept objects.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::cache::{CachedPages, Drift, ListRecorder, ObjectCache, RecordFailure};
use super::failure::KubeError;
use super::kind::Kind;
use super::list::{Listing, Page};
use super::request::Api;
use super::skipping_reader::SkippingReader;
use backup_core::archive::ResourceName;
use backup_core::format::export::{Consistency, Lost, Watched};
use backup_core::format::manifest::{Finding, Severity};

/// Time for which all lists of a run together may wait for outstanding reports of the watches, which
/// usually take milliseconds.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// Use of the object cache by one run.
#[derive(Debug)]
pub struct RunCache {
    objects: Arc<ObjectCache>,
    /// Whether everything is listed again regardless.
    relist: bool,
    run: Mutex<RunState>,
}

/// State of the cache's use in this run.
#[derive(Debug, Default)]
struct RunState {
    /// Kinds whose lists were recorded: once per run is enough.
    recorded: BTreeSet<ResourceName>,
    /// Time until which lists wait; set by the first that has to.
    deadline: Option<Instant>,
    /// Whether it was already reported that nothing can be kept.
    told: bool,
    findings: Vec<Finding>,
}

impl RunCache {
    /// Creates the use of a cache by one run. The run takes the kept objects as far as they are valid;
    /// with `relist` it lists everything and corrects them.
    #[must_use]
    pub fn new(objects: Arc<ObjectCache>, relist: bool) -> Self {
        Self {
            objects,
            relist,
            run: Mutex::default(),
        }
    }

    fn run(&self) -> MutexGuard<'_, RunState> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a run on this cluster and this version of its API server.
    pub(super) async fn begin(&self, uid: &str, version: &str) {
        self.objects.set_origin(uid, version);
        self.objects.compact().await;
    }

    fn record(&self, kind: &Kind) -> Option<ListRecorder> {
        if self.run().recorded.contains(&kind.resource) {
            return None;
        }
        self.objects.record(kind)
    }

    /// Records a list that was read to its end.
    pub(super) async fn recorded(&self, kind: &Kind, recorder: ListRecorder) {
        let deadline = {
            let mut run = self.run();
            run.recorded.insert(kind.resource.clone());
            let until = Instant::now() + REPORT_WAIT;
            *run.deadline.get_or_insert(until)
        };
        match recorder.finish(deadline).await {
            Ok(Drift { objects: 0, .. }) => {}
            Ok(Drift { objects, first }) => self.run().findings.push(Finding {
                severity: Severity::Warning,
                object: kind.resource.to_string(),
                cause: format!(
                    "its list differs from its watch in {objects} objects, {first} among them: restore \
                     points for changes have an older state of them"
                ),
                remedy: "nothing to do for this restore point, which was listed; if this happens again, \
                         schedule the component more often by cron, and please report it"
                    .to_owned(),
            }),
            Err(RecordFailure::Odd(why)) => {
                tracing::debug!(kind = %kind.resource, why, "its list cannot be kept");
            }
            Err(RecordFailure::Scratch(why)) => {
                let mut run = self.run();
                if !std::mem::replace(&mut run.told, true) {
                    run.findings.push(Finding {
                        severity: Severity::Warning,
                        object: "scratch file".to_owned(),
                        cause: format!(
                            "what was read cannot be kept for the next run, which lists it again: \
                             {why}"
                        ),
                        remedy: "give the daemon a folder with free space: set TMPDIR".to_owned(),
                    });
                }
            }
        }
    }

    /// Takes the findings of this run.
    pub(super) fn findings(&self) -> Vec<Finding> {
        std::mem::take(&mut self.run().findings)
    }
}

/// Reader of a kind from its start to its end.
pub(super) struct KindReader<'a> {
    api: &'a Api,
    kind: &'a Kind,
    selector: Option<&'a str>,
    cache: Option<&'a RunCache>,
    from: ReaderSource<'a>,
    /// Reason why it is listed although it was to be taken from the kept objects.
    reason: Option<String>,
    recorder: Option<ListRecorder>,
}

enum ReaderSource<'a> {
    List(Listing<'a>),
    Cache(CachedPages),
    /// The list failed on single objects.
    Skipping(Box<SkippingReader<'a>>),
}

impl<'a> KindReader<'a> {
    /// Prepares the reader; lists nothing yet.
    pub(super) async fn begin(
        api: &'a Api,
        kind: &'a Kind,
        selector: Option<&'a str>,
        cache: Option<&'a RunCache>,
    ) -> Self {
        // Label selectors are applied by the server: kept objects of one selection do not fit another.
        let cache = cache.filter(|_| selector.is_none());
        let mut reading = Self {
            api,
            kind,
            selector,
            cache,
            from: ReaderSource::List(Listing::new(api, kind, selector)),
            reason: None,
            recorder: None,
        };
        let Some(cache) = cache else {
            return reading;
        };
        if !cache.relist {
            match cache.objects.current(api, kind).await {
                Ok(snapshot) => {
                    reading.from = ReaderSource::Cache(CachedPages::new(snapshot));
                    return reading;
                }
                Err(why) => reading.set_reason(why),
            }
        }
        reading
    }

    /// Records its objects for the next run, if they are listed. Must be called before the first page, so
    /// that changes during the list are not missed.
    pub(super) fn record(mut self) -> Self {
        if let (ReaderSource::List(_), Some(cache)) = (&self.from, self.cache) {
            self.recorder = cache.record(self.kind);
        }
        self
    }

    fn set_reason(&mut self, why: String) {
        tracing::debug!(kind = %self.kind.resource, why, "listed again");
        self.reason = Some(why);
    }

    /// Sets the number of objects per page, if it is listed.
    pub(super) fn with_limit(mut self, limit: usize) -> Self {
        if let ReaderSource::List(listing) = self.from {
            self.from = ReaderSource::List(listing.with_limit(limit));
        }
        self
    }

    pub(super) fn kind(&self) -> &'a Kind {
        self.kind
    }

    /// Takes the recorder of the objects for the next run; `None` if they need not be recorded.
    pub(super) fn recorder(&mut self) -> Option<ListRecorder> {
        self.recorder.take()
    }

    /// Reports whether it had to start again: objects up to the last one come twice.
    pub(super) fn restarted(&self) -> bool {
        match &self.from {
            ReaderSource::List(listing) => listing.restarted(),
            ReaderSource::Cache(_) => false,
            ReaderSource::Skipping(pieces) => pieces.restarted,
        }
    }

    /// Returns the next page; `None` at the end. Skips objects on which a list fails.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubeError> {
        match self.next_whole().await {
            // Extension APIs may not keep to the order of names, nor use tokens that name a key.
            Err(e) if e.is_internal() && !self.kind.aggregated => self.skip_unreadable(e).await,
            answer => answer,
        }
    }

    /// Returns the next page; fails if the list fails on an object.
    pub(super) async fn next_whole(&mut self) -> Result<Option<Page>, KubeError> {
        let failed = match &mut self.from {
            ReaderSource::List(listing) => return listing.next().await,
            ReaderSource::Skipping(pieces) => return pieces.next().await,
            ReaderSource::Cache(pages) => match pages.next().await {
                Ok(page) => return Ok(page),
                Err(failed) => failed,
            },
        };
        // The list continues after the last object that could be read.
        if let Some(cache) = self.cache {
            cache.objects.unreadable(&self.kind.resource, &failed);
        }
        self.set_reason(format!("the scratch file could not be read: {failed}"));
        let listing = Listing::new(self.api, self.kind, self.selector).into_repetition();
        let mut listing = Box::new(listing);
        let page = listing.next().await;
        self.from = ReaderSource::List(*listing);
        page
    }

    /// Continues with a reader that skips the objects on which the list failed with `error`.
    pub(super) async fn skip_unreadable(
        &mut self,
        error: KubeError,
    ) -> Result<Option<Page>, KubeError> {
        let ReaderSource::List(listing) = &self.from else {
            return Err(error);
        };
        let kind = &self.kind.resource;
        tracing::debug!(%kind, error = %error, "its list fails; its objects are read in pieces");
        let pieces = SkippingReader::after(self.api, self.kind, self.selector, listing, &error);
        let mut pieces = Box::new(pieces);
        let page = pieces.next().await;
        self.from = ReaderSource::Skipping(pieces);
        page
    }

    /// Returns objects that exist and could not be read.
    pub(super) fn lost(&self) -> &[Lost] {
        match &self.from {
            ReaderSource::Skipping(pieces) => &pieces.lost,
            ReaderSource::List(_) | ReaderSource::Cache(_) => &[],
        }
    }

    /// Returns the number of objects read in another version because no webhook converts them now.
    pub(super) fn unconverted(&self) -> u64 {
        match &self.from {
            ReaderSource::Skipping(pieces) => pieces.unconverted,
            ReaderSource::List(_) | ReaderSource::Cache(_) => 0,
        }
    }

    /// Returns why the list failed, if objects were read nevertheless.
    pub(super) fn list_failed(&self) -> Option<String> {
        match &self.from {
            ReaderSource::Skipping(pieces) => Some(pieces.reason.clone()),
            ReaderSource::List(_) | ReaderSource::Cache(_) => None,
        }
    }

    /// Reports whether the kind's definition still exists.
    pub(super) async fn is_defined(&self) -> Result<bool, KubeError> {
        Listing::new(self.api, self.kind, None).is_defined().await
    }

    /// Returns the revision reported at its start.
    pub(super) fn resource_version(&self) -> Option<String> {
        match &self.from {
            ReaderSource::List(listing) => listing.resource_version.clone(),
            ReaderSource::Cache(pages) => Some(pages.snapshot().place.to_string()),
            ReaderSource::Skipping(pieces) => pieces.resource_version.clone(),
        }
    }

    pub(super) fn consistency(&self) -> Consistency {
        match &self.from {
            ReaderSource::List(listing) => listing.consistency,
            ReaderSource::Cache(pages) if pages.snapshot().fetched == 0 => Consistency::OneRevision,
            ReaderSource::Cache(_) | ReaderSource::Skipping(_) => Consistency::Continued,
        }
    }

    /// Returns the manifest's entry for a kind that was not listed.
    pub(super) fn watched(&self) -> Option<Watched> {
        match &self.from {
            ReaderSource::List(_) | ReaderSource::Skipping(_) => None,
            ReaderSource::Cache(pages) => Some(Watched {
                fetched: pages.snapshot().fetched,
                gone: pages.snapshot().gone,
            }),
        }
    }

    /// Returns the reason why it was listed although kept objects exist.
    pub(super) fn listed_because(&self) -> Option<String> {
        self.reason.clone()
    }
}
