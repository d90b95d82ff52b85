//! Answers of S3 as some providers change them: objects in archives, and listings that are cut short.

use anyhow::Result;
use bytes::Bytes;
use http::HeaderMap;

/// Answer of S3 to a read of an archived object.
pub(super) const INVALID_STATE: &str = "<Error><Code>InvalidObjectState</Code><Message>The operation \
    is not valid for the object's storage class</Message></Error>";

const CLASS: &str = "<StorageClass>STANDARD</StorageClass>";
/// Class whose archive tiers only heads report.
const TIERED: &str = "INTELLIGENT_TIERING";

pub(super) fn is_pack(path: &str) -> bool {
    path.contains("/packs/")
}

fn is_tier(class: &str) -> bool {
    class.ends_with("_ACCESS")
}

/// Adds the headers of an archived object's head.
pub(super) fn head(class: &str, headers: &mut HeaderMap) -> Result<()> {
    if is_tier(class) {
        headers.insert("x-amz-storage-class", TIERED.parse()?);
        headers.insert("x-amz-archive-status", class.parse()?);
    } else {
        headers.insert("x-amz-storage-class", class.parse()?);
    }
    Ok(())
}

/// Returns a listing in which packs are archived; `None` if the answer is not a listing.
pub(super) fn archive_listing(body: &Bytes, class: &str) -> Option<Bytes> {
    let (head, objects, tail) = listing(body)?;
    let told = if is_tier(class) { TIERED } else { class };
    let told = format!("<StorageClass>{told}</StorageClass>");
    let objects = objects.into_iter().map(|object| {
        if is_pack(&object) {
            object.replace(CLASS, &told)
        } else {
            object
        }
    });
    let objects: String = objects.collect();
    Some(format!("{head}{objects}{tail}").into())
}

/// Returns a listing of at most `most` objects that claims to be whole; `None` if the answer is not a
/// listing.
pub(super) fn cut(body: &Bytes, most: usize) -> Option<Bytes> {
    let (head, objects, tail) = listing(body)?;
    let objects: String = objects.into_iter().take(most).collect();
    let whole = |text: &str| {
        text.replace(
            "<IsTruncated>true</IsTruncated>",
            "<IsTruncated>false</IsTruncated>",
        )
    };
    Some(format!("{}{objects}{}", whole(&head), whole(&tail)).into())
}

/// Splits a listing into the text before its objects, the objects, and the text after them.
fn listing(body: &Bytes) -> Option<(String, Vec<String>, String)> {
    const END: &str = "</Contents>";
    let text = std::str::from_utf8(body).ok()?;
    if !text.contains("<ListBucketResult") {
        return None;
    }
    let Some(first) = text.find("<Contents>") else {
        return Some((text.to_owned(), Vec::new(), String::new()));
    };
    let last = text.rfind(END)?.checked_add(END.len())?;
    let objects = text.get(first..last)?.split_inclusive(END);
    Some((
        text.get(..first)?.to_owned(),
        objects.map(str::to_owned).collect(),
        text.get(last..)?.to_owned(),
    ))
}

/// Returns the prefix parameter of a listing.
pub(super) fn prefix(path: &str) -> String {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut parts = query.split('&').filter(|part| part.starts_with("prefix="));
    parts.next().unwrap_or_default().to_owned()
}
