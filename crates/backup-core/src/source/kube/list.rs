//! The list of one kind, page by page.

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::discover::{Kind, continued};
use super::failure::KubeError;
use super::request::{Api, parse};
use crate::format::export::Consistency;

/// Objects of a page: what kubectl asks for.
pub(super) const PAGE: usize = 500;
/// Bytes of a page. Two are held of the kind at work and one of each kind that waits.
pub(super) const MAX_PAGE: usize = 8 << 20;
/// Bytes of a page of one object; requests to the server end at 3 MiB.
pub(super) const MAX_SINGLE: usize = 16 << 20;
/// How often the revision may be compacted away: five minutes pass between two compactions.
const MAX_EXPIRED: usize = 24;
/// A kind that was defined a moment ago answers 404 for some milliseconds.
const TRIES_OF_404: u32 = 5;
const PAUSE_OF_404: std::time::Duration = std::time::Duration::from_millis(400);

/// A page: objects as the server gave them.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) items: Vec<Bytes>,
}

/// A page, and what the server tells with it.
pub(super) struct Answer {
    pub(super) page: Page,
    pub(super) resource_version: String,
    /// With this the list goes on; empty at its end.
    pub(super) token: String,
    /// Objects behind the page, where the server counts them.
    pub(super) remaining: Option<u64>,
}

impl Answer {
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

/// Reads a list from its beginning to its end.
pub(super) struct Listing<'a> {
    api: &'a Api,
    kind: &'a Kind,
    selector: String,
    limit: usize,
    /// Where the next page begins; `None` before the first.
    token: Option<String>,
    ended: bool,
    expired: usize,
    restarted: bool,
    /// The revision that the first page told.
    pub(super) resource_version: Option<String>,
    pub(super) consistency: Consistency,
}

/// Asks the server whether it understands a label selector: refused once, not for every kind.
pub(super) async fn understood(api: &Api, selector: &str) -> Result<(), KubeError> {
    let path = format!("/api/v1/namespaces?limit=1{}", selected(selector));
    match api.bytes(&path, MAX_SINGLE).await {
        Err(KubeError::Status {
            status: StatusCode::BAD_REQUEST,
            message,
            ..
        }) => Err(KubeError::Selector {
            selector: selector.to_owned(),
            message,
        }),
        // Whether namespaces may be listed is told where they are.
        Err(e) if e.is_of_rights() => Ok(()),
        answer => answer.map(drop),
    }
}

/// The parameter that lists only objects with these labels.
pub(super) fn selected(selector: &str) -> String {
    let text: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    format!("&labelSelector={text}")
}

impl<'a> Listing<'a> {
    /// A list that asks nothing yet; `selector` is a label selector.
    pub(super) fn new(api: &'a Api, kind: &'a Kind, selector: Option<&str>) -> Self {
        Self {
            api,
            kind,
            selector: selector.map(selected).unwrap_or_default(),
            limit: PAGE,
            token: None,
            ended: false,
            expired: 0,
            restarted: false,
            resource_version: None,
            consistency: Consistency::OneRevision,
        }
    }

    /// With pages of this many objects.
    pub(super) fn by(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// What was passed over because it came before: objects up to the last one come again.
    pub(super) fn after_others(self) -> Self {
        Self {
            restarted: true,
            consistency: Consistency::Continued,
            ..self
        }
    }

    /// Whether the list had to begin again: objects up to the last one come twice.
    pub(super) fn restarted(&self) -> bool {
        self.restarted
    }

    /// Where the next page begins; `None` before the first.
    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubeError> {
        let mut not_found = 0;
        while !self.ended {
            let token = continued(self.token.as_deref().unwrap_or_default());
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

    /// Whether the kind's definition is still there.
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
        let answer = Answer::read(path, bytes)?;
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
