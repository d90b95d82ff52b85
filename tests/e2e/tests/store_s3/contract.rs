//! Tests of the store's contract on a real server.

use anyhow::Result;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectVersion};
use backup_core::store::s3::{S3Options, S3Store};
use backup_core::store::{Probe, Store, StoreError, WriteOnceSupport};
use backup_core::testing::contract;

use super::shared::{Server, key, put, sample};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_keeps_the_contract() -> Result<()> {
    let server = Server::start().await?;
    let fresh = async || {
        let bucket = server.s3.bucket("contract").await.unwrap();
        S3Store::open(S3Options {
            bucket,
            ..server.options()
        })
        .await
        .unwrap()
    };
    contract::run(fresh).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_keeps_the_contract_with_tls_and_without_a_prefix() -> Result<()> {
    let server = Server::start_with(true).await?;
    let ca = std::fs::read(server.s3.ca().unwrap())?;
    let fresh = async || {
        let bucket = server.s3.bucket("contract").await.unwrap();
        let options = S3Options {
            bucket,
            prefix: String::new(),
            ca: Some(ca.clone()),
            ..server.options()
        };
        S3Store::open(options).await.unwrap()
    };
    contract::run(fresh).await?;
    Ok(())
}

#[tokio::test]
async fn prefixes_keep_stores_apart() -> Result<()> {
    let server = Server::start().await?;
    let store = server.store().await?;
    put(&store, "packs/1", &sample(1, 10)).await?;
    for prefix in ["clusters/tes", "clusters/test2", "clusters", ""] {
        let options = S3Options {
            prefix: prefix.to_owned(),
            ..server.options()
        };
        let other = S3Store::open(options).await?;
        let gone = other.get(&key("packs/1")).await;
        assert!(
            matches!(gone, Err(StoreError::NotFound { .. })),
            "{prefix}: {gone:?}"
        );
        if prefix.contains("/tes") {
            assert_eq!(other.list("", None).await?.objects, [], "{prefix}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn objects_of_others_are_told_and_not_read_whole() -> Result<()> {
    let server = Server::start().await?;
    let store = server.store().await?;
    put(&store, "packs/1", &sample(1, 10)).await?;
    let client = server.s3.client()?;
    let large = (16 << 20) + 1;
    for (name, size) in [("Readme.TXT", 10), ("packs/large", large)] {
        client
            .put_object()
            .bucket(&server.bucket)
            .key(format!("clusters/test/{name}"))
            .body(ByteStream::from(sample(2, size)))
            .send()
            .await?;
    }
    let page = store.list("", None).await?;
    let keys: Vec<_> = page.objects.iter().map(|info| info.key.as_str()).collect();
    assert_eq!(keys, ["packs/1", "packs/large"]);
    assert_eq!(page.foreign, ["Readme.TXT"]);

    let error = store.get(&key("packs/large")).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                size: 16_777_217,
                ..
            }
        ),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn what_went_bad_on_the_server_is_not_given_out() -> Result<()> {
    let server = Server::start().await?;
    let store = server.store().await?;
    put(&store, "packs/1", &sample(1, 1_000)).await?;
    let file = server
        .s3
        .objects()
        .join(&server.bucket)
        .join("clusters/test/packs/1");
    let mut bytes = std::fs::read(&file)?;
    assert_eq!(bytes, sample(1, 1_000));
    bytes[500] ^= 1;
    // Overwritten in place, so that the server's own record of the checksum stays.
    std::fs::write(&file, bytes)?;
    let error = store.get(&key("packs/1")).await.unwrap_err();
    assert!(matches!(error, StoreError::Checksum { .. }), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_delete_in_a_bucket_with_versions_hides_the_object_and_its_lock_keeps_the_bytes()
-> Result<()> {
    let server = Server::start().await?;
    let bucket = server.s3.locked_bucket("locked").await?;
    let options = S3Options {
        bucket: bucket.clone(),
        ..server.options()
    };
    let store = S3Store::open(options).await?;
    put(&store, "packs/1", &sample(1, 10)).await?;
    let name = "clusters/test/packs/1";
    let client = server.s3.client()?;
    let hold = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On);
    let hold = client.put_object_legal_hold().legal_hold(hold.build());
    hold.bucket(&bucket).key(name).send().await?;
    for _ in 0..2 {
        store.delete(&key("packs/1")).await?;
    }
    let gone = store.head(&key("packs/1")).await;
    assert!(matches!(gone, Err(StoreError::NotFound { .. })), "{gone:?}");
    assert_eq!(store.list("", None).await?.objects, []);
    let versions = client.list_object_versions().bucket(&bucket).send().await?;
    let kept: Vec<_> = versions
        .versions()
        .iter()
        .filter_map(ObjectVersion::size)
        .collect();
    assert_eq!(kept, [10]);
    Ok(())
}

#[tokio::test]
async fn a_bucket_with_object_lock_takes_objects() -> Result<()> {
    let server = Server::start().await?;
    let bucket = server.s3.locked_bucket("locked").await?;
    let store = S3Store::open(S3Options {
        bucket,
        ..server.options()
    })
    .await?;
    let expected = Probe {
        write_once: WriteOnceSupport::Honoured,
        records_checksums: true,
    };
    assert_eq!(store.probe().await?, expected);
    Ok(())
}
