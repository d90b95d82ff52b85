//! Prefix in memory, with everything that a run and a reader need.

use std::sync::Arc;

use backup_core::audit;
use backup_core::backup::{BackupError, NewRestorePoint, Protection, Run};
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::{Identities, Recipient, SigningKey, Trust, new_identity};
use backup_core::id::ComponentName;
use backup_core::newfile::OverwritePolicy;
use backup_core::progress::SilentProgress;
use backup_core::read::{self, RestoreError, VerifyDepth};
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Key, Store};
use bytes::Bytes;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// Returns a real snapshot of 3.6.16; see `snapshot.rs` for its figures.
pub(crate) fn snapshot() -> Vec<u8> {
    zstd::decode_all(&include_bytes!("../fixtures/etcd-3.6.16-objects.db.zst")[..]).unwrap()
}

/// Store, clock, and keys of each kind.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) secret: SecretString,
    pub(crate) recipient: Recipient,
    pub(crate) signing: SecretString,
}

impl World {
    pub(crate) fn new() -> Self {
        let (secret, recipient) = new_identity();
        let signing = SigningKey::generate().unwrap().to_text().unwrap();
        Self {
            store: Arc::new(MemoryStore::new()),
            clock: Arc::new(FixedClock::new("2026-11-23T12:00:00Z".parse().unwrap())),
            secret,
            recipient,
            signing,
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::<MemoryStore>::clone(&self.store)
    }

    pub(crate) fn run(&self) -> Run {
        Run {
            cluster: "butler-mgmt".parse().unwrap(),
            store: self.store(),
            protection: Protection::Recipients(vec![self.recipient.clone()]),
            signing_key: Some(SigningKey::parse("test", &self.signing).unwrap()),
            tool: "test 0".to_owned(),
            reason: Some("a test".to_owned()),
            pinned: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
            progress: Arc::new(SilentProgress),
            cancel: CancellationToken::new(),
        }
    }

    pub(crate) async fn import(
        &self,
        run: &Run,
        bytes: &[u8],
    ) -> Result<NewRestorePoint, BackupError> {
        let blocks: Vec<_> = bytes
            .chunks(100_000)
            .map(|b| Ok(Bytes::copy_from_slice(b)))
            .collect();
        run.import_etcd("test.snapshot", Box::pin(futures::stream::iter(blocks)))
            .await
    }

    pub(crate) fn trust(&self) -> Trust {
        let key = SigningKey::parse("test", &self.signing).unwrap();
        Trust::Keys(vec![key.public().clone()])
    }

    pub(crate) fn identities(&self) -> Identities {
        let mut identities = Identities::none();
        identities.add("test", &self.secret).unwrap();
        identities
    }

    pub(crate) async fn latest(&self) -> RestorePoint {
        let catalog = Catalog::new(self.store());
        let entry = catalog.list().await.unwrap().pop().unwrap();
        catalog.load(&entry, &self.trust()).await.unwrap()
    }

    pub(crate) async fn fetch(&self, point: &RestorePoint) -> Result<Vec<u8>, RestoreError> {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("etcd.snapshot");
        let store = self.store();
        let unlocked = read::unlock(&store, point, &self.identities()).await?;
        let fetched = read::fetch(
            store,
            point,
            unlocked,
            &ComponentName::etcd(),
            (&target, OverwritePolicy::Replace),
            Arc::new(SilentProgress),
            CancellationToken::new(),
        )
        .await?;
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        Ok(std::fs::read(fetched.file).unwrap())
    }

    pub(crate) async fn verify(
        &self,
        point: &RestorePoint,
    ) -> Result<read::VerifyReport, RestoreError> {
        let store = self.store();
        let unlocked = read::unlock(&store, point, &self.identities()).await?;
        let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
        let depth = VerifyDepth::Full(unlocked);
        read::verify(store, point, depth, &std::env::temp_dir(), progress, cancel).await
    }

    pub(crate) async fn audit(&self) -> audit::Report {
        self.audit_with(true).await
    }

    pub(crate) async fn audit_of(&self, trust: Trust) -> audit::Report {
        let options = audit::Options {
            trust,
            deep: false,
            max_age: None,
            now: self.clock.now(),
        };
        audit::run(self.store(), &options, &SilentProgress)
            .await
            .unwrap()
    }

    pub(crate) async fn audit_with(&self, deep: bool) -> audit::Report {
        let options = audit::Options {
            trust: self.trust(),
            deep,
            max_age: None,
            now: self.clock.now(),
        };
        audit::run(self.store(), &options, &SilentProgress)
            .await
            .unwrap()
    }

    pub(crate) async fn keys(&self, prefix: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut from = None;
        loop {
            let page = self.store.list(prefix, from).await.unwrap();
            keys.extend(page.objects.into_iter().map(|o| o.key));
            from = page.next;
            if from.is_none() {
                return keys;
            }
        }
    }
}
