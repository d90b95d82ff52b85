//! Tests of the restore points that a run builds upon, and of those that it does not.

use backup_core::backup::{BackupError, Run};
use backup_core::catalog::{Catalog, CatalogError};
use backup_core::crypt::SigningKey;
use backup_core::digest::Digest;
use backup_core::format::layout::{self, JournalPart};
use backup_core::format::manifest::{Finding, Severity};
use backup_core::store::{Key, Store as _};
use backup_core::testing::world::{World, snapshot};
use bytes::Bytes;

#[tokio::test]
async fn an_old_restore_point_under_a_new_name_is_refused() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let manifest = world.keys("manifests/").await.remove(0);
    let (_, digest) = manifest.as_str().rsplit_once('-').unwrap();
    let later: Key = format!("manifests/20301231t235959000z-{digest}")
        .parse()
        .unwrap();
    let bytes = world.store.get(&manifest).await.unwrap();
    let digest = Digest::of(&bytes);
    world.store.create(&later, bytes, digest).await.unwrap();

    let refused = world.newest(&world.trust()).await.unwrap_err();
    assert!(
        matches!(refused, CatalogError::Renamed { .. }),
        "{refused:?}"
    );
    let report = world.audit().await;
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.object == later.as_str() && f.cause.contains("another time")),
        "{:?}",
        report.findings
    );
}

#[tokio::test]
async fn a_claim_that_restore_points_do_not_name_is_found() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let claim: Key = "claim.json".parse().unwrap();
    let bytes = world.store.get(&claim).await.unwrap();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let changed = Bytes::from(text.replace("test 0", "test 1"));
    assert!(world.store.remove(&claim));
    let digest = Digest::of(&changed);
    world.store.create(&claim, changed, digest).await.unwrap();

    let report = world.audit().await;
    assert_eq!(report.findings.len(), 1, "{:?}", report.findings);
    assert_eq!(report.findings[0].object, "claim.json");
    let again = world.import(&world.run(), &snapshot()).await.unwrap();
    assert!(again.manifest.parent.is_none());
}

#[tokio::test]
async fn a_pack_that_is_lost_is_not_built_upon() {
    let world = World::new();
    let plain = snapshot();
    world.import(&world.run(), &plain).await.unwrap();
    let pack = world.keys("packs/").await.remove(0);
    assert!(world.store.remove(&pack));
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let again = world.import(&world.run(), &plain).await.unwrap();
    assert!(again.manifest.cost.new_chunks > 0);
    assert!(world.fetch(&world.latest().await).await.unwrap() == plain);
}

#[tokio::test]
async fn archived_packs_are_told_and_not_built_upon() {
    for (class, tier) in [("GLACIER", false), ("ARCHIVE_ACCESS", true)] {
        let world = World::new();
        let plain = snapshot();
        world.import(&world.run(), &plain).await.unwrap();
        let packs = world.keys("packs/").await;
        for pack in &packs {
            assert!(world.store.archive(pack, class, tier));
        }
        for deep in [false, true] {
            let report = world.audit_with(world.trust(), deep).await;
            let told = report
                .findings
                .iter()
                .find(|f| f.object == packs[0].as_str());
            let told = told.expect("no finding");
            assert_eq!(told.severity, Severity::Error);
            assert!(told.cause.contains(class), "{}", told.cause);
            assert!(
                told.remedy.contains("restore the object first"),
                "{}",
                told.remedy
            );
        }
        let point = world.latest().await;
        let verified = world.verify(&point).await.unwrap();
        assert_eq!(verified.findings.len(), packs.len());
        let refused = world.fetch(&point).await.unwrap_err();
        let source = std::error::Error::source(&refused).unwrap().to_string();
        assert!(source.contains("restore the object first"), "{source}");

        world.clock.advance(jiff::SignedDuration::from_hours(1));
        let again = world.import(&world.run(), &plain).await.unwrap();
        assert!(again.manifest.cost.new_chunks > 0);
        let told = |f: &&Finding| {
            f.cause
                .contains("are archived, so what they hold is stored again")
        };
        assert_eq!(again.manifest.findings.iter().filter(told).count(), 1);
        assert!(world.fetch(&world.latest().await).await.unwrap() == plain);
    }
}

#[tokio::test]
async fn a_parent_that_is_not_listed_is_told() {
    let world = World::new();
    let first = world.import(&world.run(), &snapshot()).await.unwrap();
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    world.import(&world.run(), &snapshot()).await.unwrap();
    let told = |report: &backup_core::audit::Report| {
        let mut found = report.findings.iter();
        found.any(|f| f.cause.contains("which it was built upon, is not listed"))
    };
    assert!(!told(&world.audit().await));
    let manifest = world.keys("manifests/").await.remove(0);
    assert!(manifest.as_str().contains(&first.digest.to_string()));
    assert!(world.store.remove(&manifest));
    let report = world.audit().await;
    assert!(told(&report), "{:?}", report.findings);
    assert_eq!(report.worst(), Some(Severity::Warning));
}

async fn put(world: &World, key: &Key, bytes: Bytes) {
    let digest = Digest::of(&bytes);
    world.store.create(key, bytes, digest).await.unwrap();
}

#[tokio::test]
async fn what_a_listing_hides_is_told_by_its_signature_and_by_journals() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let second = world.import(&world.run(), &snapshot()).await.unwrap();
    let catalog = Catalog::new(world.store());
    let hidden = || async {
        let listed = catalog.list().await.unwrap();
        catalog
            .hidden(&listed, listed.last().map(|e| &e.id))
            .await
            .unwrap()
    };
    assert_eq!(hidden().await, []);
    let manifest = world.keys("manifests/").await.remove(1);
    assert!(manifest.as_str().contains(&second.digest.to_string()));
    assert!(world.store.hide(&manifest));
    let found = hidden().await;
    assert_eq!(found.len(), 1);
    assert!(found[0].there && found[0].id == second.id && found[0].manifest == manifest);
    let report = world.audit().await;
    let told = report
        .findings
        .iter()
        .find(|f| f.object == manifest.as_str());
    let told = told.expect("no finding");
    assert_eq!(told.severity, Severity::Error);
    assert!(
        told.cause.contains("exists but is not listed"),
        "{}",
        told.cause
    );

    // The journal of a restore names the restore point.
    let signature = layout::signatures_of(second.digest);
    let signature = world.keys(&signature).await.remove(0);
    let vouches = world.store.get(&signature).await.unwrap();
    assert!(world.store.remove(&signature));
    assert_eq!(hidden().await, []);
    let journal = layout::journal("r1", JournalPart::Lines(0)).unwrap();
    let (id, digest) = (&second.id, second.digest);
    let head = format!("{{\"restorePoint\":{{\"id\":\"{id}\",\"manifest\":\"{digest}\"}}}}\n\0");
    put(&world, &journal, head.into()).await;
    let found = hidden().await;
    assert!(found.len() == 1 && found[0].there && found[0].named_by == journal);
    assert!(world.store.remove(&journal));
    put(&world, &signature, vouches).await;

    // A run died after its signature, or somebody deleted the manifest.
    assert!(world.store.remove(&manifest));
    let found = hidden().await;
    assert!(found.len() == 1 && !found[0].there);
    let report = world.audit().await;
    let told = report
        .findings
        .iter()
        .find(|f| f.object == manifest.as_str());
    assert_eq!(told.expect("no finding").severity, Severity::Warning);
    // Later restore points end the warning.
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    world.import(&world.run(), &snapshot()).await.unwrap();
    assert_eq!(hidden().await, []);
}

#[tokio::test]
async fn an_archived_manifest_stops_no_run() {
    let world = World::new();
    let plain = snapshot();
    world.import(&world.run(), &plain).await.unwrap();
    let manifest = world.keys("manifests/").await.remove(0);
    assert!(world.store.archive(&manifest, "DEEP_ARCHIVE", false));
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let again = world.import(&world.run(), &plain).await.unwrap();
    assert!(again.manifest.parent.is_none());
    let told = |f: &&Finding| f.cause.contains("is archived (DEEP_ARCHIVE)");
    assert_eq!(again.manifest.findings.iter().filter(told).count(), 1);
    let report = world.audit().await;
    let told = report
        .findings
        .iter()
        .any(|f| f.object == manifest.as_str());
    assert!(told, "{:?}", report.findings);
}

#[tokio::test]
async fn a_prefix_belongs_to_one_cluster() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let other = Run {
        cluster: "other".parse().unwrap(),
        ..world.run()
    };
    let refused = world.import(&other, &snapshot()).await.unwrap_err();
    assert!(matches!(refused, BackupError::Claimed { .. }), "{refused}");
}

#[tokio::test]
async fn a_manifest_of_another_signer_is_not_built_upon() {
    let world = World::new();
    let plain = snapshot();
    world.import(&world.run(), &plain).await.unwrap();
    let run = Run {
        signing_key: Some(SigningKey::generate().unwrap()),
        ..world.run()
    };
    let second = world.import(&run, &plain).await.unwrap();
    assert!(second.manifest.parent.is_none());
    assert!(second.manifest.cost.new_chunks > 0);
    assert!(
        second
            .manifest
            .findings
            .iter()
            .any(|f| f.cause.contains("not trusted"))
    );
}
