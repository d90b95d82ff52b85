//! Promises about deletes.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{CheckResult, ensure, key, keys, put, sample};
use crate::store::{Store, StoreError};

pub(super) async fn takes_one(store: Arc<dyn Store>) -> CheckResult {
    let names = ["packs/1", "packs/10", "packs/1a/b", "recipes/1"];
    for name in names {
        put(&*store, name, &sample(name, 100)).await?;
    }
    let gone = key("packs/1")?;
    store.delete(&gone).await?;
    for (call, result) in [
        ("get", store.get(&gone).await.map(|_| ())),
        ("head", store.head(&gone).await.map(|_| ())),
    ] {
        ensure!(
            matches!(result, Err(StoreError::NotFound { .. })),
            "a {call} then gave {result:?}"
        );
    }
    let left = keys(&*store, "").await?;
    ensure!(left == names[1..], "it left {left:?}");
    for name in left {
        let bytes = store.get(&key(&name)?).await?;
        ensure!(bytes == sample(&name, 100), "{name} was changed");
    }
    Ok(())
}

pub(super) async fn of_nothing(store: Arc<dyn Store>) -> CheckResult {
    store.delete(&key("packs/1")?).await?;
    put(&*store, "packs/here/1", &sample("neighbour", 10)).await?;
    // The last two are a folder and a file if the store uses files.
    for name in ["packs/gone", "gone", "packs/here", "packs/here/1/below"] {
        store.delete(&key(name)?).await?;
    }
    let left = keys(&*store, "").await?;
    ensure!(left == ["packs/here/1"], "it left {left:?}");
    Ok(())
}

pub(super) async fn makes_room(store: Arc<dyn Store>) -> CheckResult {
    let object = key("packs/1")?;
    for seed in ["first", "second"] {
        put(&*store, "packs/1", &sample(seed, 1_000)).await?;
        ensure!(
            store.get(&object).await? == sample(seed, 1_000),
            "other bytes came back"
        );
        // Twice, as after a lost reply.
        store.delete(&object).await?;
        store.delete(&object).await?;
    }
    Ok(())
}

pub(super) async fn by_many(store: Arc<dyn Store>) -> CheckResult {
    for number in 0..16 {
        put(&*store, &format!("packs/{number}"), &sample("many", 10)).await?;
    }
    // Two for each object.
    let mut all = JoinSet::new();
    for number in 0..32 {
        let (store, key) = (Arc::clone(&store), key(&format!("packs/{}", number % 16))?);
        all.spawn(async move { store.delete(&key).await });
    }
    while let Some(result) = all.join_next().await {
        result??;
    }
    let left = keys(&*store, "").await?;
    ensure!(left.is_empty(), "they left {left:?}");
    Ok(())
}
