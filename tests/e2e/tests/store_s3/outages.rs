//! Tests of a store that is away or busy for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use backup_core::causes::line;
use backup_core::store::s3::{S3Options, S3Store};
use backup_core::store::{CreateOutcome, Store, StoreError};
use e2e::proxy::{Fault, Lasting, Proxy};
use e2e::wait;
use futures::{StreamExt, TryStreamExt, stream};
use http::Method;

use super::shared::{Server, key, put, sample};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_seconds_of_slow_down_are_survived() -> Result<()> {
    let server = Server::start().await?;
    let proxy = Proxy::start(&server.s3.endpoint()).await?;
    let options = S3Options {
        endpoint: Some(proxy.endpoint()),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    let outage = Lasting::For(Duration::from_secs(30), None);
    proxy.on(Method::PUT, Fault::Answer(503, "SlowDown"), outage);
    // As many at once as the store sends, because they share the limit of retries.
    let names: Vec<_> = (0..16).map(|n| format!("packs/{n}")).collect();
    let bytes = sample(1, 10_000);
    let puts = names.iter().map(|name| put(&store, name, &bytes));
    for created in futures::future::try_join_all(puts).await? {
        assert_eq!(created, CreateOutcome::New);
    }
    assert!(
        proxy.count(&Method::PUT) > names.len(),
        "nothing was refused"
    );
    Ok(())
}

#[tokio::test]
async fn a_store_that_stays_away_is_given_up() -> Result<()> {
    let mut server = Server::start().await?;
    let proxy = Proxy::start(&server.s3.endpoint()).await?;
    let options = S3Options {
        endpoint: Some(proxy.endpoint()),
        tries: 3,
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    proxy.on(
        Method::PUT,
        Fault::Answer(503, "SlowDown"),
        Lasting::Times(u32::MAX),
    );
    let error = put(&store, "packs/1", &sample(1, 10)).await.unwrap_err();
    let text = line(&error);
    assert!(
        matches!(error, StoreError::Unavailable { tries: 3, .. }),
        "{text}"
    );
    assert!(error.is_transient() && text.contains("SlowDown"), "{text}");
    assert_eq!(proxy.count(&Method::PUT), 3);

    server.s3.kill();
    let store = S3Store::open(S3Options {
        tries: 2,
        ..server.options()
    })
    .await?;
    let error = store.get(&key("packs/1")).await.unwrap_err();
    let text = line(&error);
    assert!(
        matches!(error, StoreError::Unavailable { tries: 2, .. }),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_started_again_is_survived() -> Result<()> {
    let mut server = Server::start().await?;
    let store = server.store().await?;
    let done = Arc::new(AtomicUsize::new(0));
    let names: Vec<_> = (0..40).map(|n| format!("packs/{n:02}")).collect();
    let puts = stream::iter(names.iter().enumerate())
        .map(|(seed, name)| {
            let (store, done) = (&store, Arc::clone(&done));
            async move {
                let created = put(store, name, &sample(seed, 1 << 20)).await?;
                done.fetch_add(1, Ordering::Relaxed);
                Ok::<_, StoreError>(created)
            }
        })
        .buffer_unordered(8)
        .try_collect::<Vec<_>>();
    let outage = async {
        wait::until("ten puts", Duration::from_secs(60), async || {
            ensure!(done.load(Ordering::Relaxed) >= 10, "not yet");
            Ok(())
        })
        .await?;
        server.s3.kill();
        server.s3.restart().await
    };
    let (created, outage) = tokio::join!(puts, outage);
    outage?;
    // Each is known to be new, even if the kill came between the object and the reply.
    assert_eq!(created?, [CreateOutcome::New; 40]);
    let page = store.list("", None).await?;
    let listed: Vec<_> = page
        .objects
        .iter()
        .map(|info| info.key.to_string())
        .collect();
    assert_eq!(listed, names);
    for (seed, name) in names.iter().enumerate() {
        assert_eq!(
            store.get(&key(name)).await?,
            sample(seed, 1 << 20),
            "{name}"
        );
    }
    Ok(())
}
