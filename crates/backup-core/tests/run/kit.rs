//! Tests of the kit: files of the operator that every later restore point carries along.

use async_trait::async_trait;
use backup_core::backup::{BackupPlan, NewRestorePoint, Origin, Protection, Run};
use backup_core::catalog::RestorePoint;
use backup_core::crypt::new_identity;
use backup_core::format::export::ArchiveFacts;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use backup_core::read::RestoreError;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource, SourceError};
use backup_core::testing::world::{World, snapshot};

/// A kit of one file.
#[derive(Debug)]
struct OneFile {
    name: String,
    text: String,
}

impl OneFile {
    /// Returns the prefixes of what Talos encrypts with the key in the file.
    fn prefixes(&self) -> Vec<String> {
        let has_key = self.text.contains("secretboxEncryptionSecret");
        has_key
            .then(|| "k8s:enc:secretbox:v1:key1".to_owned())
            .into_iter()
            .collect()
    }
}

#[async_trait]
impl ArchiveSource for OneFile {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        let path = format!("{}/{}", ComponentName::kit(), self.name);
        out.file(&path, self.text.as_bytes()).await?;
        let facts = ArchiveFacts {
            objects: 1,
            files: vec![self.name.clone()],
            encryption_prefixes: self.prefixes(),
            ..ArchiveFacts::default()
        };
        let findings = Vec::new();
        Ok(ArchiveReport { facts, findings })
    }
}

/// Stores a kit of one file.
pub(super) async fn add_kit(run: &Run, name: &str, text: &str) -> NewRestorePoint {
    let kit = OneFile {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    run.take(BackupPlan {
        parts: vec![(ComponentName::kit(), Origin::Archive(&kit))],
        ..BackupPlan::default()
    })
    .await
    .unwrap()
}

/// Fetches the kit of `point`.
async fn fetch_kit(world: &World, point: &RestorePoint) -> Result<Vec<u8>, RestoreError> {
    world.fetch_component(point, &ComponentName::kit()).await
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

    // Each month has its own epoch.
    for days in [10, 31, 1] {
        world
            .clock
            .advance(jiff::SignedDuration::from_hours(24 * days));
        let later = world.import(&world.run(), &snapshot()).await.unwrap();
        let carried = later.manifest.component(&ComponentName::kit()).unwrap();
        assert_eq!(carried.carried_from.as_ref(), Some(&added.id));
        assert_eq!(carried.plain_sha256, own.plain_sha256);
        assert_eq!(later.manifest.lineage.id, added.manifest.lineage.id);
        // The run knows that the kit has the key of the Secrets.
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

    // A new kit replaces it.
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

#[tokio::test]
async fn a_kit_that_is_gone_or_archived_is_told_by_the_next_run() {
    for (archived, severity, told) in [
        (
            true,
            Severity::Warning,
            "is archived and cannot be read immediately",
        ),
        (false, Severity::Error, "is gone"),
    ] {
        let world = World::new();
        world.import(&world.run(), &snapshot()).await.unwrap();
        world.clock.advance(jiff::SignedDuration::from_hours(1));
        let added = add_kit(&world.run(), "cp.yaml", SECRETS).await;
        let own = added.manifest.component(&ComponentName::kit()).unwrap();
        let pack = own.packs[0].sha256.to_string();
        let keys = world.keys("packs/").await;
        let key = keys.iter().find(|key| key.as_str().contains(&pack));
        let key = key.expect("no pack of the kit");
        if archived {
            assert!(world.store.archive(key, "GLACIER", false));
        } else {
            assert!(world.store.remove(key));
        }
        world.clock.advance(jiff::SignedDuration::from_hours(1));
        let later = world.import(&world.run(), &snapshot()).await.unwrap();
        let mut findings = later.manifest.findings.iter();
        let finding = findings.find(|f| f.object == "kit").expect("no finding");
        assert_eq!(finding.severity, severity);
        assert!(finding.cause.contains(told), "{}", finding.cause);
        assert!(
            finding.remedy.contains("kit add --replace"),
            "{}",
            finding.remedy
        );
    }
}
