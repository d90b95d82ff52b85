//! What runs that died left is removed, and nothing else, whatever is the matter with the prefix.

#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;

use backup_core::backup::{BackupError, Committed, Protection, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::{Identities, Recipient, SigningKey, Trust, new_identity};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::Severity;
use backup_core::leftovers::{self, Plan, Removed, Rules};
use backup_core::progress::Silent;
use backup_core::restore::{self, VerifyDepth};
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Created, Key, Store, StoreError};
use backup_core::testing::fault::{Call, Fault, FaultStore, When};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

const GRACE: SignedDuration = SignedDuration::from_hours(2);
const LONG: SignedDuration = SignedDuration::from_hours(3);

struct World {
    memory: Arc<MemoryStore>,
    store: Arc<FaultStore>,
    clock: Arc<FixedClock>,
    secret: SecretString,
    recipient: Recipient,
    signing: SecretString,
}

/// A real snapshot; see `run.rs`.
fn snapshot() -> Vec<u8> {
    zstd::decode_all(&include_bytes!("fixtures/etcd-3.6.16-snapshot.db.zst")[..]).unwrap()
}

impl World {
    async fn new() -> Self {
        Self::on(MemoryStore::new()).await
    }

    async fn on(memory: MemoryStore) -> Self {
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

    fn store(&self) -> Arc<dyn Store> {
        Arc::<FaultStore>::clone(&self.store)
    }

    fn key(&self) -> SigningKey {
        SigningKey::parse("test", &self.signing).unwrap()
    }

    fn pass(&self, time: SignedDuration) {
        self.memory.pass(time);
        self.clock.advance(time);
    }

    fn run(&self) -> Run {
        Run {
            cluster: "mgmt".parse().unwrap(),
            store: self.store(),
            protection: Protection::Recipients(vec![self.recipient.clone()]),
            signing_key: Some(self.key()),
            tool: "test 0".to_owned(),
            reason: None,
            pinned: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
            progress: Arc::new(Silent),
            cancel: CancellationToken::new(),
        }
    }

    async fn take(&self, run: &Run) -> Committed {
        self.pass(SignedDuration::from_secs(1));
        let bytes = futures::stream::iter([Ok(Bytes::from(snapshot()))]);
        run.import_etcd("test.snapshot", Box::pin(bytes))
            .await
            .unwrap()
    }

    /// A run that dies before its manifest; gives the names of what it left.
    async fn die(&self) -> BTreeSet<String> {
        let before = self.keys().await;
        let fault = Arc::new(FaultStore::new(self.store()));
        fault.on(
            When::call(Call::Create).under("manifests/"),
            Fault::StopBefore,
        );
        let run = Run {
            store: Arc::<FaultStore>::clone(&fault),
            // Who has another key builds on nothing, and so puts everything.
            signing_key: Some(SigningKey::generate().unwrap()),
            ..self.run()
        };
        tokio::select! {
            _ = self.take(&run) => panic!("it lived"),
            () = fault.stopped() => {}
        }
        &self.keys().await - &before
    }

    /// A leftover of little bytes.
    async fn drop_one(&self, name: &str) -> Key {
        let bytes = Bytes::from(format!("left {name} {}", self.clock.now()));
        let digest = Digest::of(&bytes);
        let key: Key = name.replace("DIGEST", &digest.to_string()).parse().unwrap();
        let created = self.memory.create(&key, bytes, digest).await.unwrap();
        assert_eq!(created, Created::New);
        key
    }

    async fn keys(&self) -> BTreeSet<String> {
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

    fn rules(&self) -> Rules {
        Rules {
            cluster: "mgmt".parse().unwrap(),
            trust: Trust::Keys(vec![self.key().public().clone()]),
            grace: GRACE,
            unencrypted: false,
            past_the_brake: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
        }
    }

    async fn look(&self, rules: &Rules) -> Plan {
        leftovers::look(&self.store(), rules, &Silent)
            .await
            .unwrap()
    }

    async fn remove(&self, rules: &Rules, plan: &Plan) -> Removed {
        let cancel = CancellationToken::new();
        leftovers::remove(&self.store(), rules, plan, &cancel)
            .await
            .unwrap()
    }

    async fn sweep(&self, rules: &Rules) -> (Plan, Removed) {
        let plan = self.look(rules).await;
        let removed = self.remove(rules, &plan).await;
        (plan, removed)
    }

    /// Sweeps where a rule must hold it: nothing goes, and a finding has these words.
    async fn held(&self, rules: &Rules, words: &str) -> Plan {
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

    /// Every restore point that is there is whole, to the last byte.
    async fn all_sound(&self, count: usize) {
        let catalog = Catalog::new(self.store());
        let entries = catalog.list().await.unwrap();
        assert_eq!(entries.len(), count);
        let mut identities = Identities::none();
        identities.add("test", &self.secret).unwrap();
        for entry in entries {
            let point = catalog.load(&entry, &self.rules().trust).await.unwrap();
            let store = self.store();
            let unlocked = restore::unlock(&store, &point, &identities).await.unwrap();
            let folder = std::env::temp_dir();
            let verified = restore::verify(
                store,
                &point,
                VerifyDepth::Full(unlocked),
                &folder,
                Arc::new(Silent),
                CancellationToken::new(),
            );
            let found = verified.await.unwrap().findings;
            assert!(found.is_empty(), "{}: {found:?}", entry.id);
        }
    }
}

#[tokio::test]
async fn what_a_dead_run_left_goes_once_it_is_old_and_nothing_else_does() {
    let world = World::new().await;
    let run = world.run();
    world.take(&run).await;
    world.take(&run).await;
    // More than half of what is needed, so that this needs somebody who has looked.
    let left = world.die().await;
    let kinds: BTreeSet<&str> = left.iter().filter_map(|k| k.split('/').next()).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["indexes", "keys", "packs", "recipes", "signatures"]
    );
    let rules = Rules {
        past_the_brake: true,
        ..world.rules()
    };
    // Young: counted, and left.
    world.pass(GRACE - SignedDuration::from_secs(1));
    let (plan, removed) = world.sweep(&rules).await;
    assert_eq!(plan.left.objects, u64::try_from(left.len()).unwrap());
    assert_eq!((plan.old.objects, removed.removed.objects), (0, 0));
    assert!(!plan.held && removed.complete && plan.findings.is_empty());

    world.pass(SignedDuration::from_secs(2));
    let before = world.keys().await;
    let (plan, removed) = world.sweep(&rules).await;
    assert!(!plan.held && removed.complete, "{plan:?} {removed:?}");
    assert_eq!((plan.restore_points, plan.old), (2, plan.left));
    assert_eq!(removed.removed, plan.old);
    assert_eq!(world.keys().await, &before - &left);
    world.all_sound(2).await;
    // Once more: nothing to do.
    let (plan, removed) = world.sweep(&rules).await;
    assert_eq!((plan.left.objects, removed.removed.objects), (0, 0));
    // And the next run builds on what is there.
    world.take(&run).await;
    world.all_sound(3).await;
}

#[tokio::test]
async fn what_is_no_leftover_stays_whatever_its_age() {
    let world = World::new().await;
    let committed = world.take(&world.run()).await;
    let signed = layout::signatures_of(committed.digest);
    world.drop_one(&format!("{signed}DIGEST.minisig")).await;
    world.drop_one("journals/a-restore/0000000000000077").await;
    world.drop_one("probe/DIGEST").await;
    world.drop_one("packs/readme.txt").await;
    world.drop_one("notes").await;
    let kept = world.keys().await;
    let gone = [
        world.drop_one("packs/DIGEST").await,
        world.drop_one("recipes/DIGEST").await,
        world.drop_one("indexes/DIGEST").await,
        world.drop_one("keys/DIGEST.age").await,
        world
            .drop_one(&format!("signatures/{}/DIGEST.minisig", Digest::of(b"x")))
            .await,
    ];
    world.pass(LONG);
    let (plan, removed) = world.sweep(&world.rules()).await;
    let listed: BTreeSet<&Key> = plan.leftovers.iter().map(|l| &l.key).collect();
    assert_eq!(listed, gone.iter().collect());
    assert_eq!(removed.removed.objects, 5);
    assert_eq!(world.keys().await, kept);
    let told: Vec<_> = plan.findings.iter().map(|f| f.object.as_str()).collect();
    assert_eq!(told, ["notes", "packs/readme.txt"]);
    world.all_sound(1).await;
}

#[tokio::test]
async fn without_ages_nothing_goes() {
    let world = World::on(MemoryStore::without_clock()).await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world
        .held(&world.rules(), "does not tell what time it is")
        .await;

    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    for minutes in [-6, 6] {
        let clock = FixedClock::new(world.clock.now() + SignedDuration::from_mins(minutes));
        let rules = Rules {
            clock: Arc::new(clock),
            ..world.rules()
        };
        world.held(&rules, "clock and the store's differ").await;
    }
    // Within what may be, the smaller age counts.
    world.drop_one("recipes/DIGEST").await;
    world.pass(GRACE);
    let clock = FixedClock::new(world.clock.now() - SignedDuration::from_mins(1));
    let rules = Rules {
        clock: Arc::new(clock),
        ..world.rules()
    };
    let plan = world.look(&rules).await;
    assert_eq!((plan.left.objects, plan.old.objects), (2, 1));
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_or_trusted_holds_it() {
    // Damaged.
    let world = World::new().await;
    let committed = world.take(&world.run()).await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    assert!(world.memory.damage(&manifest, Bytes::from_static(b"{}")));
    world.held(&world.rules(), "checksum").await;

    // Of a later version.
    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    let later = Bytes::from_static(b"{\"version\": 9}");
    let digest = Digest::of(&later);
    let key = layout::manifest(world.clock.now(), digest);
    world.memory.create(&key, later, digest).await.unwrap();
    world.pass(LONG);
    world.held(&world.rules(), "format version 9").await;

    // Under a name that this version does not know.
    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.drop_one("manifests/v2/DIGEST").await;
    world.pass(LONG);
    world
        .held(&world.rules(), "that this version does not know")
        .await;

    // By another key.
    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    let other = SigningKey::generate().unwrap();
    let public = other.public().clone();
    let run = Run {
        signing_key: Some(other),
        ..world.run()
    };
    world.take(&run).await;
    world.pass(LONG);
    world
        .held(&world.rules(), "a key that is not trusted")
        .await;
    let rules = Rules {
        trust: Trust::Anyone,
        ..world.rules()
    };
    world.held(&rules, "not checked for a signature").await;
    let rules = Rules {
        trust: Trust::Keys(vec![world.key().public().clone(), public]),
        ..world.rules()
    };
    let (_, removed) = world.sweep(&rules).await;
    assert_eq!(removed.removed.objects, 1);
}

#[tokio::test]
async fn a_listing_that_is_not_whole_holds_it() {
    let world = World::new().await;
    let committed = world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    // The second page of the whole listing.
    world.store.on(
        When::call(Call::List).under("").from(4).times(1),
        Fault::Unavailable,
    );
    let error = leftovers::look(&world.store(), &world.rules(), &Silent).await;
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("cannot look at memory"),
        "{error}"
    );
    world.store.clear();
    // And one that ends well, and lacks what there must be.
    let pack = committed.manifest.components[0].packs[0].sha256;
    assert!(world.memory.remove(&layout::pack(pack)));
    world
        .held(&world.rules(), "the listing does not show it")
        .await;
}

#[tokio::test]
async fn a_prefix_of_another_or_without_encryption_is_left_alone() {
    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    let rules = Rules {
        cluster: "other".parse().unwrap(),
        ..world.rules()
    };
    world.held(&rules, "claimed for cluster `mgmt`").await;
    let rules = Rules {
        unencrypted: true,
        ..world.rules()
    };
    let plan = world.held(&rules, "without encryption").await;
    assert_eq!(plan.findings[0].severity, Severity::Info);
    assert!(world.memory.remove(&layout::claim()));
    world.held(&world.rules(), "no claim.json").await;

    let world = World::new().await;
    let run = Run {
        protection: Protection::None,
        ..world.run()
    };
    world.take(&run).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    world.held(&world.rules(), "without encryption").await;
    // Nothing is there: nothing to say.
    let world = World::new().await;
    let plan = world.look(&world.rules()).await;
    assert!(!plan.held && plan.findings.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn the_brake_holds_until_somebody_has_looked() {
    let world = World::new().await;
    let (first, second) = (
        world.take(&world.run()).await,
        world.take(&world.run()).await,
    );
    world.die().await;
    world.pass(LONG);
    let plan = world.held(&world.rules(), "more than half").await;
    assert!(plan.findings[0].remedy.contains("--past-the-brake"));
    for point in [&first, &second] {
        let manifest = layout::manifest(point.manifest.began, point.digest);
        assert!(world.memory.remove(&manifest));
    }
    world
        .held(&world.rules(), "there is no restore point")
        .await;
    let rules = Rules {
        past_the_brake: true,
        ..world.rules()
    };
    let (_, removed) = world.sweep(&rules).await;
    assert!(
        removed.complete && removed.removed.objects > 5,
        "{removed:?}"
    );
    assert_eq!(world.keys().await.len(), 2, "{:?}", world.keys().await);
}

#[tokio::test]
async fn restore_points_that_come_or_go_meanwhile_are_heeded() {
    let world = World::new().await;
    world.take(&world.run()).await;
    let other = world.die().await;
    let late = world.take(&world.run()).await;
    let manifest = layout::manifest(late.manifest.began, late.digest);
    let bytes = world.memory.get(&manifest).await.unwrap();
    assert!(world.memory.remove(&manifest));
    world.pass(LONG);
    let rules = Rules {
        past_the_brake: true,
        ..world.rules()
    };
    let plan = world.look(&rules).await;
    assert!(plan.leftovers.len() > other.len());
    // The slowest run there ever was commits now.
    world
        .memory
        .create(&manifest, bytes, late.digest)
        .await
        .unwrap();
    let removed = world.remove(&rules, &plan).await;
    assert_eq!(removed.removed.objects, u64::try_from(other.len()).unwrap());
    assert!(removed.spared > 0 && removed.complete, "{removed:?}");
    world.all_sound(2).await;

    // One that is gone, or is not trusted: others are at work here.
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    let plan = world.look(&rules).await;
    let run = Run {
        signing_key: Some(SigningKey::generate().unwrap()),
        ..world.run()
    };
    let strange = world.take(&run).await;
    let strange = layout::manifest(strange.manifest.began, strange.digest);
    let removed = world.remove(&rules, &plan).await;
    assert!(
        removed.findings[0].cause.contains("came meanwhile"),
        "{removed:?}"
    );
    assert!(world.memory.remove(&strange));
    assert!(world.memory.remove(&manifest));
    let again = world.remove(&rules, &plan).await;
    assert!(
        again.findings[0].cause.contains("deleted meanwhile"),
        "{again:?}"
    );
    assert_eq!((removed.removed.objects, again.removed.objects), (0, 0));
    assert!(!removed.complete && !again.complete);
}

#[tokio::test]
async fn failures_end_it_and_it_can_be_made_again() {
    let world = World::new().await;
    world.take(&world.run()).await;
    let kept = world.keys().await;
    for number in 0..30 {
        world.pass(SignedDuration::from_secs(1));
        world
            .drop_one(if number % 2 == 0 {
                "packs/DIGEST"
            } else {
                "recipes/DIGEST"
            })
            .await;
    }
    world.pass(LONG);
    let rules = world.rules();
    let deletes = || When::call(Call::Delete);
    // No right to: it asks no more than what was under way.
    world.store.on(deletes(), Fault::Forbidden);
    let plan = world.look(&rules).await;
    let removed = world.remove(&rules, &plan).await;
    assert!(removed.errors <= 9 && !removed.complete, "{removed:?}");
    assert!(removed.findings[0].remedy.contains("s3:DeleteObject"));
    // Away: five errors, and those under way.
    world.store.clear();
    world.store.on(deletes().from(4), Fault::Unavailable);
    let removed = world.remove(&rules, &plan).await;
    assert!((5..=13).contains(&removed.errors), "{removed:?}");
    assert!(removed.removed.objects >= 3 && !removed.complete);
    // Told to stop.
    world.store.clear();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = leftovers::remove(&world.store(), &rules, &plan, &cancel).await;
    let stopped = stopped.unwrap();
    assert!(!stopped.complete && stopped.removed.objects == 0);
    // Killed in the middle: the store never answers again, as nobody asks any more.
    let fault = Arc::new(FaultStore::new(world.store()));
    fault.on(deletes().from(3), Fault::StopAfter);
    let dying: Arc<dyn Store> = Arc::<FaultStore>::clone(&fault);
    let cancel = CancellationToken::new();
    tokio::select! {
        _ = leftovers::remove(&dying, &rules, &plan, &cancel) => panic!("it lived"),
        () = fault.stopped() => {}
    }
    // Replies that are lost: gone is gone.
    world.store.on(deletes().times(2), Fault::LostReply);
    let (_, removed) = world.sweep(&rules).await;
    assert_eq!((removed.errors, removed.complete), (2, true));
    let (plan, removed) = world.sweep(&rules).await;
    assert_eq!((plan.left.objects, removed.removed.objects), (0, 0));
    assert_eq!(world.keys().await, kept);
    world.all_sound(1).await;
}

#[tokio::test]
async fn a_look_that_cannot_ask_is_an_error_and_not_an_empty_prefix() {
    let world = World::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    for call in [Call::List, Call::Get] {
        world.store.on(When::call(call), Fault::Forbidden);
        let error = leftovers::look(&world.store(), &world.rules(), &Silent).await;
        let error: &dyn std::error::Error = &error.unwrap_err();
        let store = std::iter::successors(Some(error), |e| e.source())
            .find_map(|e| e.downcast_ref::<StoreError>());
        assert!(
            matches!(store, Some(StoreError::Forbidden { .. })),
            "{error:?}"
        );
        world.store.clear();
    }
}

#[tokio::test]
async fn a_run_that_took_too_long_looks_before_it_commits() {
    let world = World::new().await;
    world.take(&world.run()).await;
    let slow = Arc::new(FaultStore::new(world.store()));
    let run = Run {
        store: Arc::<FaultStore>::clone(&slow),
        signing_key: Some(SigningKey::generate().unwrap()),
        ..world.run()
    };
    let pause = std::time::Duration::from_millis(300);
    slow.on(
        When::call(Call::Create).under("indexes/"),
        Fault::Slow(pause),
    );
    world.pass(SignedDuration::from_secs(1));
    let bytes = futures::stream::iter([Ok(Bytes::from(snapshot()))]);
    let taken = run.import_etcd("test.snapshot", Box::pin(bytes));
    // It has put its packs and waits; hours pass, and somebody sweeps with too short a grace time.
    let swept = async {
        while slow.counts().creates < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.pass(LONG);
        let rules = Rules {
            past_the_brake: true,
            ..world.rules()
        };
        world.sweep(&rules).await.1.removed.objects
    };
    let (taken, removed) = tokio::join!(taken, swept);
    assert!(removed > 0);
    let error = taken.unwrap_err();
    assert!(matches!(error, BackupError::Removed { .. }), "{error}");
    world.all_sound(1).await;
}
