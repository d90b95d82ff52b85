//! World with runs that commit or die, and sweeps of what they leave.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use backup_core::backup::{NewRestorePoint, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::SigningKey;
use backup_core::digest::Digest;
use backup_core::gc::{self, RemovalPlan, RemovalReport, RemovalRules};
use backup_core::progress::SilentProgress;
use backup_core::store::memory::MemoryStore;
use backup_core::store::{CreateOutcome, Key, Store};
use backup_core::testing::fault::{CallFilter, Fault, FaultStore, StoreCall};
use backup_core::testing::world::{World, keys, snapshot};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

pub(crate) const GRACE: SignedDuration = SignedDuration::from_hours(2);
pub(crate) const LONG: SignedDuration = SignedDuration::from_hours(3);

/// World whose store fails on purpose; see the module.
pub(crate) struct Sweeper {
    /// Store behind the one that fails.
    pub(crate) memory: Arc<MemoryStore>,
    world: World<FaultStore>,
}

impl Deref for Sweeper {
    type Target = World<FaultStore>;

    fn deref(&self) -> &Self::Target {
        &self.world
    }
}

impl Sweeper {
    pub(crate) async fn new() -> Self {
        Self::on(MemoryStore::new()).await
    }

    pub(crate) async fn on(memory: MemoryStore) -> Self {
        let now = memory.date().await.unwrap();
        let memory = Arc::new(memory);
        let store = FaultStore::new(Arc::<MemoryStore>::clone(&memory));
        Self {
            memory,
            world: World::at(store, now.unwrap_or(Timestamp::UNIX_EPOCH)),
        }
    }

    pub(crate) fn pass(&self, time: SignedDuration) {
        self.memory.pass(time);
        self.clock.advance(time);
    }

    pub(crate) async fn take(&self, run: &Run) -> NewRestorePoint {
        self.pass(SignedDuration::from_secs(1));
        self.import(run, &snapshot()).await.unwrap()
    }

    /// Starts a run that dies before its manifest; returns the names of its orphans.
    pub(crate) async fn die(&self) -> BTreeSet<String> {
        let before = self.keys().await;
        let fault = Arc::new(FaultStore::new(self.store()));
        let manifests = CallFilter::call(StoreCall::Create).under("manifests/");
        fault.on(manifests, Fault::StopBefore);
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

    /// Returns all keys, without a call that fails or counts.
    pub(crate) async fn keys(&self) -> BTreeSet<String> {
        let keys = keys(self.memory.as_ref(), "").await;
        keys.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn rules(&self) -> RemovalRules {
        RemovalRules {
            cluster: self.run().cluster,
            trust: self.trust(),
            grace: GRACE,
            unencrypted: false,
            force: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
        }
    }

    pub(crate) async fn look(&self, rules: &RemovalRules) -> RemovalPlan {
        let store = self.store();
        let plan = gc::plan_removal(&store, rules, &SilentProgress).await;
        plan.unwrap()
    }

    pub(crate) async fn remove(&self, rules: &RemovalRules, plan: &RemovalPlan) -> RemovalReport {
        let (store, cancel) = (self.store(), CancellationToken::new());
        gc::remove(&store, rules, plan, &cancel).await.unwrap()
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
        for entry in entries {
            let point = catalog.load(&entry, &self.trust()).await.unwrap();
            let found = self.verify(&point).await.unwrap().findings;
            assert!(found.is_empty(), "{}: {found:?}", entry.id);
        }
    }
}
