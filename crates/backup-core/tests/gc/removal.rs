//! Tests with changes between the search for orphans and their removal, and during the removal.

use backup_core::backup::{BackupError, Run};
use backup_core::crypt::SigningKey;
use backup_core::format::layout;
use backup_core::gc::{self, RemovalRules};
use backup_core::store::Store;
use backup_core::testing::fault::{CallFilter, Fault, FaultStore, StoreCall};
use backup_core::testing::world::snapshot;
use jiff::SignedDuration;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use super::sweeper::{LONG, Sweeper};

#[tokio::test]
async fn restore_points_that_come_or_go_meanwhile_are_heeded() {
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    let other = world.die().await;
    let late = world.take(&world.run()).await;
    let manifest = layout::manifest(late.manifest.began, late.digest);
    let bytes = world.memory.get(&manifest).await.unwrap();
    assert!(world.memory.remove(&manifest));
    world.pass(LONG);
    let rules = RemovalRules {
        force: true,
        ..world.rules()
    };
    let plan = world.look(&rules).await;
    assert!(plan.orphans.len() > other.len());
    // A very slow run commits now.
    world
        .memory
        .create(&manifest, bytes, late.digest)
        .await
        .unwrap();
    let removed = world.remove(&rules, &plan).await;
    assert_eq!(removed.removed.objects, u64::try_from(other.len()).unwrap());
    assert!(removed.spared > 0 && removed.complete, "{removed:?}");
    world.all_sound(2).await;

    // A restore point that is gone or is not trusted shows that others use the prefix.
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
        removed.findings[0].cause.contains("was added meanwhile"),
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
    let world = Sweeper::new().await;
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
    let deletes = || CallFilter::call(StoreCall::Delete);
    // Deletes are forbidden: only those in progress are tried.
    world.store.on(deletes(), Fault::Forbidden);
    let plan = world.look(&rules).await;
    let removed = world.remove(&rules, &plan).await;
    assert!(removed.errors <= 9 && !removed.complete, "{removed:?}");
    assert!(removed.findings[0].remedy.contains("s3:DeleteObject"));
    // The store is unavailable: five errors, and those in progress.
    world.store.clear();
    world.store.on(deletes().from(4), Fault::Unavailable);
    let removed = world.remove(&rules, &plan).await;
    assert!((5..=13).contains(&removed.errors), "{removed:?}");
    assert!(removed.removed.objects >= 3 && !removed.complete);
    // The removal is cancelled.
    world.store.clear();
    let cancel = CancellationToken::new();
    cancel.cancel();
    let stopped = gc::remove(&world.store(), &rules, &plan, &cancel).await;
    let stopped = stopped.unwrap();
    assert!(!stopped.complete && stopped.removed.objects == 0);
    // The removal is killed in the middle: the store never answers again.
    let fault = Arc::new(FaultStore::new(world.store()));
    fault.on(deletes().from(3), Fault::StopAfter);
    let dying: Arc<dyn Store> = Arc::<FaultStore>::clone(&fault);
    let cancel = CancellationToken::new();
    tokio::select! {
        _ = gc::remove(&dying, &rules, &plan, &cancel) => panic!("it lived"),
        () = fault.stopped() => {}
    }
    // Replies are lost: the objects are gone all the same.
    world.store.on(deletes().times(2), Fault::LostReply);
    let (_, removed) = world.sweep(&rules).await;
    assert_eq!((removed.errors, removed.complete), (2, true));
    let (plan, removed) = world.sweep(&rules).await;
    assert_eq!((plan.left.objects, removed.removed.objects), (0, 0));
    assert_eq!(world.keys().await, kept);
    world.all_sound(1).await;
}

#[tokio::test]
async fn a_run_that_took_too_long_looks_before_it_commits() {
    let world = Sweeper::new().await;
    world.take(&world.run()).await;
    let slow = Arc::new(FaultStore::new(world.store()));
    let run = Run {
        store: Arc::<FaultStore>::clone(&slow),
        signing_key: Some(SigningKey::generate().unwrap()),
        ..world.run()
    };
    let pause = std::time::Duration::from_millis(300);
    slow.on(
        CallFilter::call(StoreCall::Create).under("indexes/"),
        Fault::Slow(pause),
    );
    world.pass(SignedDuration::from_secs(1));
    let plain = snapshot();
    let taken = world.import(&run, &plain);
    // The run has put its packs and waits. Hours pass, and a sweep with too short a grace time runs.
    let swept = async {
        while slow.counts().creates < 4 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.pass(LONG);
        let rules = RemovalRules {
            force: true,
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
