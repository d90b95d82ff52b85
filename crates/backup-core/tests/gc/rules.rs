//! Tests of the objects that a sweep removes and keeps, and of the rules that hold it.

use backup_core::backup::{Protection, Run};
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::{SigningKey, Trust};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::Severity;
use backup_core::gc::{self, RemovalRules};
use backup_core::progress::SilentProgress;
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Key, Store, StoreError};
use backup_core::testing::fault::{CallFilter, Fault, StoreCall};
use bytes::Bytes;
use jiff::SignedDuration;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::sweeper::{GRACE, LONG, Sweeper};

#[tokio::test]
async fn what_a_dead_run_left_goes_once_it_is_old_and_nothing_else_does() {
    let world = Sweeper::new().await;
    let run = world.run();
    world.take(&run).await;
    world.take(&run).await;
    // More than half of the needed bytes, so only a sweep past the safety limit removes them.
    let left = world.die().await;
    let kinds: BTreeSet<&str> = left.iter().filter_map(|k| k.split('/').next()).collect();
    assert_eq!(
        kinds.into_iter().collect::<Vec<_>>(),
        ["indexes", "keys", "packs", "recipes", "signatures"]
    );
    let rules = RemovalRules {
        force: true,
        ..world.rules()
    };
    // Young orphans are counted, and kept.
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
    // Another sweep has nothing to do.
    let (plan, removed) = world.sweep(&rules).await;
    assert_eq!((plan.left.objects, removed.removed.objects), (0, 0));
    // The next run builds upon the rest.
    world.take(&run).await;
    world.all_sound(3).await;
}

#[tokio::test]
async fn what_is_no_leftover_stays_whatever_its_age() {
    let world = Sweeper::new().await;
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
    let listed: BTreeSet<&Key> = plan.orphans.iter().map(|l| &l.key).collect();
    assert_eq!(listed, gone.iter().collect());
    assert_eq!(removed.removed.objects, 5);
    assert_eq!(world.keys().await, kept);
    let told: Vec<_> = plan.findings.iter().map(|f| f.object.as_str()).collect();
    assert_eq!(told, ["notes", "packs/readme.txt"]);
    world.all_sound(1).await;
}

#[tokio::test]
async fn without_ages_nothing_goes() {
    let world = Sweeper::on(MemoryStore::without_clock()).await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.held(&world.rules(), "does not report the time").await;

    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    for minutes in [-6, 6] {
        let clock = FixedClock::new(world.clock.now() + SignedDuration::from_mins(minutes));
        let rules = RemovalRules {
            clock: Arc::new(clock),
            ..world.rules()
        };
        world.held(&rules, "clock and the store's differ").await;
    }
    // Within the allowed difference, the smaller age counts.
    world.drop_one("recipes/DIGEST").await;
    world.pass(GRACE);
    let clock = FixedClock::new(world.clock.now() - SignedDuration::from_mins(1));
    let rules = RemovalRules {
        clock: Arc::new(clock),
        ..world.rules()
    };
    let plan = world.look(&rules).await;
    assert_eq!((plan.left.objects, plan.old.objects), (2, 1));
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_or_trusted_holds_it() {
    // A damaged manifest.
    let world = Sweeper::new().await;
    let committed = world.take(&world.run()).await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    assert!(world.memory.damage(&manifest, Bytes::from_static(b"{}")));
    world.held(&world.rules(), "checksum").await;

    // A manifest of a later version.
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    let later = Bytes::from_static(b"{\"version\": 9}");
    let digest = Digest::of(&later);
    let key = layout::manifest(world.clock.now(), digest);
    let signature = Bytes::from(world.key().sign(&later, "of a later version").unwrap());
    world.memory.create(&key, later, digest).await.unwrap();
    world.pass(LONG);
    world.held(&world.rules(), "is not signed").await;
    let name = Digest::of(&signature);
    let beside = layout::signature(digest, name);
    world.memory.create(&beside, signature, name).await.unwrap();
    world.held(&world.rules(), "format version 9").await;

    // A manifest under a name that this version does not know.
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.drop_one("manifests/v2/DIGEST").await;
    world.pass(LONG);
    world
        .held(&world.rules(), "that this version does not know")
        .await;

    // A manifest with the signature of another key.
    let world = Sweeper::new().await;
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
    let rules = RemovalRules {
        trust: Trust::Anyone,
        ..world.rules()
    };
    world.held(&rules, "not checked for a signature").await;
    let rules = RemovalRules {
        trust: Trust::Keys(vec![world.key().public().clone(), public]),
        ..world.rules()
    };
    let (_, removed) = world.sweep(&rules).await;
    assert_eq!(removed.removed.objects, 1);
}

#[tokio::test]
async fn a_listing_that_is_not_whole_holds_it() {
    let world = Sweeper::new().await;
    let committed = world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    // The request for the second page of the whole listing fails.
    world.store.on(
        CallFilter::call(StoreCall::List).under("").from(4).times(1),
        Fault::Unavailable,
    );
    let error = gc::plan_removal(&world.store(), &world.rules(), &SilentProgress).await;
    let error = error.unwrap_err();
    assert!(
        error.to_string().contains("cannot look at memory"),
        "{error}"
    );
    world.store.clear();
    // A listing that ends normally, but lacks a needed object.
    let pack = committed.manifest.components[0].packs[0].sha256;
    assert!(world.memory.remove(&layout::pack(pack)));
    world
        .held(&world.rules(), "the listing does not show it")
        .await;
}

#[tokio::test]
async fn a_restore_point_that_no_listing_shows_holds_it() {
    let world = Sweeper::new().await;
    let committed = world.take(&world.run()).await;
    world.pass(LONG);
    let manifest = layout::manifest(committed.manifest.began, committed.digest);
    assert!(world.memory.hide(&manifest));
    world.held(&world.rules(), "exists but is not listed").await;
}

#[tokio::test]
async fn a_prefix_of_another_or_without_encryption_is_left_alone() {
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    let rules = RemovalRules {
        cluster: "other".parse().unwrap(),
        ..world.rules()
    };
    world
        .held(&rules, "claimed for cluster `butler-mgmt`")
        .await;
    let rules = RemovalRules {
        unencrypted: true,
        ..world.rules()
    };
    let plan = world.held(&rules, "without encryption").await;
    assert_eq!(plan.findings[0].severity, Severity::Info);
    assert!(world.memory.remove(&layout::owner_marker()));
    world.held(&world.rules(), "no claim.json").await;

    let world = Sweeper::new().await;
    let run = Run {
        protection: Protection::None,
        ..world.run()
    };
    world.take(&run).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    world.held(&world.rules(), "without encryption").await;
    // An empty prefix has no findings.
    let world = Sweeper::new().await;
    let plan = world.look(&world.rules()).await;
    assert!(!plan.held && plan.findings.is_empty(), "{plan:?}");
}

#[tokio::test]
async fn the_safety_limit_holds_until_somebody_has_looked() {
    let world = Sweeper::new().await;
    let (first, second) = (
        world.take(&world.run()).await,
        world.take(&world.run()).await,
    );
    world.die().await;
    world.pass(LONG);
    let plan = world.held(&world.rules(), "more than half").await;
    assert!(plan.findings[0].remedy.contains("--force"));
    for point in [&first, &second] {
        let manifest = layout::manifest(point.manifest.began, point.digest);
        assert!(world.memory.remove(&manifest));
    }
    world
        .held(&world.rules(), "there is no restore point")
        .await;
    let rules = RemovalRules {
        force: true,
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
async fn a_look_that_cannot_ask_is_an_error_and_not_an_empty_prefix() {
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    world.drop_one("packs/DIGEST").await;
    world.pass(LONG);
    for call in [StoreCall::List, StoreCall::Get] {
        world.store.on(CallFilter::call(call), Fault::Forbidden);
        let error = gc::plan_removal(&world.store(), &world.rules(), &SilentProgress).await;
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
