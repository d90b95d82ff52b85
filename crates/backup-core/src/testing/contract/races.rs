//! Promises about calls at the same time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{BoxError, CheckResult, ensure, key, keys, put, sample};
use crate::digest::Digest;
use crate::store::{CreateOutcome, MAX_OBJECT, Store, StoreError};

const WRITERS: usize = 64;

pub(super) async fn one_of_many_wins(store: Arc<dyn Store>) -> CheckResult {
    let same = |_| sample("same", 50_000);
    let own = |writer: usize| sample(&format!("writer {writer}"), 50_000);
    race(&store, "claims/same", &same).await?;
    race(&store, "claims/own", &own).await?;
    let left = keys(&*store, "").await?;
    ensure!(left == ["claims/own", "claims/same"], "they left {left:?}");
    Ok(())
}

async fn race(store: &Arc<dyn Store>, name: &str, bytes: &dyn Fn(usize) -> Bytes) -> CheckResult {
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (store, key, bytes) = (Arc::clone(store), key(name)?, bytes(writer));
        writers.spawn(async move {
            let digest = Digest::of(&bytes);
            store
                .create(&key, bytes, digest)
                .await
                .map(|created| (digest, created))
        });
    }
    let mut winners = Vec::new();
    while let Some(result) = writers.join_next().await {
        let (digest, created) = result??;
        if created == CreateOutcome::New {
            winners.push(digest);
        }
    }
    ensure!(
        winners.len() == 1,
        "{name}: {} writers created it",
        winners.len()
    );
    let there = Digest::of(&store.get(&key(name)?).await?);
    ensure!(
        winners == [there],
        "{name}: the bytes are not those of the writer that created it"
    );
    Ok(())
}

pub(super) async fn nothing_is_seen_in_part(store: Arc<dyn Store>) -> CheckResult {
    let bytes = sample("whole", MAX_OBJECT);
    let name = "packs/whole";
    let writer = {
        let (store, bytes) = (Arc::clone(&store), bytes.clone());
        tokio::spawn(async move { put(&*store, name, &bytes).await })
    };
    while !writer.is_finished() {
        look(&*store, name, &bytes).await?;
    }
    writer.await??;
    let seen = look(&*store, name, &bytes).await?;
    ensure!(seen, "it is not there after its create");
    Ok(())
}

/// Checks the object with every call. Each call must see the whole object or nothing, and an object that was
/// seen must stay. Returns whether it exists.
async fn look(store: &dyn Store, name: &str, bytes: &Bytes) -> Result<bool, BoxError> {
    let key = key(name)?;
    let size = u64::try_from(bytes.len())?;
    let listed = store.list(name, None).await?.objects;
    let mut there = false;
    if let Some(info) = listed.first() {
        ensure!(info.size == size, "a listing tells {} bytes", info.size);
        there = true;
    }
    match store.head(&key).await {
        Ok(head) => {
            ensure!(head.size == size, "a head tells {} bytes", head.size);
            there = true;
        }
        Err(StoreError::NotFound { .. }) => {
            ensure!(!there, "it was listed and then not found");
        }
        Err(error) => return Err(error.into()),
    }
    match store.get(&key).await {
        Ok(got) => {
            ensure!(got == *bytes, "a get gave {} bytes", got.len());
            there = true;
        }
        Err(StoreError::NotFound { .. }) => {
            ensure!(!there, "it was seen and then not found");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(there)
}
