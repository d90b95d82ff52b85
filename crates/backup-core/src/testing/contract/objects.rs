//! Promises about single objects.

use std::sync::Arc;

use bytes::Bytes;

use super::{CheckResult, ensure, key, keys, put, sample};
use crate::digest::Digest;
use crate::store::{CreateOutcome, MAX_OBJECT, Store, StoreError, WriteOnceSupport};

pub(super) async fn come_back(store: Arc<dyn Store>) -> CheckResult {
    let bytes = sample("come back", 100_000);
    put(&*store, "packs/ab/object", &bytes).await?;
    let key = key("packs/ab/object")?;
    ensure!(store.get(&key).await? == bytes, "other bytes came back");
    let head = store.head(&key).await?;
    ensure!(head.key == key, "the head is of {}", head.key);
    ensure!(head.size == 100_000, "the head tells {} bytes", head.size);
    ensure!(
        head.recorded == Some(Digest::of(&bytes)),
        "the head tells the checksum {:?}",
        head.recorded
    );
    let page = store.list("", None).await?;
    let sizes: Vec<_> = page.objects.iter().map(|info| info.size).collect();
    ensure!(sizes == [100_000], "the listing tells the sizes {sizes:?}");
    Ok(())
}

pub(super) async fn come_back_at_both_ends(store: Arc<dyn Store>) -> CheckResult {
    for (name, length) in [("empty", 0), ("largest", MAX_OBJECT)] {
        let bytes = sample(name, length);
        put(&*store, name, &bytes).await?;
        let key = key(name)?;
        ensure!(store.get(&key).await? == bytes, "{name}: other bytes");
        let head = store.head(&key).await?;
        ensure!(
            usize::try_from(head.size)? == length && head.recorded == Some(Digest::of(&bytes)),
            "{name}: the head tells {head:?}"
        );
        let range = store.get_range(&key, 0..1).await?;
        ensure!(range == bytes.slice(0..length.min(1)), "{name}: {range:?}");
    }
    Ok(())
}

pub(super) async fn are_never_too_large(store: Arc<dyn Store>) -> CheckResult {
    let bytes = Bytes::from(vec![0; MAX_OBJECT.saturating_add(1)]);
    let result = store
        .create(&key("large")?, bytes.clone(), Digest::of(&bytes))
        .await;
    ensure!(
        matches!(result, Err(StoreError::TooLarge { .. })),
        "the create gave {result:?}"
    );
    let left = keys(&*store, "").await?;
    ensure!(left.is_empty(), "it left {left:?}");
    Ok(())
}

pub(super) async fn give_ranges(store: Arc<dyn Store>) -> CheckResult {
    let bytes = sample("ranges", 1_000);
    put(&*store, "object", &bytes).await?;
    let key = key("object")?;
    for (range, expected) in [
        (0..1_000, bytes.clone()),
        (0..1, bytes.slice(0..1)),
        (999..1_000, bytes.slice(999..1_000)),
        (300..700, bytes.slice(300..700)),
        (900..2_000, bytes.slice(900..1_000)),
        (1_000..1_001, Bytes::new()),
        (5_000..6_000, Bytes::new()),
        (500..500, Bytes::new()),
    ] {
        let got = store.get_range(&key, range.clone()).await?;
        ensure!(
            got == expected,
            "{range:?} gave {} bytes, or others than those",
            got.len()
        );
    }
    Ok(())
}

pub(super) async fn are_missed(store: Arc<dyn Store>) -> CheckResult {
    // With a neighbour, so that the folder exists if the store uses files.
    put(&*store, "packs/here", &sample("neighbour", 10)).await?;
    for name in ["packs/gone", "gone", "packs", "packs/here/below"] {
        let key = key(name)?;
        let calls = [
            ("get", store.get(&key).await.map(|_| ())),
            ("get_range", store.get_range(&key, 0..10).await.map(|_| ())),
            ("get_range", store.get_range(&key, 5..5).await.map(|_| ())),
            ("head", store.head(&key).await.map(|_| ())),
        ];
        for (call, result) in calls {
            ensure!(
                matches!(&result, Err(StoreError::NotFound { key: named, .. }) if *named == key),
                "{call} of {name} gave {result:?}"
            );
        }
    }
    Ok(())
}

pub(super) async fn are_never_changed(store: Arc<dyn Store>) -> CheckResult {
    let first = sample("first", 5_000);
    put(&*store, "object", &first).await?;
    let key = key("object")?;
    for bytes in [first.clone(), sample("second", 4_000), Bytes::new()] {
        let digest = Digest::of(&bytes);
        let created = store.create(&key, bytes, digest).await?;
        ensure!(created == CreateOutcome::Existed, "it is said to be new");
        ensure!(store.get(&key).await? == first, "it was changed");
        let recorded = store.head(&key).await?.recorded;
        ensure!(
            recorded == Some(Digest::of(&first)),
            "its checksum was changed"
        );
    }
    Ok(())
}

pub(super) async fn have_their_digest(store: Arc<dyn Store>) -> CheckResult {
    let key = key("packs/object")?;
    for bytes in [sample("sent", 70_000), Bytes::new()] {
        let result = store.create(&key, bytes, Digest::of(b"meant")).await;
        ensure!(
            matches!(result, Err(StoreError::Checksum { .. })),
            "the create gave {result:?}"
        );
        let got = store.get(&key).await;
        ensure!(
            matches!(got, Err(StoreError::NotFound { .. })),
            "a get then gave {got:?}"
        );
        let left = keys(&*store, "").await?;
        ensure!(left.is_empty(), "it left {left:?}");
    }
    put(&*store, "packs/object", &sample("meant", 10)).await
}

pub(super) async fn are_probed(store: Arc<dyn Store>) -> CheckResult {
    for _ in 0..2 {
        let probe = store.probe().await?;
        ensure!(
            probe.write_once == WriteOnceSupport::Honoured && probe.records_checksums,
            "the probe says {probe:?}"
        );
        let left = keys(&*store, "").await?;
        let [left] = left.as_slice() else {
            return Err(format!("it left {left:?}").into());
        };
        let bytes = store.get(&key(left)?).await?;
        ensure!(
            *left == format!("probe/{}", Digest::of(&bytes)),
            "{left} is not named by its content"
        );
    }
    Ok(())
}
