//! Tests of a proxy that fails for one request: replies are lost, bits flip, answers break off.

use anyhow::Result;
use backup_core::causes::line;
use backup_core::digest::Digest;
use backup_core::store::s3::{S3Options, S3Store};
use backup_core::store::{CreateOutcome, Probe, Store, StoreError, WriteOnceSupport};
use e2e::proxy::{Fault, Lasting, Proxy};
use http::Method;

use super::shared::{Server, key, put, sample};

const ONCE: Lasting = Lasting::Times(1);
const ALWAYS: Lasting = Lasting::Times(u32::MAX);

/// Starts a server, a proxy before it, and a store behind that.
async fn start() -> Result<(Server, Proxy, S3Store)> {
    let server = Server::start().await?;
    let proxy = Proxy::start(&server.s3.endpoint()).await?;
    let options = S3Options {
        endpoint: Some(proxy.endpoint()),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    Ok((server, proxy, store))
}

#[tokio::test]
async fn a_put_whose_reply_is_lost_is_known_to_be_done() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let bytes = sample(1, 100_000);
    proxy.on(Method::PUT, Fault::LoseReply, ONCE);
    assert_eq!(put(&store, "packs/1", &bytes).await?, CreateOutcome::New);
    assert_eq!(proxy.count(&Method::PUT), 2);
    assert_eq!(proxy.count(&Method::HEAD), 1);
    assert_eq!(store.get(&key("packs/1")).await?, bytes);
    Ok(())
}

#[tokio::test]
async fn a_put_that_was_retried_onto_another_object_is_not_taken_for_done() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let first = sample(1, 1_000);
    put(&store, "manifests/1", &first).await?;
    for fault in [
        Fault::Cut,
        Fault::Answer(503, "SlowDown"),
        Fault::Answer(500, "InternalError"),
    ] {
        proxy.on(Method::PUT, fault, ONCE);
        let created = put(&store, "manifests/1", &sample(2, 1_000)).await?;
        assert_eq!(created, CreateOutcome::Existed, "{fault:?}");
    }
    assert_eq!(store.get(&key("manifests/1")).await?, first);
    Ok(())
}

#[tokio::test]
async fn a_first_put_onto_an_object_costs_one_request() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    put(&store, "packs/1", &sample(1, 1_000)).await?;
    assert_eq!(
        put(&store, "packs/1", &sample(1, 1_000)).await?,
        CreateOutcome::Existed
    );
    assert_eq!(proxy.seen().len(), 2);
    Ok(())
}

#[tokio::test]
async fn conflicts_of_conditional_puts_are_tried_again() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    proxy.on(
        Method::PUT,
        Fault::Answer(409, "ConditionalRequestConflict"),
        Lasting::Times(2),
    );
    assert_eq!(
        put(&store, "packs/1", &sample(1, 1_000)).await?,
        CreateOutcome::New
    );
    assert_eq!(proxy.count(&Method::PUT), 3);
    Ok(())
}

#[tokio::test]
async fn bytes_damaged_on_the_way_there_are_sent_again() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let bytes = sample(1, 100_000);
    proxy.on(Method::PUT, Fault::FlipRequest, ONCE);
    assert_eq!(put(&store, "packs/1", &bytes).await?, CreateOutcome::New);
    assert_eq!(store.get(&key("packs/1")).await?, bytes);

    proxy.on(Method::PUT, Fault::FlipRequest, ALWAYS);
    let error = put(&store, "packs/2", &bytes).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Checksum { .. }),
        "{}",
        line(&error)
    );
    let gone = store.get(&key("packs/2")).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_digest_is_not_sent_again() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let result = store
        .create(&key("packs/1"), sample(1, 1_000), Digest::of(b"other"))
        .await;
    assert!(
        matches!(result, Err(StoreError::Checksum { .. })),
        "{result:?}"
    );
    assert_eq!(proxy.count(&Method::PUT), 1);
    Ok(())
}

#[tokio::test]
async fn bytes_damaged_on_the_way_back_are_fetched_again() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let bytes = sample(1, 100_000);
    put(&store, "packs/1", &bytes).await?;
    proxy.on(Method::GET, Fault::FlipReply, ONCE);
    assert_eq!(store.get(&key("packs/1")).await?, bytes);
    assert_eq!(proxy.count(&Method::GET), 2);

    proxy.on(Method::GET, Fault::FlipReply, ALWAYS);
    let error = store.get(&key("packs/1")).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Checksum { .. }),
        "{}",
        line(&error)
    );
    Ok(())
}

#[tokio::test]
async fn answers_that_break_off_are_fetched_again() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    let bytes = sample(1, 1_000_000);
    put(&store, "packs/1", &bytes).await?;
    proxy.on(Method::GET, Fault::CutReply, ONCE);
    assert_eq!(store.get(&key("packs/1")).await?, bytes);
    proxy.on(Method::GET, Fault::CutReply, ONCE);
    assert_eq!(
        store.get_range(&key("packs/1"), 10..900_000).await?,
        bytes.slice(10..900_000)
    );

    proxy.on(Method::GET, Fault::CutReply, ALWAYS);
    let error = store.get(&key("packs/1")).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Unavailable { .. }),
        "{}",
        line(&error)
    );
    Ok(())
}

#[tokio::test]
async fn a_full_store_and_one_without_conditions_are_told() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    for (status, code) in [(507, "NoSpaceLeftOnDevice"), (403, "QuotaExceeded")] {
        proxy.on(Method::PUT, Fault::Answer(status, code), ONCE);
        let error = put(&store, "packs/1", &sample(1, 10)).await.unwrap_err();
        assert!(
            matches!(error, StoreError::NoSpace { .. }),
            "{}",
            line(&error)
        );
    }
    proxy.on(Method::PUT, Fault::Answer(501, "NotImplemented"), ONCE);
    let expected = Probe {
        write_once: WriteOnceSupport::NotImplemented,
        records_checksums: false,
    };
    assert_eq!(store.probe().await?, expected);
    assert_eq!(proxy.count(&Method::PUT), 3);
    Ok(())
}

#[tokio::test]
async fn a_wrong_region_is_told_with_what_to_do() -> Result<()> {
    let (_server, proxy, store) = start().await?;
    proxy.on(Method::GET, Fault::Answer(301, "PermanentRedirect"), ONCE);
    let error = store.list("", None).await.unwrap_err();
    assert!(line(&error).contains("region="), "{}", line(&error));
    Ok(())
}
