//! Prefix in memory, with runs that commit or die, and sweeps.

use backup_core::backup::{NewRestorePoint, Protection, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::{Identities, Recipient, SigningKey, Trust, new_identity};
use backup_core::digest::Digest;
use backup_core::gc::{self, RemovalPlan, RemovalReport, RemovalRules};
use backup_core::progress::SilentProgress;
use backup_core::read::{self, VerifyDepth};
use backup_core::store::memory::MemoryStore;
use backup_core::store::{CreateOutcome, Key, Store};
use backup_core::testing::fault::{CallFilter, Fault, FaultStore, StoreCall};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(2);
pub(crate) const LONG: SignedDuration = SignedDuration::from_hours(3);

pub(crate) struct World {
    pub(crate) memory: Arc<MemoryStore>,
    pub(crate) store: Arc<FaultStore>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) secret: SecretString,
    pub(crate) recipient: Recipient,
    pub(crate) signing: SecretString,
}

/// Returns a real snapshot; see `run.rs`.
pub(crate) fn snapshot() -> Vec<u8> {
    zstd::decode_all(&include_bytes!("../fixtures/etcd-3.6.16-objects.db.zst")[..]).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(MemoryStore::new()).await
    }

    pub(crate) async fn on(memory: MemoryStore) -> Self {
        let now = memory.date().await.unwrap();
        let memory = Arc::new(memory);
        let (secret, recipient) = new_identity();
        Self {
            store: Arc::new(FaultStore::new(Arc::<MemoryStore>::clone(&memory))),
            memory,
            clock: Arc::new(FixedClock::new(now.unwrap_or(Timestamp::UNIX_EPOCH))),
            secret,
            recipient,
            signing: SigningKey::generate().unwrap().to_text().unwrap(),
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::<FaultStore>::clone(&self.store)
    }

    pub(crate) fn key(&self) -> SigningKey {
        SigningKey::parse("test", &self.signing).unwrap()
    }

    pub(crate) fn pass(&self, time: SignedDuration) {
        self.memory.pass(time);
        self.clock.advance(time);
    }

    pub(crate) fn run(&self) -> Run {
        Run {
            cluster: "mgmt".parse().unwrap(),
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

    pub(crate) async fn take(&self, run: &Run) -> NewRestorePoint {
        self.pass(SignedDuration::from_secs(1));
        let bytes = futures::stream::iter([Ok(Bytes::from(snapshot()))]);
        run.import_etcd("test.snapshot", Box::pin(bytes))
            .await
            .unwrap()
    }

    /// Starts a run that dies before its manifest; returns the names of its orphans.
    pub(crate) async fn die(&self) -> BTreeSet<String> {
        let before = self.keys().await;
        let fault = Arc::new(FaultStore::new(self.store()));
        fault.on(
            CallFilter::call(StoreCall::Create).under("manifests/"),
            Fault::StopBefore,
        );
        let run = Run {
            store: Arc::<FaultStore>::clone(&fault),
            // A run with another key builds upon nothing, and so puts everything.
            signing_key: Some(SigningKey::generate().unwrap()),
            ..self.run()
        };
        tokio::select! {
            _ = self.take(&run) => panic!("it lived"),
            () = fault.stopped() => {}
        }
        &self.keys().await - &before
    }

    /// Puts a small orphan.
    pub(crate) async fn drop_one(&self, name: &str) -> Key {
        let bytes = Bytes::from(format!("left {name} {}", self.clock.now()));
        let digest = Digest::of(&bytes);
        let key: Key = name.replace("DIGEST", &digest.to_string()).parse().unwrap();
        let created = self.memory.create(&key, bytes, digest).await.unwrap();
        assert_eq!(created, CreateOutcome::New);
        key
    }

    pub(crate) async fn keys(&self) -> BTreeSet<String> {
        let (mut keys, mut from) = (BTreeSet::new(), None);
        loop {
            let page = self.memory.list("", from).await.unwrap();
            keys.extend(page.objects.iter().map(|o| o.key.to_string()));
            from = page.next;
            if from.is_none() {
                return keys;
            }
        }
    }

    pub(crate) fn rules(&self) -> RemovalRules {
        RemovalRules {
            cluster: "mgmt".parse().unwrap(),
            trust: Trust::Keys(vec![self.key().public().clone()]),
            grace: GRACE,
            unencrypted: false,
            force: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
        }
    }

    pub(crate) async fn look(&self, rules: &RemovalRules) -> RemovalPlan {
        gc::plan_removal(&self.store(), rules, &SilentProgress)
            .await
            .unwrap()
    }

    pub(crate) async fn remove(&self, rules: &RemovalRules, plan: &RemovalPlan) -> RemovalReport {
        let cancel = CancellationToken::new();
        gc::remove(&self.store(), rules, plan, &cancel)
            .await
            .unwrap()
    }

    pub(crate) async fn sweep(&self, rules: &RemovalRules) -> (RemovalPlan, RemovalReport) {
        let plan = self.look(rules).await;
        let removed = self.remove(rules, &plan).await;
        (plan, removed)
    }

    /// Sweeps while a rule must hold the sweep: nothing is removed, and a finding has these words.
    pub(crate) async fn held(&self, rules: &RemovalRules, words: &str) -> RemovalPlan {
        let before = self.keys().await;
        let (plan, removed) = self.sweep(rules).await;
        assert!(plan.held && !removed.complete, "{plan:?}");
        let told = plan.findings.iter().any(|f| f.cause.contains(words));
        assert!(told, "{words:?} is not in {:?}", plan.findings);
        assert_eq!(removed.removed.objects, 0);
        assert_eq!(self.keys().await, before);
        assert_eq!(self.store.counts().deletes, 0);
        plan
    }

    /// Checks that there are `count` restore points, and that each is whole to the last byte.
    pub(crate) async fn all_sound(&self, count: usize) {
        let catalog = Catalog::new(self.store());
        let entries = catalog.list().await.unwrap();
        assert_eq!(entries.len(), count);
        let mut identities = Identities::none();
        identities.add("test", &self.secret).unwrap();
        for entry in entries {
            let point = catalog.load(&entry, &self.rules().trust).await.unwrap();
            let store = self.store();
            let unlocked = read::unlock(&store, &point, &identities).await.unwrap();
            let folder = std::env::temp_dir();
            let verified = read::verify(
                store,
                &point,
                VerifyDepth::Full(unlocked),
                &folder,
                Arc::new(SilentProgress),
                CancellationToken::new(),
            );
            let found = verified.await.unwrap().findings;
            assert!(found.is_empty(), "{}: {found:?}", entry.id);
        }
    }
}
