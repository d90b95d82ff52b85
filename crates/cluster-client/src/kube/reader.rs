//! Reader of the objects of one kind: from a list, or from the kept objects.

use super::failure::KubeError;
use super::kept_objects::{KeptObjectsUse, KeptPages, ListRecorder};
use super::kind::Kind;
use super::list::{Listing, Page};
use super::request::Api;
use super::skipping_reader::SkippingReader;
use backup_core::format::export::{Consistency, Lost, Watched};

/// Reader of a kind from its start to its end.
pub(super) struct KindReader<'a> {
    api: &'a Api,
    kind: &'a Kind,
    selector: Option<&'a str>,
    kept: Option<&'a KeptObjectsUse>,
    from: ReaderSource<'a>,
    /// Reason why it is listed although it was to be taken from the kept objects.
    reason: Option<String>,
    recorder: Option<Box<dyn ListRecorder>>,
}

enum ReaderSource<'a> {
    List(Listing<'a>),
    Kept(Box<dyn KeptPages>),
    /// The list failed on single objects.
    Skipping(Box<SkippingReader<'a>>),
}

impl<'a> KindReader<'a> {
    /// Prepares the reader; lists nothing yet.
    pub(super) async fn begin(
        api: &'a Api,
        kind: &'a Kind,
        selector: Option<&'a str>,
        kept: Option<&'a KeptObjectsUse>,
    ) -> Self {
        // Label selectors are applied by the server: kept objects of one selection do not fit another.
        let kept = kept.filter(|_| selector.is_none());
        let mut reading = Self {
            api,
            kind,
            selector,
            kept,
            from: ReaderSource::List(Listing::new(api, kind, selector)),
            reason: None,
            recorder: None,
        };
        if let Some(kept) = kept {
            match kept.pages(api, kind).await {
                Ok(pages) => reading.from = ReaderSource::Kept(pages),
                Err(Some(why)) => reading.set_reason(why),
                Err(None) => {}
            }
        }
        reading
    }

    /// Records its objects for the next run, if they are listed. Must be called before the first page, so
    /// that changes during the list are not missed.
    pub(super) fn record(mut self) -> Self {
        if let (ReaderSource::List(_), Some(kept)) = (&self.from, self.kept) {
            self.recorder = kept.recorder(self.kind);
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
    pub(super) fn recorder(&mut self) -> Option<Box<dyn ListRecorder>> {
        self.recorder.take()
    }

    /// Reports whether it had to start again: objects up to the last one come twice.
    pub(super) fn restarted(&self) -> bool {
        match &self.from {
            ReaderSource::List(listing) => listing.restarted(),
            ReaderSource::Kept(_) => false,
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
            ReaderSource::Kept(pages) => match pages.next().await {
                Ok(page) => return Ok(page),
                Err(failed) => failed,
            },
        };
        // The list continues after the last object that could be read.
        if let Some(kept) = self.kept {
            kept.unreadable(&self.kind.resource, &failed);
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
            ReaderSource::List(_) | ReaderSource::Kept(_) => &[],
        }
    }

    /// Returns the number of objects read in another version because no webhook converts them now.
    pub(super) fn unconverted(&self) -> u64 {
        match &self.from {
            ReaderSource::Skipping(pieces) => pieces.unconverted,
            ReaderSource::List(_) | ReaderSource::Kept(_) => 0,
        }
    }

    /// Returns why the list failed, if objects were read nevertheless.
    pub(super) fn list_failed(&self) -> Option<String> {
        match &self.from {
            ReaderSource::Skipping(pieces) => Some(pieces.reason.clone()),
            ReaderSource::List(_) | ReaderSource::Kept(_) => None,
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
            ReaderSource::Kept(pages) => Some(pages.place().to_string()),
            ReaderSource::Skipping(pieces) => pieces.resource_version.clone(),
        }
    }

    pub(super) fn consistency(&self) -> Consistency {
        match &self.from {
            ReaderSource::List(listing) => listing.consistency,
            ReaderSource::Kept(pages) if pages.fetched() == 0 => Consistency::OneRevision,
            ReaderSource::Kept(_) | ReaderSource::Skipping(_) => Consistency::Continued,
        }
    }

    /// Returns the manifest's entry for a kind that was not listed.
    pub(super) fn watched(&self) -> Option<Watched> {
        match &self.from {
            ReaderSource::List(_) | ReaderSource::Skipping(_) => None,
            ReaderSource::Kept(pages) => Some(Watched {
                fetched: pages.fetched(),
                gone: pages.gone(),
            }),
        }
    }

    /// Returns the reason why it was listed although kept objects exist.
    pub(super) fn listed_because(&self) -> Option<String> {
        self.reason.clone()
    }
}
