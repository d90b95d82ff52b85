//! Small restore point in memory, in which any byte can be changed, and its reader.

use std::collections::BTreeMap;

use backup_core::backup::{Protection, Run};
use backup_core::causes::line;
use backup_core::crypt::{Trust, Verdict};
use backup_core::digest::Digest;
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Key, Store as _};
use backup_core::testing::world::{World, snapshot};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

/// Stored objects by key.
pub(crate) type Objects = BTreeMap<Key, Bytes>;

/// Signed restore point of a real snapshot, and the keys to read it.
pub(crate) struct Original {
    pub(crate) objects: Objects,
    pub(crate) plain: Vec<u8>,
    pub(crate) trust: Trust,
    world: World,
}

/// Result of a reader.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether a full verification found nothing.
    pub(crate) sound: Result<bool, String>,
    /// Fetched bytes.
    pub(crate) fetched: Result<Vec<u8>, String>,
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

impl Original {
    pub(crate) async fn new(encrypted: bool) -> Self {
        let (world, plain) = (World::new(), snapshot());
        let run = world.run();
        let run = Run {
            protection: if encrypted {
                run.protection
            } else {
                Protection::None
            },
            ..run
        };
        world.import(&run, &plain).await.unwrap();
        let mut objects = Objects::new();
        for key in world.keys("").await {
            let bytes = world.store.get(&key).await.unwrap();
            objects.insert(key, bytes);
        }
        Self {
            objects,
            plain,
            trust: world.trust(),
            world,
        }
    }

    /// Reads the latest restore point of `objects` by verification and by fetch.
    pub(crate) async fn read(&self, objects: &Objects, trust: &Trust) -> Outcome {
        let world = self.world.with(stored(objects).await);
        let point = world.newest(trust).await.map_err(|e| line(&e));
        let point = point.and_then(|point| match point.verdict {
            Verdict::Trusted | Verdict::NotChecked => Ok(point),
            verdict => Err(format!("the manifest is {verdict}")),
        });
        match point {
            Ok(point) => Outcome {
                sound: world
                    .verify(&point)
                    .await
                    .map(|v| v.findings.is_empty())
                    .map_err(|e| line(&e)),
                fetched: world.fetch(&point).await.map_err(|e| line(&e)),
            },
            Err(error) => Outcome {
                sound: Err(error.clone()),
                fetched: Err(error),
            },
        }
    }
}

/// Returns a store of `objects` that records a correct checksum for each, as if they had been put there.
async fn stored(objects: &Objects) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, bytes) in objects {
        let created = store.create(key, bytes.clone(), Digest::of(bytes)).await;
        created.unwrap();
    }
    store
}

/// Change to some bytes.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Truncate(Index),
    Extend(Vec<u8>),
}

impl Change {
    pub(crate) fn apply(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        match self {
            Self::Extend(more) => bytes.extend_from_slice(more),
            _ if bytes.is_empty() => {}
            Self::Flip(at, bit) => {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            Self::Set(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            Self::Truncate(at) => bytes.truncate(at.index(bytes.len())),
        }
        bytes
    }
}

pub(crate) fn changes() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<Index>(), 0_u8..8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => any::<Index>().prop_map(Change::Truncate),
        1 => prop::collection::vec(any::<u8>(), 1..300).prop_map(Change::Extend),
    ]
}
