//! Contract of [`Store`], with a check for each promise that runs on any store.

use std::sync::Arc;

use bytes::Bytes;

use crate::causes::BoxError;
use crate::digest::Digest;
use crate::store::{Key, Store};

mod deleting;
mod listing;
mod objects;
mod races;

/// Promise that a store broke.
#[derive(Debug, thiserror::Error)]
#[error("the store does not keep its promise: {promise}")]
pub struct BrokenPromise {
    promise: &'static str,
    #[source]
    source: BoxError,
}

type CheckResult = Result<(), BoxError>;

/// Fails the check with a text unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(format!($($text)+).into());
        }
    };
}
use ensure;

/// Checks every promise, each on an empty store from `fresh`.
///
/// # Errors
/// The first broken promise.
pub async fn run<F, S>(fresh: F) -> Result<(), BrokenPromise>
where
    F: AsyncFn() -> S,
    S: Store + 'static,
{
    macro_rules! promises {
        ($($text:literal => $check:path,)+) => {
            $(
                tracing::info!(promise = $text, "trying");
                let store = Arc::new(fresh().await);
                $check(store).await.map_err(|source| BrokenPromise { promise: $text, source })?;
            )+
        };
    }
    promises! {
        "what is put comes back, with its size and checksum" => objects::come_back,
        "objects of no bytes and of 16 MiB come back" => objects::come_back_at_both_ends,
        "more than 16 MiB is refused" => objects::are_never_too_large,
        "ranges are cut off at the object's end" => objects::give_ranges,
        "a key without an object is not found" => objects::are_missed,
        "a second create changes nothing" => objects::are_never_changed,
        "bytes with another checksum are refused and leave nothing" => objects::have_their_digest,
        "what is deleted is gone, and nothing else" => deleting::takes_one,
        "a delete of nothing is content" => deleting::of_nothing,
        "what was deleted can be created again" => deleting::makes_room,
        "all see a delete, also of many at once" => deleting::by_many,
        "a listing tells when each object was put" => listing::with_times,
        "a probe tells the truth and leaves one object" => objects::are_probed,
        "of 64 writers at once, one creates" => races::one_of_many_wins,
        "others see all of an object or nothing" => races::nothing_is_seen_in_part,
        "an empty store lists nothing" => listing::of_nothing,
        "keys are listed in the order of their bytes" => listing::in_order,
        "prefixes are plain beginnings of keys" => listing::by_prefix,
        "a listing of more than 1 000 keys has each of them once" => listing::in_pages,
    }
    Ok(())
}

fn key(text: &str) -> Result<Key, BoxError> {
    Ok(text.parse()?)
}

/// Returns bytes that look random and are the same each time.
fn sample(seed: &str, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new()
        .update(seed.as_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes.into()
}

/// Creates an object, which must be new.
async fn put(store: &dyn Store, name: &str, bytes: &Bytes) -> CheckResult {
    let created = store
        .create(&key(name)?, bytes.clone(), Digest::of(bytes))
        .await?;
    ensure!(
        created == crate::store::CreateOutcome::New,
        "{name} is said to have been there"
    );
    Ok(())
}

/// Returns all keys with `prefix`, read page by page.
async fn keys(store: &dyn Store, prefix: &str) -> Result<Vec<String>, BoxError> {
    let mut keys = Vec::new();
    let mut from = None;
    loop {
        let page = store.list(prefix, from.clone()).await?;
        ensure!(
            page.foreign.is_empty(),
            "names that nobody put: {:?}",
            page.foreign
        );
        ensure!(
            page.next.is_none() || page.next != from,
            "the listing goes round for ever"
        );
        keys.extend(page.objects.into_iter().map(|info| info.key.to_string()));
        match page.next {
            Some(next) => from = Some(next),
            None => return Ok(keys),
        }
    }
}
