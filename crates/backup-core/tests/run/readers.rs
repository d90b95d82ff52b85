//! Tests of the readers of a prefix: recipients that are added or removed, strangers, and the daemon.

use backup_core::backup::{Protection, Run};
use backup_core::crypt::{Identities, Trust, new_identity};
use backup_core::format::manifest::Severity;
use backup_core::read;
use backup_core::store::Store as _;
use backup_core::testing::world::{World, snapshot};

#[tokio::test]
async fn a_stranger_is_told_who_could_read_and_gets_nothing() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let point = world.latest().await;
    let (other, _) = new_identity();
    let mut stranger = Identities::none();
    stranger.add("other", &other).unwrap();
    let store = world.store();
    let error = read::unlock(&store, &point, &stranger).await.unwrap_err();
    assert!(
        error.to_string().contains(world.recipient.as_str()),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_daemon_holds_opens_indexes_and_no_pack() {
    let world = World::new();
    world.import(&world.run(), &snapshot()).await.unwrap();
    let (identities, _) = world.key().index_identity().unwrap();
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
    let point = world.newest(&Trust::Anyone).await.unwrap();
    assert!(world.fetch(&point).await.unwrap() == plain);
    let tells = |report: backup_core::audit::Report, words: &str| {
        let mut found = report.findings.into_iter();
        found.any(|f| f.cause.contains(words))
    };
    assert!(tells(
        world.audit_with(Trust::Anyone, false).await,
        "not encrypted"
    ));
    // A reader with a trusted key reads nothing of it.
    let report = world.audit().await;
    assert_eq!(report.worst(), Some(Severity::Error));
    assert!(tells(report, "not signed"));
}
