use backup_core::backup::{NewRestorePoint, Protection, Run};
use backup_core::clock::{Clock as _, FixedClock};
use backup_core::crypt::new_identity;
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::progress::SilentProgress;
use backup_core::store::memory::MemoryStore;
use backup_core::testing::world::{snapshot, stream};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::*;

struct World {
    store: Arc<dyn Store>,
    clock: Arc<FixedClock>,
    key: secrecy::SecretString,
}

impl World {
    fn key(&self) -> SigningKey {
        SigningKey::parse("test", &self.key).unwrap()
    }

    async fn take(&self) -> NewRestorePoint {
        let run = Run {
            cluster: "test".parse().unwrap(),
            store: Arc::clone(&self.store),
            protection: Protection::Recipients(vec![new_identity().1]),
            signing_key: Some(self.key()),
            tool: "test".to_owned(),
            reason: None,
            pinned: false,
            clock: Arc::<FixedClock>::clone(&self.clock),
            progress: Arc::new(SilentProgress),
            cancel: CancellationToken::new(),
        };
        let taken = run.import_etcd("etcd", stream(&snapshot())).await;
        taken.unwrap()
    }

    async fn plant(&self, like: &Manifest, began: Timestamp) {
        let manifest = Manifest {
            began,
            ..like.clone()
        };
        let bytes = bytes::Bytes::from(manifest.to_bytes().unwrap());
        let digest = Digest::of(&bytes);
        let key = layout::manifest(began, digest);
        self.store.create(&key, bytes, digest).await.unwrap();
    }

    async fn read_facts(&self, known: Option<StoreFacts>) -> StoreFacts {
        let (cluster, names) = ("test".parse().unwrap(), [ComponentName::etcd()]);
        let now = self.clock.now();
        read_facts(&self.store, &cluster, &self.key(), known, &names, now)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn what_its_key_did_not_sign_and_names_of_the_future_are_no_facts() {
    let world = World {
        store: Arc::new(MemoryStore::new()),
        clock: Arc::new(FixedClock::new("2026-11-23T12:00:00Z".parse().unwrap())),
        key: SigningKey::generate().unwrap().to_text().unwrap(),
    };
    let taken = world.take().await;
    let began = taken.manifest.began;
    // More restore points than are searched.
    for n in 1..=i64::try_from(LOOK_BACK).unwrap() + 50 {
        world
            .plant(&taken.manifest, began + SignedDuration::from_millis(n))
            .await;
    }
    for hours in 1..=20 {
        world
            .plant(
                &taken.manifest,
                began + SignedDuration::from_hours(24 + hours),
            )
            .await;
    }
    world.clock.advance(SignedDuration::from_hours(1));
    let facts = world.read_facts(None).await;
    assert_eq!(facts.newest, Some(taken.id.to_string()));
    assert_eq!(facts.newest_at, Some(taken.manifest.ended));
    let known = facts.components.get(&ComponentName::etcd()).unwrap();
    assert_eq!(known.restore_point, taken.id.to_string());
    let later = world.take().await;
    let facts = world.read_facts(Some(facts)).await;
    assert_eq!(facts.newest, Some(later.id.to_string()));
}
