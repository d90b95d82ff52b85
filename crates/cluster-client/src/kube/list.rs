//! List of one kind, page by page.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::failure::KubeError;
use super::kind::{Kind, continue_query};
use super::request::{Api, parse};
use backup_core::format::export::Consistency;

/// Objects per page, the same number as kubectl requests.
pub(super) const PAGE: usize = 500;
/// Largest page in bytes. Two pages are held for the kind in progress and one for each kind that waits.
pub(super) const MAX_PAGE: usize = 8 << 20;
/// Largest page of one object; the server accepts requests of up to 3 MiB.
pub(super) const MAX_SINGLE: usize = 16 << 20;
/// Maximum number of times that the revision may be compacted away: five minutes pass between two
/// compactions.
const MAX_EXPIRED: usize = 24;
/// Maximum number of retries after a 404: a kind that was defined a moment ago answers 404 for some
/// milliseconds.
const TRIES_OF_404: u32 = 5;
const PAUSE_OF_404: std::time::Duration = std::time::Duration::from_millis(400);

/// Page of objects as the server returned them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Bytes>,
}

/// Page with the metadata of the answer.
pub(super) struct ListAnswer {
    pub(super) page: Page,
    pub(super) resource_version: String,
    /// Token that continues the list; empty at its end.
    pub(super) token: String,
    /// Number of objects after the page, if the server counts them.
    pub(super) remaining: Option<u64>,
}

impl ListAnswer {
    pub(super) fn read(path: &str, bytes: &Bytes) -> Result<Self, KubeError> {
        let raw: RawPage<'_> = parse(path, "list", bytes)?;
        let items = raw.items.unwrap_or_default();
        let items = items
            .into_iter()
            .map(|item| bytes.slice_ref(item.get().as_bytes()));
        Ok(Self {
            page: Page {
                items: items.collect(),
            },
            resource_version: raw.metadata.resource_version,
            token: raw.metadata.token,
            remaining: raw.metadata.remaining_item_count,
        })
    }
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    token: String,
    remaining_item_count: Option<u64>,
}

/// Reader of a list from its start to its end.
pub(super) struct Listing<'a> {
    api: &'a Api,
    kind: &'a Kind,
    selector: String,
    limit: usize,
    /// Token of the next page; `None` before the first.
    token: Option<String>,
    ended: bool,
    expired: usize,
    restarted: bool,
    /// Revision reported with the first page.
    pub(super) resource_version: Option<String>,
    pub(super) consistency: Consistency,
}

/// Checks that the server understands a label selector, so that it is refused once and not for every
/// kind.
pub(super) async fn check_selector(api: &Api, selector: &str) -> Result<(), KubeError> {
    let path = format!("/api/v1/namespaces?limit=1{}", selector_query(selector));
    match api.bytes(&path, MAX_SINGLE).await {
        Err(KubeError::Status {
            status: StatusCode::BAD_REQUEST,
            message,
            ..
        }) => Err(KubeError::Selector {
            selector: selector.to_owned(),
            message,
        }),
        // A missing right to list namespaces is reported when they are listed.
        Err(e) if e.is_denied() => Ok(()),
        answer => answer.map(drop),
    }
}

/// Returns the query parameter that lists only objects with these labels.
pub(super) fn selector_query(selector: &str) -> String {
    let text: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    format!("&labelSelector={text}")
}

impl<'a> Listing<'a> {
    /// Creates a reader that sends no request yet; `selector` is a label selector.
    pub(super) fn new(api: &'a Api, kind: &'a Kind, selector: Option<&str>) -> Self {
        Self {
            api,
            kind,
            selector: selector.map(selector_query).unwrap_or_default(),
            limit: PAGE,
            token: None,
            ended: false,
            expired: 0,
            restarted: false,
            resource_version: None,
            consistency: Consistency::OneRevision,
        }
    }

    /// Sets the number of objects per page.
    pub(super) fn with_limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Marks the list as a repetition: objects up to the last one already read come again.
    pub(super) fn into_repetition(self) -> Self {
        Self {
            restarted: true,
            consistency: Consistency::Continued,
            ..self
        }
    }

    /// Reports whether the list had to start again: objects up to the last one come twice.
    pub(super) fn restarted(&self) -> bool {
        self.restarted
    }

    /// Returns the token of the next page; `None` before the first.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Returns the next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubeError> {
        let mut not_found = 0;
        while !self.ended {
            let token = continue_query(self.token.as_deref().unwrap_or_default());
            let path = self.kind.path();
            let query = format!("{path}?limit={}{token}{}", self.limit, self.selector);
            let most = if self.limit > 1 { MAX_PAGE } else { MAX_SINGLE };
            match self.api.bytes(&query, most).await {
                Ok(bytes) => return self.page(&path, &bytes).map(Some),
                Err(KubeError::TooLarge { .. }) if self.limit > 1 => {
                    self.limit = (self.limit / 8).max(1);
                }
                Err(KubeError::Gone { token, .. }) if self.expired < MAX_EXPIRED => {
                    self.expired = self.expired.saturating_add(1);
                    self.consistency = Consistency::Continued;
                    self.restarted |= token.is_none();
                    self.token = token;
                }
                Err(e)
                    if e.is_not_found()
                        && self.kind.custom
                        && self.token.is_none()
                        && not_found < TRIES_OF_404 =>
                {
                    not_found += 1;
                    if !self.is_defined().await.unwrap_or(true) {
                        return Err(e);
                    }
                    tokio::time::sleep(PAUSE_OF_404).await;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Reports whether the kind's definition still exists.
    pub(super) async fn is_defined(&self) -> Result<bool, KubeError> {
        const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let path = format!("{DEFINITIONS}/{}", self.kind.resource);
        match self.api.bytes(&path, MAX_SINGLE).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn page(&mut self, path: &str, bytes: &Bytes) -> Result<Page, KubeError> {
        let answer = ListAnswer::read(path, bytes)?;
        if self.resource_version.is_none() {
            self.resource_version = Some(answer.resource_version).filter(|v| !v.is_empty());
            if self.resource_version.is_none() {
                self.consistency = Consistency::Unknown;
            }
        }
        self.ended = answer.token.is_empty();
        self.token = Some(answer.token);
        Ok(answer.page)
    }
}
