//! Parts that the tests share: a server with a bucket, stores on it, and objects.

use anyhow::Result;
use backup_core::digest::Digest;
use backup_core::store::s3::{Credentials, S3Options, S3Store};
use backup_core::store::{CreateOutcome, Key, Store, StoreError};
use bytes::Bytes;
use e2e::Folder;
use e2e::s3::{Keys, REGION, S3};

/// Server with one empty bucket. Its folder is dropped last.
pub(crate) struct Server {
    pub(crate) s3: S3,
    pub(crate) bucket: String,
    pub(crate) folder: Folder,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(false).await
    }

    pub(crate) async fn start_with(tls: bool) -> Result<Self> {
        let folder = Folder::new()?;
        let s3 = S3::start_with(&folder, "s3", tls).await?;
        let bucket = s3.bucket("store").await?;
        Ok(Self { s3, bucket, folder })
    }

    /// Returns the options of a store, as the administrator.
    pub(crate) fn options(&self) -> S3Options {
        S3Options {
            prefix: "clusters/test".to_owned(),
            endpoint: Some(self.s3.endpoint()),
            region: Some(REGION.to_owned()),
            path_style: true,
            credentials: credentials(self.s3.keys()),
            ..S3Options::new(&self.bucket)
        }
    }

    pub(crate) async fn store(&self) -> Result<S3Store, StoreError> {
        S3Store::open(self.options()).await
    }
}

pub(crate) fn credentials(keys: &Keys) -> Credentials {
    Credentials::fixed(keys.access.clone(), keys.secret.clone())
}

pub(crate) fn key(text: &str) -> Key {
    text.parse().unwrap()
}

pub(crate) async fn put(
    store: &dyn Store,
    name: &str,
    bytes: &Bytes,
) -> Result<CreateOutcome, StoreError> {
    store
        .create(&key(name), bytes.clone(), Digest::of(bytes))
        .await
}

/// Returns `length` bytes that differ from seed to seed.
pub(crate) fn sample(seed: usize, length: usize) -> Bytes {
    (0..length)
        .map(|n| (n.wrapping_mul(31) ^ (n >> 8) ^ seed).to_le_bytes()[0])
        .collect()
}
