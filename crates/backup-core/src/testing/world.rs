//! World of a test: a store, a clock, keys of each kind, and the runs and readers on them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::backup::{BackupError, BackupPlan, NewRestorePoint, Protection, Run};
use crate::catalog::{Catalog, CatalogError, RestorePoint};
use crate::clock::{Clock as _, FixedClock};
use crate::crypt::{Identities, Recipient, SigningKey, Trust, new_identity};
use crate::id::ComponentName;
use crate::newfile::OverwritePolicy;
use crate::progress::SilentProgress;
use crate::read::{self, PointKeys, RestoreError, VerifyDepth, VerifyReport};
use crate::source::ByteStream;
use crate::store::memory::MemoryStore;
use crate::store::{Key, Store};

/// Returns a small, real snapshot of etcd 3.6.16.
#[must_use]
pub fn snapshot() -> Vec<u8> {
    let packed = include_bytes!("../../tests/fixtures/etcd-3.6.16-objects.db.zst");
    zstd::decode_all(&packed[..]).unwrap()
}

/// Returns `bytes` as a source streams them.
#[must_use]
pub fn stream(bytes: &[u8]) -> ByteStream {
    let blocks = bytes.chunks(100_000);
    let blocks: Vec<_> = blocks.map(|b| Ok(Bytes::copy_from_slice(b))).collect();
    Box::pin(futures::stream::iter(blocks))
}

/// Returns the keys that begin with `prefix`.
pub async fn keys(store: &dyn Store, prefix: &str) -> Vec<Key> {
    let mut keys = Vec::new();
    let mut from = None;
    loop {
        let page = store.list(prefix, from).await.unwrap();
        keys.extend(page.objects.into_iter().map(|o| o.key));
        from = page.next;
        if from.is_none() {
            return keys;
        }
    }
}

/// Store in which restore points are taken, encrypted and signed; see the module.
#[derive(Debug)]
pub struct World<S = MemoryStore> {
    /// Store of the restore points.
    pub store: Arc<S>,
    /// Clock of the runs.
    pub clock: Arc<FixedClock>,
    /// Text of an identity file that opens everything.
    pub secret: SecretString,
    /// Public half of the identity.
    pub recipient: Recipient,
    /// Text of the signing key.
    pub signing: SecretString,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// Creates a world in memory, with keys of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::on(MemoryStore::new())
    }
}

impl<S: Store + 'static> World<S> {
    /// Creates a world around `store`, with keys of its own.
    pub fn on(store: S) -> Self {
        Self::at(store, "2026-11-23T12:00:00Z".parse().unwrap())
    }

    /// Creates a world around `store` in which it is `now`.
    pub fn at(store: S, now: Timestamp) -> Self {
        let (secret, recipient) = new_identity();
        Self {
            store: Arc::new(store),
            clock: Arc::new(FixedClock::new(now)),
            secret,
            recipient,
            signing: SigningKey::generate().unwrap().to_text().unwrap(),
        }
    }

    /// Creates a world with the same clock and keys around another store.
    pub fn with<T: Store + 'static>(&self, store: T) -> World<T> {
        World {
            store: Arc::new(store),
            clock: Arc::clone(&self.clock),
            secret: self.secret.clone(),
            recipient: self.recipient.clone(),
            signing: self.signing.clone(),
        }
    }

    /// Returns the store.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::<S>::clone(&self.store)
    }

    /// Returns the text of an identity file that opens everything.
    pub fn identity(&self) -> &str {
        self.secret.expose_secret()
    }

    /// Returns the identity.
    pub fn identities(&self) -> Identities {
        let mut identities = Identities::none();
        identities.add("test", &self.secret).unwrap();
        identities
    }

    /// Returns the signing key.
    pub fn key(&self) -> SigningKey {
        SigningKey::parse("test", &self.signing).unwrap()
    }

    /// Returns the trust in the signing key.
    pub fn trust(&self) -> Trust {
        Trust::Keys(vec![self.key().public().clone()])
    }

    /// Returns a run, encrypted and signed.
    pub fn run(&self) -> Run {
        Run {
            cluster: "butler-mgmt".parse().unwrap(),
            store: self.store(),
            protection: Protection::Recipients(vec![self.recipient.clone()]),
            signing_key: Some(self.key()),
            tool: "test 0".to_owned(),
            reason: None,
            pinned: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
            progress: Arc::new(SilentProgress),
            cancel: CancellationToken::new(),
        }
    }

    /// Stores `bytes` as an etcd snapshot.
    ///
    /// # Errors
    /// See [`Run::import_etcd`].
    pub async fn import(&self, run: &Run, bytes: &[u8]) -> Result<NewRestorePoint, BackupError> {
        run.import_etcd("test.snapshot", stream(bytes)).await
    }

    /// Takes a restore point, then advances the clock by an hour.
    ///
    /// # Errors
    /// See [`Run::take`].
    pub async fn take(&self, plan: BackupPlan<'_>) -> Result<NewRestorePoint, BackupError> {
        let committed = self.run().take(plan).await?;
        self.clock.advance(SignedDuration::from_hours(1));
        Ok(committed)
    }

    /// Returns the newest restore point, as a reader with `trust` sees it.
    ///
    /// # Errors
    /// See [`Catalog::load`].
    pub async fn newest(&self, trust: &Trust) -> Result<RestorePoint, CatalogError> {
        let catalog = Catalog::new(self.store());
        let entry = catalog.list().await?.pop().unwrap();
        catalog.load(&entry, trust).await
    }

    /// Returns the newest restore point.
    pub async fn latest(&self) -> RestorePoint {
        self.newest(&self.trust()).await.unwrap()
    }

    /// Returns the keys of a restore point.
    ///
    /// # Errors
    /// See [`read::unlock`].
    pub async fn unlock(&self, point: &RestorePoint) -> Result<PointKeys, RestoreError> {
        read::unlock(&self.store(), point, &self.identities()).await
    }

    /// Returns the bytes of etcd's snapshot.
    ///
    /// # Errors
    /// See [`World::fetch_component`].
    pub async fn fetch(&self, point: &RestorePoint) -> Result<Vec<u8>, RestoreError> {
        self.fetch_component(point, &ComponentName::etcd()).await
    }

    /// Returns the bytes of a component. Panics if a failed fetch leaves the file, or another one a second file.
    ///
    /// # Errors
    /// See [`read::fetch`].
    pub async fn fetch_component(
        &self,
        point: &RestorePoint,
        name: &ComponentName,
    ) -> Result<Vec<u8>, RestoreError> {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("fetched");
        let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
        let keys = self.unlock(point).await?;
        let to = (target.as_path(), OverwritePolicy::Replace);
        let fetched = read::fetch(self.store(), point, keys, name, to, progress, cancel).await;
        assert_eq!(target.exists(), fetched.is_ok(), "a part was left behind");
        let file = fetched?.file;
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        Ok(std::fs::read(file).unwrap())
    }

    /// Verifies a restore point to its last byte.
    ///
    /// # Errors
    /// See [`read::verify`].
    pub async fn verify(&self, point: &RestorePoint) -> Result<VerifyReport, RestoreError> {
        let depth = VerifyDepth::Full(self.unlock(point).await?);
        let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
        let scratch = std::env::temp_dir();
        read::verify(self.store(), point, depth, &scratch, progress, cancel).await
    }

    /// Returns the report of an audit of every byte.
    pub async fn audit(&self) -> audit::Report {
        self.audit_with(self.trust(), true).await
    }

    /// Returns the report of an audit by a reader with `trust`.
    pub async fn audit_with(&self, trust: Trust, deep: bool) -> audit::Report {
        let options = audit::Options {
            trust,
            deep,
            max_age: None,
            now: self.clock.now(),
        };
        let audit = audit::run(self.store(), &options, &SilentProgress);
        audit.await.unwrap()
    }

    /// Returns the keys that begin with `prefix`.
    pub async fn keys(&self, prefix: &str) -> Vec<Key> {
        keys(self.store.as_ref(), prefix).await
    }
}
