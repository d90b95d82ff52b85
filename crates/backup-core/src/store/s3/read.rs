//! Reads from a bucket: objects, ranges and listings, none of them trusted.

use std::ops::Range;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{Object, ObjectStorageClass};
use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::client::REQUEST;
use super::failure::{Failure, FailureKind};
use super::tries::TryCounter;
use super::{BODIES, CLAIM_ALONE, S3Store};
use crate::digest::Digest;
use crate::store::{Key, MAX_OBJECT, MAX_SIZE, ObjectInfo, Page, StoreError, cut};

/// Keys per page, the most that S3 returns.
const PAGE: i32 = 1_000;

/// Prefix of a position that continues after the last key, instead of at the store's token: see
/// [`S3Store::page`].
const BEHIND: &str = "behind ";
/// Prefix of the same for a server that ignores start-after: most simple servers accept the last key as a
/// token.
const GUESS: &str = "guess ";
/// Prefix of a position that is the store's token.
const TOKEN: &str = "token ";

/// Listings of few objects that belong to one restore point, which are not checked for completeness. If such
/// a listing is cut short, a signature is missing, and then nobody trusts the restore point.
const SMALL: [&str; 2] = ["signatures/", CLAIM_ALONE];

/// Outcome of a get.
enum GetOutcome {
    Bytes(Bytes),
    TooLarge(u64),
}

impl S3Store {
    /// Reads the object, or a range of it that is not empty.
    pub(super) async fn read(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Bytes, StoreError> {
        let verb = if range.is_some() {
            "get a range of"
        } else {
            "get"
        };
        let mut fetched = 0;
        loop {
            let result = self
                .call(|client, watch| self.fetch(client, watch, key, range.clone()))
                .await;
            fetched += 1;
            match result {
                Ok(GetOutcome::Bytes(bytes)) => return Ok(bytes),
                Ok(GetOutcome::TooLarge(size)) => {
                    return Err(StoreError::TooLarge {
                        store: self.name.clone(),
                        key: key.clone(),
                        size,
                    });
                }
                // The SDK retries until an answer begins; retries of the body happen here.
                Err(failure)
                    if matches!(
                        failure.meaning,
                        FailureKind::Damaged | FailureKind::BrokenOff
                    ) && fetched < BODIES => {}
                Err(failure) => return Err(self.error(failure, verb, Some(key)).await),
            }
        }
    }

    async fn fetch(
        &self,
        client: Client,
        watch: TryCounter,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<GetOutcome, Failure> {
        let header = range
            .as_ref()
            .map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
        let request = client
            .get_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .set_range(header)
            .customize()
            .interceptor(watch.clone())
            // With the SDK's own switch the SDK would check the body too, and a wrong checksum would differ
            // from a broken connection only in its message.
            .mutate_request(|request| {
                request
                    .headers_mut()
                    .insert("x-amz-checksum-mode", "ENABLED");
            });
        let output = match request.send().await {
            Ok(output) => output,
            Err(error) => match Failure::of(error, &watch) {
                failure if range.is_some() && failure.meaning == FailureKind::BeyondTheEnd => {
                    return Ok(GetOutcome::Bytes(Bytes::new()));
                }
                failure => return Err(failure),
            },
        };
        // The SDK's time limits end where the body begins.
        let body = tokio::time::timeout(REQUEST, body(output, range, &watch));
        match body.await {
            Ok(result) => result,
            Err(late) => Err(Failure::new(FailureKind::BrokenOff, &watch, late)),
        }
    }

    /// Returns one page of a listing. After the last page the keys after its last key are requested once
    /// more: some stores end a listing at their own limit and report it as complete.
    pub(super) async fn page(
        &self,
        client: Client,
        watch: TryCounter,
        prefix: &str,
        from: Option<String>,
    ) -> Result<Page, Failure> {
        let token = |kind: &str| Some(from.as_deref()?.strip_prefix(kind)?.to_owned());
        let request = client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(format!("{}{prefix}", self.prefix))
            .max_keys(PAGE)
            .set_continuation_token(token(TOKEN).or_else(|| token(GUESS)))
            .set_start_after(token(BEHIND))
            .customize()
            .interceptor(watch.clone());
        let output = request
            .send()
            .await
            .map_err(|error| Failure::of(error, &watch))?;
        let mut page = Page::default();
        let first = output.contents().first().and_then(Object::key);
        let repeats = |last: &String| first.is_some_and(|first| first <= last.as_str());
        if let Some(behind) = token(BEHIND).filter(repeats) {
            page.next = Some(format!("{GUESS}{behind}"));
            return Ok(page);
        }
        if token(GUESS).is_some_and(|last| repeats(&last)) {
            let text = "a listing ends, but the store does not report what comes after its last key \
                        (start-after), so the listing may be incomplete";
            return Err(Failure::new(FailureKind::Other, &watch, text));
        }
        for object in output.contents() {
            self.add(&mut page, object)
                .map_err(|text| Failure::new(FailureKind::Other, &watch, text))?;
        }
        if output.is_truncated() == Some(true) {
            let next = output.next_continuation_token();
            page.next = next.map(|next| format!("{TOKEN}{next}"));
            // Either would make the caller loop endlessly or stop early.
            if page.next.is_none() || page.next == from {
                let text = "a listing continues, but the store does not say where";
                return Err(Failure::new(FailureKind::Other, &watch, text));
            }
        } else if !SMALL.iter().any(|small| prefix.starts_with(small)) {
            let last = output.contents().last().and_then(Object::key);
            page.next = last.map(|last| format!("{BEHIND}{last}"));
        }
        Ok(page)
    }

    /// Adds one object of a listing.
    fn add(&self, page: &mut Page, object: &Object) -> Result<(), &'static str> {
        let name = object
            .key()
            .and_then(|key| key.strip_prefix(self.prefix.as_str()))
            .ok_or("a listing has a key that does not begin with what was asked for")?;
        if (name.is_empty() || name.ends_with('/')) && object.size() == Some(0) {
            page.markers.push(name.to_owned());
            return Ok(());
        }
        let Ok(key) = name.parse::<Key>() else {
            page.foreign.push(name.to_owned());
            return Ok(());
        };
        let size = object
            .size()
            .and_then(|size| u64::try_from(size).ok())
            .ok_or("a listing has an object without a size")?;
        let class = object.storage_class().map(ObjectStorageClass::as_str);
        page.objects.push(ObjectInfo {
            access: self.listed(&key, class),
            key,
            size,
            recorded: None,
            modified: object.last_modified().and_then(time),
        });
        Ok(())
    }
}

/// Converts a time of the SDK.
pub(super) fn time(told: &DateTime) -> Option<Timestamp> {
    Timestamp::from_nanosecond(told.as_nanos()).ok()
}

/// Reads the body of an answer, at most [`MAX_OBJECT`] of it, and checks it.
async fn body(
    mut output: GetObjectOutput,
    range: Option<Range<u64>>,
    watch: &TryCounter,
) -> Result<GetOutcome, Failure> {
    let told = output
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    if let Some(size) = told.filter(|size| *size > MAX_SIZE) {
        return Ok(GetOutcome::TooLarge(size));
    }
    let capacity = told.and_then(|size| usize::try_from(size).ok());
    let mut bytes = BytesMut::with_capacity(capacity.unwrap_or(0));
    while let Some(piece) = output.body.next().await {
        let piece = piece.map_err(|error| Failure::new(FailureKind::BrokenOff, watch, error))?;
        if bytes.len().saturating_add(piece.len()) > MAX_OBJECT {
            return Ok(GetOutcome::TooLarge(
                told.unwrap_or(MAX_SIZE.saturating_add(1)),
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    let bytes = bytes.freeze();
    let Some(range) = range else {
        let recorded = output.checksum_sha256().and_then(Digest::from_base64);
        if recorded.is_some_and(|recorded| recorded != Digest::of(&bytes)) {
            let text = "the bytes received do not have the checksum recorded at the put";
            return Err(Failure::new(FailureKind::Damaged, watch, text));
        }
        return Ok(GetOutcome::Bytes(bytes));
    };
    match output.content_range() {
        // The whole object, from a server or proxy that does not support ranges.
        None => Ok(GetOutcome::Bytes(cut(&bytes, range))),
        Some(told) if told.starts_with(&format!("bytes {}-", range.start)) => {
            Ok(GetOutcome::Bytes(cut(&bytes, 0..range.end - range.start)))
        }
        Some(told) => {
            let text = format!("the store returned the range `{told}`, which was not requested");
            Err(Failure::new(FailureKind::Other, watch, text))
        }
    }
}
