//! Reader of a kind whose list fails, which skips the objects that cannot be read.
//!
//! An API server answers a whole list with 500, also a list of heads, if it cannot decrypt, decode or
//! convert a single object. It returns a list in the order of names, and the token that continues a list
//! names the key at which it continues. So the pages get smaller until a page has only the object that
//! fails. If a webhook converts the kind, this object is also requested in the other versions: in the
//! version in which it is stored it needs no conversion. If all versions fail, the object is named and
//! skipped.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::failure::KubeError;
use super::kind::{Kind, continue_query};
use super::list::{ListAnswer, Listing, MAX_PAGE, MAX_SINGLE, PAGE, Page, selector_query};
use super::request::Api;
use backup_core::format::export::Lost;
use backup_core::num::to_u64;

/// Maximum number of objects of a kind that are skipped; with more, the kind itself is at fault.
const MAX_LOST: usize = 100;
/// Longest `NAMESPACE/NAME`.
const MAX_NAME: usize = 600;
/// Characters of names, in order.
const ALPHABET: &[u8] = b"-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";
/// Key that sorts after all names.
const BEHIND_ALL: &str = "\u{10ffff}";
/// Version of the token format.
const VERSION: &str = "meta.k8s.io/v1";
/// Value in a token that stands for the newest revision.
const NEWEST: i64 = -1;

/// Position at which a list continues.
#[derive(Serialize, Deserialize)]
struct ContinueToken {
    v: String,
    rv: i64,
    start: String,
}

/// Reader that skips unreadable objects; see the module.
pub(super) struct SkippingReader<'a> {
    api: Api,
    kind: &'a Kind,
    /// Kind in the other versions in which its objects may be stored.
    others: Vec<Kind>,
    /// Number of versions that failed in a row at `start`. The one that answered last is tried first.
    failed: usize,
    /// Version in use: 0 for the kind's own, then `others`.
    version: usize,
    selector: String,
    /// Key of the next page, as `NAMESPACE/NAME`; empty before the first.
    start: String,
    ended: bool,
    limit: usize,
    most: usize,
    /// Number of objects from `start` on, if the server counts them.
    left: Option<u64>,
    /// Number of objects expected after the last skipped one, if it was the only one there.
    expected: Option<u64>,
    pub(super) lost: Vec<Lost>,
    /// Number of objects that only a version other than the kind's own returned.
    pub(super) unconverted: u64,
    /// Error of the list.
    pub(super) reason: String,
    /// Revision that the list reported before it failed.
    pub(super) resource_version: Option<String>,
    pub(super) restarted: bool,
}

impl<'a> SkippingReader<'a> {
    /// Continues where `listing` failed with `error`.
    pub(super) fn after(
        api: &Api,
        kind: &'a Kind,
        selector: Option<&str>,
        listing: &Listing<'_>,
        error: &KubeError,
    ) -> Self {
        let token = listing.token().filter(|token| !token.is_empty());
        let start = token.and_then(start_of);
        // Starts again if a token cannot be read: the objects already read come again.
        let restarted = listing.restarted() || (token.is_some() && start.is_none());
        Self {
            selector: selector.map(selector_query).unwrap_or_default(),
            start: start.unwrap_or_default(),
            reason: error.line(),
            resource_version: listing.resource_version.clone(),
            restarted,
            ..Self::empty(api, kind)
        }
    }

    /// Creates a reader at the start of the list.
    fn empty(api: &Api, kind: &'a Kind) -> Self {
        Self {
            api: api.without_internal_retries(),
            kind,
            others: kind.unconverted(),
            failed: 0,
            version: 0,
            selector: String::new(),
            start: String::new(),
            ended: false,
            limit: PAGE,
            most: PAGE,
            left: None,
            expected: None,
            lost: Vec::new(),
            unconverted: 0,
            reason: String::new(),
            resource_version: None,
            restarted: false,
        }
    }

    /// Returns the next page; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Page>, KubeError> {
        while !self.ended {
            match self.answer(&self.start, self.limit).await {
                Ok(answer) => return self.page(answer).map(Some),
                Err(KubeError::TooLarge { .. }) if self.limit > 1 => {
                    self.most = smaller(self.limit);
                    self.limit = self.most;
                }
                Err(e) if e.is_internal() && self.limit > 1 => self.limit = smaller(self.limit),
                Err(e) if e.is_internal() && self.turn() => {}
                Err(e) if e.is_internal() => self.step_over(e).await?,
                // A version that is no longer served returns no object.
                Err(e) if e.is_not_found() && self.version > 0 && self.turn() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Switches to the next version; returns false if each has failed at this position.
    fn turn(&mut self) -> bool {
        let versions = self.others.len().saturating_add(1);
        self.failed = self.failed.saturating_add(1);
        let again = self.failed < versions;
        if again {
            self.version = self.version.saturating_add(1) % versions;
            self.limit = 1;
        } else {
            self.failed = 0;
            self.version = 0;
        }
        again
    }

    fn page(&mut self, answer: ListAnswer) -> Result<Page, KubeError> {
        self.failed = 0;
        let items = to_u64(answer.page.items.len());
        let behind = answer.remaining.unwrap_or_default();
        let here = items.saturating_add(behind);
        if self.version > 0 {
            self.unconverted = self.unconverted.saturating_add(items);
        }
        if let Some(expected) = self.expected.take() {
            let more = expected.saturating_sub(here);
            if let Some(last) = self.lost.last().filter(|_| more > 0).cloned() {
                self.lost.push(Lost {
                    name: format!("{more} more right before {}", last.name),
                    cause: last.cause,
                });
            }
        }
        self.ended = answer.token.is_empty();
        if self.ended {
            return Ok(answer.page);
        }
        self.left = answer.remaining;
        self.limit = self.limit.saturating_mul(8).min(self.most);
        self.start = start_of(&answer.token).ok_or_else(|| KubeError::Malformed {
            path: self.kind.path(),
            wanted: "token that names a key",
            at: "metadata.continue".to_owned(),
        })?;
        Ok(answer.page)
    }

    async fn answer(&self, start: &str, limit: usize) -> Result<ListAnswer, KubeError> {
        self.answer_in(self.version, start, limit).await
    }

    async fn answer_in(
        &self,
        version: usize,
        start: &str,
        limit: usize,
    ) -> Result<ListAnswer, KubeError> {
        let token = if start.is_empty() {
            String::new()
        } else {
            let token = ContinueToken {
                v: VERSION.to_owned(),
                rv: NEWEST,
                start: start.to_owned(),
            };
            let json = serde_json::to_vec(&token).unwrap_or_default();
            continue_query(&URL_SAFE_NO_PAD.encode(json))
        };
        let other = version.checked_sub(1);
        let other = other.and_then(|version| self.others.get(version));
        let path = other.unwrap_or(self.kind).path();
        let query = format!("{path}?limit={limit}{token}{}", self.selector);
        let most = if limit > 1 { MAX_PAGE } else { MAX_SINGLE };
        let bytes = self.api.bytes(&query, most).await?;
        ListAnswer::read(&path, &bytes)
    }

    /// Reports whether a list that starts at `start` fails at its first object in every version.
    async fn fails(&self, start: &str) -> Result<bool, KubeError> {
        // The server refuses a key that is not a clean path. With a NUL added it is accepted, and no name
        // sorts
        // in between.
        let odd = matches!(start.rsplit('/').next(), Some("" | "." | ".."));
        let end = if odd { "\0" } else { "" };
        let start = format!("{start}{end}");
        for version in 0..=self.others.len() {
            match self.answer_in(version, &start, 1).await {
                Ok(_) => return Ok(false),
                Err(e) if e.is_internal() || (version > 0 && e.is_not_found()) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(true)
    }

    /// Records the first object from `start` on, for which a list of one failed, and continues after it.
    async fn step_over(&mut self, error: KubeError) -> Result<(), KubeError> {
        // If not even an empty list is answered, no object is at fault.
        if self.lost.len() >= MAX_LOST || self.fails(BEHIND_ALL).await? {
            return Err(error);
        }
        let name_in_error = name_in_error(self.kind, &error).filter(|name| *name >= self.start);
        let name = match name_in_error {
            Some(name) => name,
            None => {
                let Some(found) = self.found().await? else {
                    return Err(error);
                };
                self.expected = self.left.map(|left| left.saturating_sub(1));
                found
            }
        };
        tracing::debug!(kind = %self.kind.resource, name, error = %error, "an object cannot be read");
        self.start = format!("{name}\0");
        self.limit = 1;
        self.left = self.left.map(|left| left.saturating_sub(1));
        self.lost.push(Lost {
            name,
            cause: error.message_or_line(),
        });
        Ok(())
    }

    /// Finds the name of an object that fails, letter by letter: a list that starts at its key fails, one
    /// that starts after it does not. If several in a row fail, it is the last of them.
    async fn found(&self) -> Result<Option<String>, KubeError> {
        let mut name = String::new();
        while name.len() < MAX_NAME {
            let slash = self.kind.namespaced && !name.is_empty() && !name.contains('/');
            let letters = ALPHABET.iter().filter(|letter| slash || **letter != b'/');
            let letters: Vec<u8> = letters.copied().collect();
            let (mut low, mut high) = (0, letters.len());
            while low < high {
                let middle = low.midpoint(high);
                let Some(letter) = letters.get(middle) else {
                    break;
                };
                let key = format!("{name}{}", char::from(*letter));
                if key <= self.start || self.fails(&key).await? {
                    low = middle.saturating_add(1);
                } else {
                    high = middle;
                }
            }
            let Some(letter) = low.checked_sub(1).and_then(|at| letters.get(at)) else {
                break;
            };
            name.push(char::from(*letter));
        }
        let alone = name >= self.start
            && self.fails(&name).await?
            && !self.fails(&format!("{name}\0")).await?;
        Ok(Some(name).filter(|_| alone))
    }
}

fn smaller(limit: usize) -> usize {
    (limit / 8).max(1)
}

/// Returns the key that a token names.
fn start_of(token: &str) -> Option<String> {
    let json = URL_SAFE_NO_PAD.decode(token).ok()?;
    let token: ContinueToken = serde_json::from_slice(&json).ok()?;
    (token.v == VERSION).then_some(token.start)
}

/// Returns the object that the server's message names, as in
/// `unable to transform key "/registry/secrets/a/b": …`.
fn name_in_error(kind: &Kind, error: &KubeError) -> Option<String> {
    let words = error.message_or_line();
    let (_, rest) = words.split_once("key \"/")?;
    let (key, _) = rest.split_once('"')?;
    let mut parts = key.rsplit('/');
    let name = parts.next().filter(|name| !name.is_empty())?;
    if !kind.namespaced {
        return Some(name.to_owned());
    }
    let namespace = parts.next().filter(|name| !name.is_empty())?;
    Some(format!("{namespace}/{name}"))
}
