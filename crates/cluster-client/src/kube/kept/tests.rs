//! Tests that kept objects are valid, or are not kept.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::record::{Drift, Failed};
use super::*;
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
    Api::impatient_of(client, "nobody".to_owned(), Duration::from_secs(5))
}

fn kept(folder: &Path) -> Arc<Kept> {
    let kept = Arc::new(Kept::new(folder.to_owned()));
    kept.of("uid", "v1.36.1");
    kept.began(&kind(), "100");
    kept.hears(&kind(), None);
    kept
}

/// Records a list with these revisions.
async fn list(kept: &Arc<Kept>, objects: &[(&str, u64, &str)]) -> Result<Drift, Failed> {
    let mut recorder = kept.record(&kind()).unwrap();
    for (name, revision, json) in objects {
        let json = Bytes::from((*json).to_owned());
        recorder.object(name, &revision.to_string(), &json);
    }
    recorder.finish(Instant::now()).await
}

async fn read(kept: &Arc<Kept>) -> Result<Vec<String>, String> {
    let mut pages = Pages::new(kept.current(&nobody(), &kind()).await?);
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

fn told(kept: &Kept, name: &str, revision: u64, gone: bool) {
    kept.told(
        &kind(),
        &revision.to_string(),
        Some((name.to_owned(), gone)),
    );
}

const TWO: [(&str, u64, &str); 2] = [("a/x", 90, "{\"x\":1}"), ("a/y", 95, "{\"y\":1}")];

#[tokio::test]
async fn what_was_listed_is_read_again_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    let why = read(&kept).await.unwrap_err();
    assert_eq!(why, "it was not read since its watch began");
    assert_eq!(list(&kept, &TWO).await.unwrap().objects, 0);
    assert_eq!(read(&kept).await.unwrap(), ["{\"x\":1}", "{\"y\":1}"]);
    assert_eq!(kept.holds().objects, 2);
    // The scratch file is not visible to other processes, not even by name.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    // A change that the list already contained is not a change; a deleted object needs no request.
    told(&kept, "a/x", 90, false);
    told(&kept, "a/y", 101, true);
    assert_eq!(read(&kept).await.unwrap(), ["{\"x\":1}"]);
    // A later change is requested, and stays outstanding if there is no answer.
    told(&kept, "a/x", 102, false);
    for _ in 0..2 {
        let why = read(&kept).await.unwrap_err();
        assert!(why.contains("got no answer"), "{why}");
    }
    told(&kept, "a/x", 103, true);
    assert!(read(&kept).await.unwrap().is_empty());
    assert_eq!(kept.current(&nobody(), &kind()).await.unwrap().place, 103);

    // A deletion older than the object was that of an earlier object with the same name.
    let two = [("a/x", 110, "{}"), ("a/y", 111, "{}")];
    list(&kept, &two).await.unwrap();
    told(&kept, "a/x", 109, true);
    told(&kept, "a/y", 111, true);
    assert_eq!(read(&kept).await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_doubt_is_a_list() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    type Doubt = (&'static str, fn(&Kept));
    let doubts: [Doubt; 6] = [
        ("its watch has not heard everything", |k| {
            k.hears_not(&kind());
        }),
        ("its watch has not heard everything", |k| {
            k.hears_not(&kind());
            k.hears(&kind(), Some("400"));
            k.told(&kind(), "399", None);
        }),
        ("its definition changed", |k| k.defined("configmaps")),
        ("the API server is another one now", |k| {
            k.of("uid", "v1.37.0");
        }),
        ("so much of it changed that a list costs less", |k| {
            for number in 0..=64 {
                told(k, &format!("a/{number}"), 300, false);
            }
        }),
        ("there is no watch on it now", |k| k.ended(&kind().resource)),
    ];
    for (why, doubt) in doubts {
        kept.began(&kind(), "100");
        kept.hears(&kind(), None);
        list(&kept, &TWO).await.unwrap();
        read(&kept).await.unwrap();
        doubt(&kept);
        assert_eq!(read(&kept).await.unwrap_err(), why);
    }
    // A watch that was interrupted is complete once it reaches the revision current at its return.
    let kept = self::kept(folder.path());
    list(&kept, &TWO).await.unwrap();
    kept.hears_not(&kind());
    kept.hears(&kind(), Some("200"));
    kept.told(&kind(), "200", None);
    assert_eq!(read(&kept).await.unwrap().len(), 2);
    let another = Kind {
        version: "v2".to_owned(),
        ..kind()
    };
    assert!(kept.current(&nobody(), &another).await.is_err());
    let converted = Kind {
        converted: true,
        ..kind()
    };
    assert!(kept.current(&nobody(), &converted).await.is_err());
}

#[tokio::test]
async fn a_list_that_does_not_end_or_is_in_no_order_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    list(&kept, &TWO).await.unwrap();
    drop(kept.record(&kind()).unwrap());
    assert_eq!(
        read(&kept).await.unwrap_err(),
        "its last list could not be kept"
    );
    let [x, y] = TWO;
    assert!(matches!(list(&kept, &[y, x]).await, Err(Failed::Odd(_))));
    assert!(read(&kept).await.is_err());
    // Reports during a list are not lost.
    let recorder = kept.record(&kind()).unwrap();
    told(&kept, "a/z", 105, false);
    recorder.finish(Instant::now()).await.unwrap();
    assert!(read(&kept).await.unwrap_err().contains("got no answer"));
    // A list that started under another watch is not kept.
    let recorder = kept.record(&kind()).unwrap();
    kept.began(&kind(), "300");
    kept.hears(&kind(), None);
    recorder.finish(Instant::now()).await.unwrap();
    assert!(read(&kept).await.is_err());
}

#[tokio::test]
async fn a_list_that_shows_what_no_watch_told_is_a_drift() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    let [x, y] = TWO;
    list(&kept, &TWO).await.unwrap();
    // Reported changes are no drift, whether before or after the list.
    told(&kept, "a/x", 101, false);
    let after = ("a/y", 200, "{}");
    assert_eq!(
        list(&kept, &[("a/x", 101, "{}"), after])
            .await
            .unwrap()
            .objects,
        0
    );
    told(&kept, "a/y", 200, false);
    assert_eq!(kept.holds().drifted, 0);
    // Changed, created and deleted without a report.
    let three = [("a/x", 150, "{}"), ("a/z", 160, "{}")];
    let drift = list(&kept, &three).await.unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (3, "a/x"));
    assert_eq!(kept.holds().drifted, 1);
    // Another text with the same revision.
    let drift = list(&kept, &[("a/x", 150, "{ }"), ("a/z", 160, "{}")])
        .await
        .unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (1, "a/x"));
    let drift = list(&kept, &[("a/x", 150, "{ }")]).await.unwrap();
    assert_eq!((drift.objects, drift.first.as_str()), (1, "a/z"));
    // A watch that was interrupted proves no drift.
    kept.hears_not(&kind());
    assert_eq!(list(&kept, &[x, y]).await.unwrap().objects, 0);
    assert_eq!(kept.holds().drifted, 3);
}

#[tokio::test]
async fn what_did_not_change_is_not_written_again_and_what_is_dead_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    let large = |letter: &str| format!("{{\"x\":\"{}\"}}", letter.repeat(9 << 20));
    let (a, b) = (large("a"), large("b"));
    list(&kept, &[("a/x", 90, &a), ("a/y", 90, &b)])
        .await
        .unwrap();
    let bytes = kept.holds().bytes;
    list(&kept, &[("a/x", 90, &a), ("a/y", 90, &b)])
        .await
        .unwrap();
    assert_eq!(kept.holds().bytes, bytes);
    kept.tidy().await;
    assert_eq!(kept.holds().bytes, bytes, "all of it is alive");
    told(&kept, "a/x", 101, false);
    list(&kept, &[("a/x", 101, "{}"), ("a/y", 90, &b)])
        .await
        .unwrap();
    told(&kept, "a/y", 102, false);
    list(&kept, &[("a/x", 101, "{}"), ("a/y", 102, "{\"y\":2}")])
        .await
        .unwrap();
    kept.tidy().await;
    assert_eq!(kept.holds().bytes, 9);
    assert_eq!(read(&kept).await.unwrap(), ["{}", "{\"y\":2}"]);
}

#[tokio::test]
async fn a_scratch_file_that_lies_or_cannot_be_made_ends_in_lists() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(folder.path());
    list(&kept, &TWO).await.unwrap();
    let scratch = Arc::clone(&kept.lock().file.as_ref().unwrap().scratch);
    scratch.put(3, &mut [7; 4]).unwrap();
    let why = read(&kept).await.unwrap_err();
    assert!(why.contains("does not hold what was written"), "{why}");

    let nowhere = self::kept(&folder.path().join("nowhere"));
    assert!(matches!(
        list(&nowhere, &TWO).await,
        Err(Failed::Scratch(_))
    ));
    assert!(read(&nowhere).await.is_err());
}
