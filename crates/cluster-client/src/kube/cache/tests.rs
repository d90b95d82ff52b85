//! Tests that kept objects are valid, or are not kept.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::pages::CachedPages;
use super::*;
use crate::kube::kept_objects::{Drift, KeptPages as _, ListRecorder as _, RecordFailure};
use crate::kube::request::Api;

fn kind() -> Kind {
    Kind {
        resource: ResourceName::from("configmaps"),
        kind: "ConfigMap".to_owned(),
        version: "v1".to_owned(),
        namespaced: true,
        custom: false,
        aggregated: false,
        can_list: true,
        has_status: false,
        also_served: Vec::new(),
        stored_version: None,
        converted: false,
    }
}

/// Returns an API without a server: no request gets an answer.
fn nobody() -> Api {
    let url = "http://127.0.0.1:1".parse().unwrap();
    let client = ::kube::Client::try_from(::kube::Config::new(url)).unwrap();
    Api::without_retries(client, "nobody".to_owned(), Duration::from_secs(5))
}

fn cache(folder: &Path) -> Arc<ObjectCache> {
    let cache = Arc::new(ObjectCache::new(folder.to_owned()));
    cache.set_origin("uid", "v1.36.1");
    cache.watch_started(&kind(), "100");
    cache.connected(&kind(), None);
    cache
}

/// Records a list with these revisions.
async fn list(
    cache: &Arc<ObjectCache>,
    objects: &[(&str, u64, &str)],
) -> Result<Drift, RecordFailure> {
    let mut recorder = Box::new(cache.record(&kind()).unwrap());
    for (name, revision, json) in objects {
        let json = Bytes::from((*json).to_owned());
        recorder.object(name, &revision.to_string(), &json);
    }
    recorder.finish(Instant::now()).await
}

async fn read(cache: &Arc<ObjectCache>) -> Result<Vec<String>, String> {
    let mut pages = CachedPages::new(cache.current(&nobody(), &kind()).await?);
    let mut all = Vec::new();
    while let Some(page) = pages.next().await.map_err(|e| e.to_string())? {
        let texts = page
            .items
            .iter()
            .map(|item| String::from_utf8_lossy(item).into_owned());
        all.extend(texts);
    }
    Ok(all)
}

fn report(cache: &ObjectCache, name: &str, revision: u64, gone: bool) {
    cache.report(
        &kind(),
        &revision.to_string(),
        Some((name.to_owned(), gone)),
    );
}

const TWO: [(&str, u64, &str); 2] = [("a/x", 90, "{\"x\":1}"), ("a/y", 95, "{\"y\":1}")];

#[tokio::test]
async fn what_was_listed_is_read_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let why = read(&cache).await.unwrap_err();
    assert_eq!(why, "it was not read since its watch began");
    assert_eq!(list(&cache, &TWO).await.unwrap().objects, 0);
    assert_eq!(read(&cache).await.unwrap(), ["{\"x\":1}", "{\"y\":1}"]);
    assert_eq!(cache.stats().objects, 2);
    // The scratch file is not visible to other processes, not even by name.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // A change that the list already contained is not a change; a deleted object needs no request.
    report(&cache, "a/x", 90, false);
    report(&cache, "a/y", 101, true);
    assert_eq!(read(&cache).await.unwrap(), ["{\"x\":1}"]);
    // A later change is requested, and stays outstanding if there is no answer.
    report(&cache, "a/x", 102, false);
    for _ in 0..2 {
        let why = read(&cache).await.unwrap_err();
        assert!(why.contains("got no answer"), "{why}");
    }
    report(&cache, "a/x", 103, true);
    assert!(read(&cache).await.unwrap().is_empty());
    assert_eq!(cache.current(&nobody(), &kind()).await.unwrap().place, 103);

    // A deletion older than the object was that of an earlier object with the same name.
    let two = [("a/x", 110, "{}"), ("a/y", 111, "{}")];
    list(&cache, &two).await.unwrap();
    report(&cache, "a/x", 109, true);
    report(&cache, "a/y", 111, true);
    assert_eq!(read(&cache).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_doubt_is_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    type Invalidation = (&'static str, fn(&ObjectCache));
    let invalidations: [Invalidation; 6] = [
        ("its watch is not up to date", |k| {
            k.disconnected(&kind());
        }),
        ("its watch is not up to date", |k| {
            k.disconnected(&kind());
            k.connected(&kind(), Some("400"));
            k.report(&kind(), "399", None);
        }),
        ("its definition changed", |k| {
            k.definition_changed("configmaps");
        }),
        ("the API server is another one now", |k| {
            k.set_origin("uid", "v1.37.0");
        }),
        ("so much of it changed that a list costs less", |k| {
            for number in 0..=64 {
                report(k, &format!("a/{number}"), 300, false);
            }
        }),
        ("there is no watch on it now", |k| {
            k.watch_ended(&kind().resource);
        }),
    ];
    for (why, invalidate) in invalidations {
        cache.watch_started(&kind(), "100");
        cache.connected(&kind(), None);
        list(&cache, &TWO).await.unwrap();
        read(&cache).await.unwrap();
        invalidate(&cache);
        assert_eq!(read(&cache).await.unwrap_err(), why);
    }
    // A watch that was interrupted is complete once it reaches the revision current at its return.
    let cache = self::cache(folder.path());
    list(&cache, &TWO).await.unwrap();
    cache.disconnected(&kind());
    cache.connected(&kind(), Some("200"));
    cache.report(&kind(), "200", None);
    assert_eq!(read(&cache).await.unwrap().len(), 2);
    let another = Kind {
        version: "v2".to_owned(),
        ..kind()
    };
    assert!(cache.current(&nobody(), &another).await.is_err());
    let converted = Kind {
        converted: true,
        ..kind()
    };
    assert!(cache.current(&nobody(), &converted).await.is_err());
}

#[tokio::test]
async fn a_list_that_does_not_end_or_is_in_no_order_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    list(&cache, &TWO).await.unwrap();
    drop(cache.record(&kind()).unwrap());
    assert_eq!(
        read(&cache).await.unwrap_err(),
        "its last list could not be kept"
    );
    let [x, y] = TWO;
    assert!(matches!(
        list(&cache, &[y, x]).await,
        Err(RecordFailure::Odd(_))
    ));
    assert!(read(&cache).await.is_err());
    // Reports during a list are not lost.
    let recorder = Box::new(cache.record(&kind()).unwrap());
    report(&cache, "a/z", 105, false);
    recorder.finish(Instant::now()).await.unwrap();
    assert!(read(&cache).await.unwrap_err().contains("got no answer"));
    // A list that started under another watch is not kept.
    let recorder = Box::new(cache.record(&kind()).unwrap());
    cache.watch_started(&kind(), "300");
    cache.connected(&kind(), None);
    recorder.finish(Instant::now()).await.unwrap();
    assert!(read(&cache).await.is_err());
}

#[tokio::test]
async fn a_list_that_shows_what_no_watch_told_is_a_drift() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let [x, y] = TWO;
    list(&cache, &TWO).await.unwrap();
    // Reported changes are no drift, whether before or after the list.
    report(&cache, "a/x", 101, false);
    let after = ("a/y", 200, "{}");
    assert_eq!(
        list(&cache, &[("a/x", 101, "{}"), after])
            .await
            .unwrap()
            .objects,
        0
    );
    report(&cache, "a/y", 200, false);
    assert_eq!(cache.stats().drifted, 0);
    // Changed, created and deleted without a report.
    let three = [("a/x", 150, "{}"), ("a/z", 160, "{}")];
    let drift = list(&cache, &three).await.unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (3, "a/x"));
    assert_eq!(cache.stats().drifted, 1);
    // Another text with the same revision.
    let drift = list(&cache, &[("a/x", 150, "{ }"), ("a/z", 160, "{}")])
        .await
        .unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (1, "a/x"));
    let drift = list(&cache, &[("a/x", 150, "{ }")]).await.unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (1, "a/z"));
    // A watch that was interrupted proves no drift.
    cache.disconnected(&kind());
    assert_eq!(list(&cache, &[x, y]).await.unwrap().objects, 0);
    assert_eq!(cache.stats().drifted, 3);
}

#[tokio::test]
async fn what_did_not_change_is_not_written_again_and_what_is_dead_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    let large = |letter: &str| format!("{{\"x\":\"{}\"}}", letter.repeat(9 << 20));
    let (a, b) = (large("a"), large("b"));
    list(&cache, &[("a/x", 90, &a), ("a/y", 90, &b)])
        .await
        .unwrap();
    let bytes = cache.stats().bytes;
    list(&cache, &[("a/x", 90, &a), ("a/y", 90, &b)])
        .await
        .unwrap();
    assert_eq!(cache.stats().bytes, bytes);
    cache.compact().await;
    assert_eq!(cache.stats().bytes, bytes, "all of it is alive");
    report(&cache, "a/x", 101, false);
    list(&cache, &[("a/x", 101, "{}"), ("a/y", 90, &b)])
        .await
        .unwrap();
    report(&cache, "a/y", 102, false);
    list(&cache, &[("a/x", 101, "{}"), ("a/y", 102, "{\"y\":2}")])
        .await
        .unwrap();
    cache.compact().await;
    assert_eq!(cache.stats().bytes, 9);
    assert_eq!(read(&cache).await.unwrap(), ["{}", "{\"y\":2}"]);
}

#[tokio::test]
async fn a_scratch_file_that_lies_or_cannot_be_made_ends_in_lists() {
    let folder = tempfile::tempdir().unwrap();
    let cache = cache(folder.path());
    list(&cache, &TWO).await.unwrap();
    let scratch = Arc::clone(&cache.lock().file.as_ref().unwrap().scratch);
    scratch.put(3, &mut [7; 4]).unwrap();
    let why = read(&cache).await.unwrap_err();
    assert!(why.contains("does not hold what was written"), "{why}");

    let nowhere = self::cache(&folder.path().join("nowhere"));
    assert!(matches!(
        list(&nowhere, &TWO).await,
        Err(RecordFailure::Scratch(_))
    ));
    assert!(read(&nowhere).await.is_err());
}
