//! Store in an S3 bucket: one conditional, checksummed put per object.

use std::fmt;
use std::future::Future;
use std::ops::Range;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::ChecksumMode;
use bytes::Bytes;
use tokio::sync::Semaphore;

use self::client::Clients;
use self::failure::{Failure, FailureKind};
use self::tries::TryCounter;
use super::{
    Access, CreateOutcome, Key, MAX_OBJECT, ObjectInfo, Page, Probe, Store, StoreError,
    WriteOnceSupport, probe_object,
};
use crate::digest::Digest;
use crate::num::to_u64;

mod archive;
mod ca;
mod client;
mod credentials;
mod failure;
mod options;
mod read;
mod repair;
mod tries;

pub use ca::{ParseCaError, read_ca};
pub use options::{AccessKey, AccessKeySource, Credentials, S3Options};

/// Number of times that a body is sent or fetched when it arrives damaged or breaks off. Each time has all
/// the tries of a request, so more would only hide a connection that damages everything.
const BODIES: u32 = 3;

/// Prefix whose listing has one object at most.
const CLAIM_ALONE: &str = "claim.json";

/// Store of objects below a prefix of a bucket.
pub struct S3Store {
    name: String,
    bucket: String,
    /// `None` for AWS.
    endpoint: Option<String>,
    /// "" or ends in a slash.
    prefix: String,
    clients: Clients,
    turns: Semaphore,
}

/// Outcome of a put.
enum PutOutcome {
    New,
    /// An object exists; `unsure` if it may be from an earlier try of this same put.
    Refused {
        unsure: bool,
    },
}

impl S3Store {
    /// Prepares the store. No request is made to it.
    ///
    /// # Errors
    /// [`StoreError::Other`] if the CA is not a certificate.
    pub async fn open(options: S3Options) -> Result<Self, StoreError> {
        let prefix = match options.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let name = format!("s3://{}/{}", options.bucket, prefix.trim_end_matches('/'));
        let name = name.trim_end_matches('/').to_owned();
        let other = |source: Box<dyn std::error::Error + Send + Sync>| StoreError::Other {
            store: name.clone(),
            operation: "prepare the connection".to_owned(),
            source,
        };
        let mut options = options;
        let ca = options.ca.as_deref().map(read_ca).transpose();
        options.ca = ca.map_err(|error| other(error.into()))?;
        let bucket = options.bucket.clone();
        let endpoint = options.endpoint.clone();
        let turns = Semaphore::new(options.limit.get());
        let clients = Clients::new(options).await.map_err(other)?;
        Ok(Self {
            name,
            bucket,
            endpoint,
            prefix,
            clients,
            turns,
        })
    }

    fn full(&self, key: &Key) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Sends a request; repeats it once with fresh credentials if the current ones are refused.
    async fn call<T, F, Fut>(&self, send: F) -> Result<T, Failure>
    where
        F: Fn(Client, TryCounter) -> Fut,
        Fut: Future<Output = Result<T, Failure>>,
    {
        let watch = TryCounter::default();
        let _turn = self
            .turns
            .acquire()
            .await
            .map_err(|closed| Failure::new(FailureKind::Other, &watch, closed))?;
        let (client, generation) = self.clients.current().await;
        match send(client, watch.clone()).await {
            Err(failure) if failure.refused() => match self.clients.reload(generation).await {
                Some(client) => send(client, watch).await,
                None => Err(failure),
            },
            result => result,
        }
    }

    /// Builds the error for callers. For a plain "not found" it checks whether the bucket exists.
    async fn error(&self, failure: Failure, verb: &str, key: Option<&Key>) -> StoreError {
        if failure.meaning == FailureKind::Missing {
            let bucket = self
                .call(async |client, watch| {
                    let request = client.head_bucket().bucket(&self.bucket).customize();
                    match request.interceptor(watch.clone()).send().await {
                        Ok(_) => Ok(()),
                        Err(error) => Err(Failure::of(error, &watch)),
                    }
                })
                .await;
            if bucket.is_err_and(|failure| failure.meaning == FailureKind::Missing) {
                return StoreError::NoBucket {
                    store: self.name.clone(),
                };
            }
        }
        if let (FailureKind::Archived, Some(key)) = (failure.meaning, key) {
            // The answer does not name the storage class, or say whether a restore is in progress.
            let info = self.call(|client, watch| self.look(client, watch, key));
            let archived = match info.await.map(|info| info.access) {
                Ok(Access::Archived(archived)) => archived,
                _ => self.archived(key, "GLACIER", None),
            };
            return StoreError::Archived {
                store: self.name.clone(),
                key: key.clone(),
                archived: Box::new(archived),
            };
        }
        failure.error(&self.name, verb, key)
    }

    /// Requests an object's head once.
    async fn look(
        &self,
        client: Client,
        watch: TryCounter,
        key: &Key,
    ) -> Result<ObjectInfo, Failure> {
        let request = client
            .head_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .checksum_mode(ChecksumMode::Enabled)
            .customize()
            .interceptor(watch.clone());
        let head = request
            .send()
            .await
            .map_err(|error| Failure::of(error, &watch))?;
        let size = head.content_length().map(u64::try_from);
        let Some(Ok(size)) = size else {
            let text = "the store reported no size";
            return Err(Failure::new(FailureKind::Other, &watch, text));
        };
        Ok(ObjectInfo {
            key: key.clone(),
            size,
            recorded: head.checksum_sha256().and_then(Digest::from_base64),
            modified: head.last_modified().and_then(read::time),
            access: self.access_of_head(key, &head),
        })
    }

    /// Puts an object. If the bytes arrive damaged, they are sent again.
    async fn put(&self, key: &Key, bytes: &Bytes, digest: Digest) -> Result<PutOutcome, Failure> {
        let mut sent = 0;
        loop {
            let result = self
                .call(|client, watch| self.put_once(client, watch, key, bytes.clone(), digest))
                .await;
            sent += 1;
            match result {
                // Bytes that never had the digest were not damaged in transit.
                Err(failure)
                    if failure.meaning == FailureKind::Damaged
                        && sent < BODIES
                        && Digest::of(bytes) == digest => {}
                result => return result,
            }
        }
    }

    async fn put_once(
        &self,
        client: Client,
        watch: TryCounter,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<PutOutcome, Failure> {
        let request = client
            .put_object()
            .bucket(&self.bucket)
            .key(self.full(key))
            .if_none_match("*")
            .checksum_sha256(digest.to_base64())
            .body(ByteStream::from(bytes))
            .customize()
            .interceptor(watch.clone());
        match request.send().await {
            Ok(_) => Ok(PutOutcome::New),
            Err(error) => match Failure::of(error, &watch) {
                failure if failure.meaning == FailureKind::Exists => Ok(PutOutcome::Refused {
                    unsure: watch.unsure(),
                }),
                failure => Err(failure.of_create()),
            },
        }
    }

    /// Reports whether the existing object has `digest`: by its recorded checksum, else by its bytes.
    async fn holds(&self, key: &Key, digest: Digest) -> Result<bool, StoreError> {
        match self.head(key).await {
            Ok(info) => match info.recorded {
                Some(recorded) => Ok(recorded == digest),
                None => Ok(Digest::of(&self.get(key).await?) == digest),
            },
            // Credentials with permission to put only cannot read. The content stays unknown.
            Err(StoreError::Forbidden { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn describe(&self) -> String {
        self.name.clone()
    }

    async fn create(
        &self,
        key: &Key,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<CreateOutcome, StoreError> {
        if bytes.len() > MAX_OBJECT {
            return Err(StoreError::TooLarge {
                store: self.name.clone(),
                key: key.clone(),
                size: to_u64(bytes.len()),
            });
        }
        match self.put(key, &bytes, digest).await {
            Ok(PutOutcome::New) => Ok(CreateOutcome::New),
            Ok(PutOutcome::Refused { unsure: true }) if self.holds(key, digest).await? => {
                Ok(CreateOutcome::New)
            }
            Ok(PutOutcome::Refused { .. }) => Ok(CreateOutcome::Existed),
            Err(failure) => Err(self.error(failure, "put", Some(key)).await),
        }
    }

    async fn get(&self, key: &Key) -> Result<Bytes, StoreError> {
        self.read(key, None).await
    }

    async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Bytes, StoreError> {
        if range.is_empty() {
            // S3 cannot return an empty range; whether the object exists still matters.
            return self.head(key).await.map(|_| Bytes::new());
        }
        self.read(key, Some(range)).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo, StoreError> {
        let result = self.call(|client, watch| self.look(client, watch, key));
        match result.await {
            Ok(info) => Ok(info),
            Err(failure) => Err(self.error(failure, "look at", Some(key)).await),
        }
    }

    async fn list(&self, prefix: &str, from: Option<String>) -> Result<Page, StoreError> {
        let result = self
            .call(|client, watch| self.page(client, watch, prefix, from.clone()))
            .await;
        match result {
            Ok(page) => Ok(page),
            Err(failure) => Err(self.error(failure, "list", None).await),
        }
    }

    async fn delete(&self, key: &Key) -> Result<(), StoreError> {
        let result = self
            .call(async |client, watch| {
                let request = client
                    .delete_object()
                    .bucket(&self.bucket)
                    .key(self.full(key))
                    .customize()
                    .interceptor(watch.clone());
                match request.send().await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(Failure::of(error, &watch)),
                }
            })
            .await;
        match result {
            Ok(()) => Ok(()),
            // Some stores report this error where S3 itself reports success.
            Err(failure) => match self.error(failure, "delete", Some(key)).await {
                StoreError::NotFound { .. } => Ok(()),
                error => Err(error),
            },
        }
    }

    async fn date(&self) -> Result<Option<jiff::Timestamp>, StoreError> {
        let result = self
            .call(async |client, watch| {
                // Any answer contains the date; this one is small.
                self.page(client, watch.clone(), CLAIM_ALONE, None).await?;
                Ok(watch.date())
            })
            .await;
        match result {
            Ok(date) => Ok(date),
            Err(failure) => Err(self.error(failure, "list", None).await),
        }
    }

    async fn probe(&self) -> Result<Probe, StoreError> {
        let (key, bytes, digest) = probe_object(self)?;
        let lacks = Probe {
            write_once: WriteOnceSupport::NotImplemented,
            records_checksums: false,
        };
        // A store without conditional puts overwrites the object, or answers 501.
        let mut second = None;
        for _ in 0..2 {
            second = match self.put(&key, &bytes, digest).await {
                Ok(put) => Some(put),
                Err(failure) if failure.meaning == FailureKind::NotImplemented => return Ok(lacks),
                Err(failure) => return Err(self.error(failure, "put", Some(&key)).await),
            };
        }
        let recorded = match self.head(&key).await {
            Ok(info) => info.recorded,
            // Credentials with permission to put only cannot read.
            Err(StoreError::Forbidden { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(Probe {
            write_once: match second {
                Some(PutOutcome::Refused { .. }) => WriteOnceSupport::Honoured,
                _ => WriteOnceSupport::Ignored,
            },
            records_checksums: recorded == Some(digest),
        })
    }
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
