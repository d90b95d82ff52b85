//! From a snapshot file to a restore point and back, on the memory store: what comes out is what
//! went in, a repeated run costs next to nothing, and nobody reads without a key.

#![cfg(test)]

use std::sync::Arc;

use backup_core::audit;
use backup_core::backup::{BackupError, Committed, Origin, Plan, Protection, Run};
use backup_core::catalog::{Catalog, CatalogError, RestorePoint};
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::{Identities, Recipient, SigningKey, Trust, Verdict, new_identity};
use backup_core::digest::Digest;
use backup_core::id::ComponentName;
use backup_core::progress::Silent;
use backup_core::restore::{self, RestoreError, VerifyDepth};
use backup_core::source::kit::Kit;
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Key, Store};
use bytes::Bytes;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// A real snapshot of 3.6.16; see `snapshot.rs` for its figures.
fn snapshot() -> Vec<u8> {
    zstd::decode_all(&include_bytes!("fixtures/etcd-3.6.16-snapshot.db.zst")[..]).unwrap()
}

struct World {
    store: Arc<MemoryStore>,
    clock: Arc<FixedClock>,
    secret: SecretString,
    recipient: Recipient,
    signing: SecretString,
}

impl World {
    fn new() -> Self {
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

    fn store(&self) -> Arc<dyn Store> {
        Arc::<MemoryStore>::clone(&self.store)
    }

    fn run(&self) -> Run {
        Run {
            cluster: "butler-mgmt".parse().unwrap(),
            store: self.store(),
            protection: Protection::Recipients(vec![self.recipient.clone()]),
            signing_key: Some(SigningKey::parse("test", &self.signing).unwrap()),
            tool: "test 0".to_owned(),
            reason: Some("a test".to_owned()),
            pinned: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
            progress: Arc::new(Silent),
            cancel: CancellationToken::new(),
        }
    }

    async fn import(&self, run: &Run, bytes: &[u8]) -> Result<Committed, BackupError> {
        let blocks: Vec<_> = bytes
            .chunks(100_000)
            .map(|b| Ok(Bytes::copy_from_slice(b)))
            .collect();
        run.import_etcd("test.snapshot", Box::pin(futures::stream::iter(blocks)))
            .await
    }

    fn trust(&self) -> Trust {
        let key = SigningKey::parse("test", &self.signing).unwrap();
        Trust::Keys(vec![key.public().clone()])
    }

    fn identities(&self) -> Identities {
        let mut identities = Identities::none();
        identities.add("test", &self.secret).unwrap();
        identities
    }

    async fn latest(&self) -> RestorePoint {
        let catalog = Catalog::new(self.store());
        let entry = catalog.find("latest").await.unwrap();
        catalog.load(&entry, &self.trust()).await.unwrap()
    }

    async fn fetch(&self, point: &RestorePoint) -> Result<Vec<u8>, RestoreError> {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("etcd.snapshot");
        let store = self.store();
        let unlocked = restore::unlock(&store, point, &self.identities()).await?;
        let fetched = restore::fetch(
            store,
            point,
            unlocked,
            &ComponentName::etcd(),
            &target,
            Arc::new(Silent),
            CancellationToken::new(),
        )
        .await?;
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        Ok(std::fs::read(fetched.file).unwrap())
    }

    async fn verify(&self, point: &RestorePoint) -> Result<restore::Verified, RestoreError> {
        let store = self.store();
        let unlocked = restore::unlock(&store, point, &self.identities()).await?;
        let (progress, cancel) = (Arc::new(Silent), CancellationToken::new());
        let depth = VerifyDepth::Full(unlocked);
        restore::verify(store, point, depth, &std::env::temp_dir(), progress, cancel).await
    }

    async fn audit(&self) -> audit::Report {
        let options = audit::Options {
            trust: self.trust(),
            deep: true,
            max_age: None,
            now: self.clock.now(),
        };
        audit::run(self.store(), &options, &Silent).await.unwrap()
    }

    async fn keys(&self, prefix: &str) -> Vec<Key> {
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
async fn a_stranger_is_told_who_could_read_and_gets_nothing() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let point = world.latest().await;
    let (other, _) = new_identity();
    let mut stranger = Identities::none();
    stranger.add("other", &other).unwrap();
    let store = world.store();
    let error = restore::unlock(&store, &point, &stranger)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains(world.recipient.as_str()),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_daemon_holds_opens_indexes_and_no_pack() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let daemon = SigningKey::parse("test", &world.signing).unwrap();
    let (identities, _) = daemon.index_identity().unwrap();
    let opener = backup_core::crypt::Opener::with(&identities);
    for (prefix, opens) in [
        ("indexes/", true),
        ("packs/", false),
        ("recipes/", false),
        ("keys/", false),
    ] {
        let keys = world.keys(prefix).await;
        assert!(!keys.is_empty(), "{prefix}");
        for key in keys {
            let bytes = world.store.get(&key).await.unwrap();
            assert_eq!(opener.open(&bytes, 1 << 24).is_ok(), opens, "{key}");
        }
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

    let catalog = Catalog::new(world.store());
    let entry = catalog.find("latest").await.unwrap();
    let refused = catalog.load(&entry, &world.trust()).await.unwrap_err();
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
async fn fewer_recipients_and_new_months_begin_an_epoch_and_packs_stay() {
    let world = World::new();
    let plain = snapshot();
    let (_, security) = new_identity();
    let both = Run {
        protection: Protection::Recipients(vec![security, world.recipient.clone()]),
        ..world.run()
    };
    let first = world.import(&both, &plain).await.unwrap();
    assert_eq!(first.manifest.epochs()[0].recipients.len(), 2);
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let run = world.run();
    let second = world.import(&run, &plain).await.unwrap();
    assert_eq!(second.manifest.epochs().len(), 2);
    assert_eq!(second.manifest.epochs()[1].recipients.len(), 1);
    assert_eq!(second.manifest.cost.new_chunks, 0);
    assert_eq!(
        second.manifest.components[0].packs[0].sha256,
        first.manifest.components[0].packs[0].sha256
    );
    assert!(world.fetch(&world.latest().await).await.unwrap() == plain);
    let third = world.import(&run, &plain).await.unwrap();
    assert_eq!(third.manifest.epochs(), second.manifest.epochs());
    world
        .clock
        .advance(jiff::SignedDuration::from_hours(24 * 10));
    let fourth = world.import(&run, &plain).await.unwrap();
    assert_ne!(
        fourth.manifest.epochs().last(),
        third.manifest.epochs().last()
    );
    assert_eq!(fourth.manifest.cost.new_chunks, 0);
}

#[tokio::test]
async fn who_is_added_can_read_every_restore_point_from_then_on() {
    let world = World::new();
    let plain = snapshot();
    world.import(&world.run(), &plain).await.unwrap();
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let (secret, security) = new_identity();
    let run = Run {
        protection: Protection::Recipients(vec![security, world.recipient.clone()]),
        ..world.run()
    };
    let second = world.import(&run, &plain).await.unwrap();
    assert_eq!(second.manifest.epochs().len(), 1);
    assert!(
        second
            .manifest
            .findings
            .iter()
            .any(|f| f.cause.contains("a recipient was added"))
    );
    let third = world.import(&run, &plain).await.unwrap();
    assert_eq!(third.manifest.cost.new_chunks, 0);
    let told = &third.manifest.findings;
    assert!(
        !told
            .iter()
            .any(|f| f.cause.contains("a recipient was added"))
    );
    let added = World { secret, ..world };
    assert!(added.fetch(&added.latest().await).await.unwrap() == plain);
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

#[tokio::test]
async fn no_encryption_by_name_reads_back_without_a_key_and_is_a_finding() {
    let world = World::new();
    let plain = snapshot();
    let run = Run {
        protection: Protection::None,
        signing_key: None,
        ..world.run()
    };
    world.import(&run, &plain).await.unwrap();
    let again = world.import(&run, &plain).await.unwrap();
    assert_eq!(again.manifest.cost.new_chunks, 0);
    let catalog = Catalog::new(world.store());
    let entry = catalog.find("latest").await.unwrap();
    let point = catalog.load(&entry, &Trust::Anyone).await.unwrap();
    assert!(world.fetch(&point).await.unwrap() == plain);
    let report = world.audit().await;
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.cause.contains("not encrypted"))
    );
}

/// Stores a kit of one file.
async fn add_kit(run: &Run, name: &str, text: &str) -> Committed {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let kit = Kit::read(&[file]).await.unwrap();
    run.take(Plan {
        parts: vec![(ComponentName::kit(), Origin::Archive(&kit))],
        ..Plan::default()
    })
    .await
    .unwrap()
}

/// The kit of `point`, as it is fetched.
async fn fetch_kit(world: &World, point: &RestorePoint) -> Result<Vec<u8>, RestoreError> {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("kit.tar");
    let store = world.store();
    let unlocked = restore::unlock(&store, point, &world.identities()).await?;
    let (progress, cancel) = (Arc::new(Silent), CancellationToken::new());
    let name = ComponentName::kit();
    restore::fetch(store, point, unlocked, &name, &target, progress, cancel).await?;
    Ok(std::fs::read(target).unwrap())
}

const SECRETS: &str =
    "machine: {type: controlplane}\ncluster: {secretboxEncryptionSecret: aGVsbG8=}\n";

#[tokio::test]
async fn a_kit_is_in_every_later_restore_point_over_months() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let added = add_kit(&world.run(), "cp.yaml", SECRETS).await;
    let own = added.manifest.component(&ComponentName::kit()).unwrap();
    assert_eq!(own.archive.as_ref().unwrap().files, ["cp.yaml"]);
    assert_eq!(own.carried_from, None);
    let kit = fetch_kit(&world, &world.latest().await).await.unwrap();
    assert_eq!(world.run().kit_files().await.unwrap(), ["cp.yaml"]);

    // Each month has an epoch of its own.
    for days in [10, 31, 1] {
        world
            .clock
            .advance(jiff::SignedDuration::from_hours(24 * days));
        let later = world.import(&world.run(), &snapshot()).await.unwrap();
        let carried = later.manifest.component(&ComponentName::kit()).unwrap();
        assert_eq!(carried.carried_from.as_ref(), Some(&added.id));
        assert_eq!(carried.plain_sha256, own.plain_sha256);
        assert_eq!(later.manifest.lineage.id, added.manifest.lineage.id);
        // The Secrets' key is known to be there.
        let told = &later.manifest.findings;
        assert!(
            told.iter().all(|f| !f.cause.contains("the key for that")),
            "{told:?}"
        );
        let point = world.latest().await;
        assert!(fetch_kit(&world, &point).await.unwrap() == kit);
        assert!(world.verify(&point).await.unwrap().findings.is_empty());
    }
    let report = world.audit().await;
    assert!(report.findings.is_empty(), "{:?}", report.findings);

    // A new one takes its place.
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    add_kit(&world.run(), "other.yaml", "x").await;
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    world.import(&world.run(), &snapshot()).await.unwrap();
    assert_eq!(world.run().kit_files().await.unwrap(), ["other.yaml"]);
    assert!(fetch_kit(&world, &world.latest().await).await.unwrap() != kit);
}

#[tokio::test]
async fn who_became_a_recipient_later_reads_all_but_the_kit_and_is_told() {
    let world = World::new();
    add_kit(&world.run(), "cp.yaml", SECRETS).await;
    let (secret, new) = new_identity();
    let run = Run {
        protection: Protection::Recipients(vec![world.recipient.clone(), new.clone()]),
        ..world.run()
    };
    world.clock.advance(jiff::SignedDuration::from_hours(1));
    let later = world.import(&run, &snapshot()).await.unwrap();
    let told = later
        .manifest
        .findings
        .iter()
        .find(|f| f.object == "kit")
        .unwrap();
    assert!(told.cause.contains(new.as_str()), "{told:?}");
    assert!(told.remedy.contains("backupd kit add"), "{told:?}");
    let point = world.latest().await;
    assert!(fetch_kit(&world, &point).await.is_ok());

    let newcomer = World { secret, ..world };
    assert!(newcomer.fetch(&point).await.unwrap() == snapshot());
    let error = fetch_kit(&newcomer, &point).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, RestoreError::Closed { .. }), "{text}");
    assert!(text.contains(newcomer.recipient.as_str()), "{text}");
    let verified = newcomer.verify(&point).await.unwrap();
    assert_eq!(verified.findings.len(), 1, "{:?}", verified.findings);
}
