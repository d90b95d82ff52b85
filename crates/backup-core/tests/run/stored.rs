//! Tests that stored bytes come back unchanged, and that damage is found.

use backup_core::backup::BackupError;
use backup_core::crypt::Verdict;
use backup_core::digest::Digest;
use backup_core::read::RestoreError;
use backup_core::store::Store as _;
use backup_core::testing::world::{World, snapshot};

#[tokio::test]
async fn what_is_stored_comes_back_bit_for_bit_and_a_repeat_is_nearly_free() {
    let world = World::new();
    let plain = snapshot();
    let first = world.import(&world.run(), &plain).await.unwrap();
    let point = world.latest().await;
    assert_eq!(point.entry.id, first.id);
    assert_eq!(point.verdict, Verdict::Trusted);
    assert!(world.fetch(&point).await.unwrap() == plain);
    let verified = world.verify(&point).await.unwrap();
    assert!(verified.findings.is_empty(), "{:?}", verified.findings);
    assert_eq!(verified.plain_bytes, u64::try_from(plain.len()).unwrap());

    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let second = world.import(&world.run(), &plain).await.unwrap();
    assert_eq!(second.manifest.cost.new_chunks, 0);
    assert_eq!(
        second.manifest.components[0].packs,
        first.manifest.components[0].packs
    );
    assert_eq!(second.manifest.lineage.id, first.manifest.lineage.id);
    assert_eq!(second.manifest.parent.as_ref().unwrap().id, first.id);
    assert!(world.fetch(&world.latest().await).await.unwrap() == plain);
    let report = world.audit().await;
    assert_eq!(
        (report.worst(), report.restore_points),
        (None, 2),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn every_name_is_the_digest_of_its_bytes() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    for key in world.keys("").await {
        let bytes = world.store.get(&key).await.unwrap();
        let digest = Digest::of(&bytes).to_string();
        assert!(
            key.as_str() == "claim.json" || key.as_str().contains(&digest),
            "{key}"
        );
    }
}

#[tokio::test]
async fn a_damaged_snapshot_never_becomes_a_restore_point() {
    let world = World::new();
    let plain = snapshot();
    let mut flipped = plain.clone();
    flipped[plain.len() / 2] ^= 1;
    for bad in [
        &plain[..plain.len() - 1],
        &plain[..plain.len() - 32],
        &[],
        &flipped,
    ] {
        let refused = world.import(&world.run(), bad).await.unwrap_err();
        assert!(
            matches!(refused, BackupError::Snapshot { .. }),
            "{refused:?}"
        );
    }
    assert!(world.keys("manifests/").await.is_empty());
    world.import(&world.run(), &plain).await.unwrap();
    let point = world.latest().await;
    assert!(world.fetch(&point).await.unwrap() == plain);
}

#[tokio::test]
async fn damage_is_found_by_audit_verify_and_fetch() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let point = world.latest().await;
    for prefix in ["packs/", "recipes/", "keys/", "manifests/", "signatures/"] {
        let key = world.keys(prefix).await.remove(0);
        let sound = world.store.get(&key).await.unwrap();
        let mut broken = sound.to_vec();
        broken[sound.len() / 2] ^= 1;
        assert!(world.store.damage(&key, broken.into()));
        let report = world.audit().await;
        assert!(
            report.worst() > Some(backup_core::format::manifest::Severity::Warning),
            "{key}"
        );
        if matches!(prefix, "packs/" | "recipes/" | "keys/") {
            let error = world.fetch(&point).await.unwrap_err();
            assert!(
                matches!(error, RestoreError::Changed { .. }),
                "{key}: {error:?}"
            );
        }
        assert!(world.store.damage(&key, sound));
    }
    assert_eq!(world.audit().await.worst(), None);
}
