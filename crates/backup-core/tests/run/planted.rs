//! Tests with objects that somebody with write access and without a key puts beside the restore points: runs
//! ignore them, and report them.

use backup_core::audit;
use backup_core::backup::{NewRestorePoint, Run};
use backup_core::catalog::{Catalog, ReadPolicy};
use backup_core::clock::Clock as _;
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::{Finding, Manifest, Severity};
use backup_core::id::ComponentName;
use backup_core::store::Store as _;
use backup_core::store::memory::MemoryStore;
use backup_core::testing::world::{World, snapshot};
use jiff::{SignedDuration, Timestamp};

use super::kit::add_kit;

/// Puts `manifest` as a run at `began` would, without a signature.
async fn plant(world: &World, manifest: &Manifest, began: Timestamp) {
    let manifest = Manifest {
        began,
        ..manifest.clone()
    };
    let bytes = bytes::Bytes::from(manifest.to_bytes().unwrap());
    let digest = Digest::of(&bytes);
    let key = layout::manifest(began, digest);
    world.store.create(&key, bytes, digest).await.unwrap();
}

/// Plants sixty restore points of the future, and sixty of the present.
async fn many(world: &World, like: &Manifest) {
    for n in 0..60 {
        let now = world.clock.now();
        let later = now + SignedDuration::from_hours(24 * 365 + n);
        plant(world, like, later).await;
        plant(world, like, now + SignedDuration::from_secs(n)).await;
    }
}

async fn an_hour_later(world: &World, run: &Run) -> NewRestorePoint {
    world.clock.advance(SignedDuration::from_hours(1));
    world.import(run, &snapshot()).await.unwrap()
}

fn finding<'m>(committed: &'m NewRestorePoint, words: &str) -> &'m Finding {
    let found = &committed.manifest.findings;
    let mut with = found.iter().filter(|f| f.cause.contains(words));
    let one = with.next().unwrap_or_else(|| panic!("{words}: {found:?}"));
    assert!(with.next().is_none(), "{found:?}");
    one
}

#[tokio::test]
async fn a_kit_and_a_parent_are_found_behind_any_number_of_planted_names() {
    let world = World::new();
    let kit = add_kit(&world.run(), "cp.yaml", "machine: {}\n").await;
    let mut before = an_hour_later(&world, &world.run()).await;
    let mut unsigned = before.manifest.clone();
    unsigned
        .components
        .retain(|c| c.name == ComponentName::etcd());
    many(&world, &unsigned).await;
    for _ in 0..7 {
        many(&world, &unsigned).await;
        let next = an_hour_later(&world, &world.run()).await;
        let parent = next.manifest.parent.as_ref().unwrap();
        assert_eq!(parent.id, before.id);
        assert_eq!(next.manifest.cost.new_chunks, 0);
        let carried = next.manifest.component(&ComponentName::kit()).unwrap();
        assert_eq!(carried.carried_from.as_ref(), Some(&kit.id));
        assert_eq!(finding(&next, "not signed").severity, Severity::Warning);
        assert_eq!(finding(&next, "future").severity, Severity::Error);
        before = next;
    }
    assert_eq!(world.run().kit_files().await.unwrap(), ["cp.yaml"]);

    let catalog = Catalog::new(world.store());
    let view = ReadPolicy {
        trust: world.trust(),
        now: world.clock.now(),
    };
    let (newest, left_out) = catalog.newest(&view).await.unwrap();
    assert_eq!(newest.unwrap().entry.id, before.id);
    assert_eq!(left_out.lines().len(), 1, "{:?}", left_out.lines());
    let day = SignedDuration::from_hours(24);
    world.clock.advance(day + day);
    let options = audit::Options {
        trust: world.trust(),
        deep: false,
        max_age: Some(day),
        now: world.clock.now(),
    };
    let progress = backup_core::progress::SilentProgress;
    let report = audit::run(world.store(), &options, &progress)
        .await
        .unwrap();
    assert_eq!(report.newest, Some(before.id.clone()));
    let told = |words: &str| report.findings.iter().any(|f| f.cause.contains(words));
    assert!(told("hours old"), "{:?}", report.findings);
    let unsigned = report
        .findings
        .iter()
        .filter(|f| f.cause.contains("not signed"));
    assert!(unsigned.clone().count() > 100);
    assert!(unsigned.clone().all(|f| f.severity == Severity::Error));
}

#[tokio::test]
async fn a_kit_is_named_however_many_restore_points_lack_it() {
    let world = World::new();
    let kit = add_kit(&world.run(), "cp.yaml", "machine: {}\n").await;
    let own = kit.manifest.component(&ComponentName::kit()).unwrap();
    // Runs of an earlier version, which lost the kit.
    let forget = |committed: &NewRestorePoint| {
        let mut manifest = committed.manifest.clone();
        manifest
            .components
            .retain(|c| c.name != ComponentName::kit());
        manifest
    };
    for _ in 0..60 {
        let next = an_hour_later(&world, &world.run()).await;
        let key = layout::manifest(next.manifest.began, next.digest);
        assert!(world.store.remove(&key));
        let forgotten = forget(&next);
        let bytes = bytes::Bytes::from(forgotten.to_bytes().unwrap());
        let digest = Digest::of(&bytes);
        let signature = world
            .run()
            .signing_key
            .unwrap()
            .sign(&bytes, "again")
            .unwrap();
        let signature = bytes::Bytes::from(signature);
        let name = Digest::of(&signature);
        let beside = layout::signature(digest, name);
        world.store.create(&beside, signature, name).await.unwrap();
        let key = layout::manifest(forgotten.began, digest);
        world.store.create(&key, bytes, digest).await.unwrap();
    }
    let next = an_hour_later(&world, &world.run()).await;
    let carried = next.manifest.component(&ComponentName::kit()).unwrap();
    assert_eq!(carried.plain_sha256, own.plain_sha256);
    assert_eq!(carried.carried_from.as_ref(), Some(&kit.id));
    assert!(!next.manifest.kitless);
}

#[tokio::test]
async fn that_there_is_no_kit_is_known_and_one_that_comes_beside_is_seen() {
    for world in [
        World::new(),
        World {
            store: MemoryStore::without_clock().into(),
            ..World::new()
        },
    ] {
        comes_beside(&world).await;
    }
}

async fn comes_beside(world: &World) {
    let first = an_hour_later(world, &world.run()).await;
    assert!(first.manifest.kitless);
    // It began before the second run, and is committed after it.
    let kit = add_kit(&world.run(), "cp.yaml", "machine: {}\n").await;
    let added = layout::manifest(kit.manifest.began, kit.digest);
    let bytes = world.store.get(&added).await.unwrap();
    assert!(world.store.remove(&added));
    let second = an_hour_later(world, &world.run()).await;
    assert!(second.manifest.kitless);
    world.store.create(&added, bytes, kit.digest).await.unwrap();
    let third = an_hour_later(world, &world.run()).await;
    let carried = third.manifest.component(&ComponentName::kit()).unwrap();
    assert_eq!(carried.carried_from.as_ref(), Some(&kit.id));
    assert!(!third.manifest.kitless);
}

#[tokio::test]
async fn a_clock_that_was_ahead_once_costs_no_kit() {
    let world = World::new();
    let year = SignedDuration::from_hours(24 * 365);
    let before = world.import(&world.run(), &snapshot()).await.unwrap();
    world.clock.advance(year);
    let kit = add_kit(&world.run(), "cp.yaml", "machine: {}\n").await;
    world.clock.advance(-year);
    let next = an_hour_later(&world, &world.run()).await;
    let carried = next.manifest.component(&ComponentName::kit()).unwrap();
    assert_eq!(carried.carried_from.as_ref(), Some(&kit.id));
    assert_eq!(next.manifest.parent.as_ref().unwrap().id, before.id);
    assert_eq!(finding(&next, "future").severity, Severity::Error);
}

#[tokio::test]
async fn a_parent_that_vanished_and_a_kit_that_cannot_be_named_are_errors_of_the_run() {
    let world = World::new();
    let first = world.import(&world.run(), &snapshot()).await.unwrap();
    add_kit(&world.run(), "cp.yaml", "machine: {}\n").await;
    an_hour_later(&world, &world.run()).await;
    assert!(
        world
            .store
            .remove(&layout::manifest(first.manifest.began, first.digest))
    );
    for key in world.keys("manifests/").await.split_last().unwrap().1 {
        assert!(world.store.remove(key));
    }
    let next = an_hour_later(&world, &world.run()).await;
    assert_eq!(
        finding(&next, "not listed any more").severity,
        Severity::Error
    );
    let plain = Run {
        protection: backup_core::backup::Protection::None,
        ..world.run()
    };
    let next = an_hour_later(&world, &plain).await;
    let told = finding(&next, "under another encryption configuration");
    assert_eq!(
        (told.severity, told.object.as_str()),
        (Severity::Error, "kit")
    );
    assert!(!next.manifest.kitless);

    // Only signatures are left.
    for key in world.keys("manifests/").await {
        assert!(world.store.remove(&key));
    }
    let next = an_hour_later(&world, &world.run()).await;
    assert_eq!(
        finding(&next, "no restore point is listed").severity,
        Severity::Error
    );
}
