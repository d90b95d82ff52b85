//! Small restore point in memory, in which any byte can be changed, and its reader.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

use backup_core::backup::{Protection, Run};
use backup_core::catalog::{Catalog, RestorePoint};
use backup_core::clock::FixedClock;
use backup_core::crypt::{Identities, SigningKey, Trust, Verdict, new_identity};
use backup_core::digest::Digest;
use backup_core::id::ComponentName;
use backup_core::newfile::OverwritePolicy;
use backup_core::progress::SilentProgress;
use backup_core::read::{self, VerifyDepth};
use backup_core::store::memory::MemoryStore;
use backup_core::store::{Key, Store};
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Stored objects by key.
pub(crate) type Objects = BTreeMap<Key, Bytes>;

/// Signed restore point of a real snapshot, and the keys to read it.
pub(crate) struct World {
    pub(crate) objects: Objects,
    pub(crate) plain: Vec<u8>,
    pub(crate) trust: Trust,
    identities: Identities,
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

fn text(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

impl World {
    pub(crate) async fn new(encrypted: bool) -> Self {
        let snapshot = &include_bytes!("../fixtures/etcd-3.6.16-objects.db.zst")[..];
        let plain = zstd::decode_all(snapshot).unwrap();
        let (secret, recipient) = new_identity();
        let mut identities = Identities::none();
        identities.add("test", &secret).unwrap();
        let signing_key = SigningKey::generate().unwrap();
        let trust = Trust::Keys(vec![signing_key.public().clone()]);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let run = Run {
            cluster: "butler-mgmt".parse().unwrap(),
            store: Arc::clone(&store),
            protection: if encrypted {
                Protection::Recipients(vec![recipient])
            } else {
                Protection::None
            },
            signing_key: Some(signing_key),
            tool: "test 0".to_owned(),
            reason: None,
            pinned: false,
            clock: Arc::new(FixedClock::new("2026-11-23T12:00:00Z".parse().unwrap())),
            progress: Arc::new(SilentProgress),
            cancel: CancellationToken::new(),
        };
        let block = Ok(Bytes::copy_from_slice(&plain));
        let stream = Box::pin(futures::stream::iter([block]));
        run.import_etcd("test.snapshot", stream).await.unwrap();
        Self {
            objects: all(store.as_ref()).await,
            plain,
            trust,
            identities,
        }
    }

    /// Reads the latest restore point of `objects` by verification and by fetch.
    pub(crate) async fn read(&self, objects: &Objects, trust: &Trust) -> Outcome {
        let store: Arc<dyn Store> = Arc::new(stored(objects).await);
        let point = match load(&store, trust).await {
            Ok(point) => point,
            Err(error) => {
                return Outcome {
                    sound: Err(error.clone()),
                    fetched: Err(error),
                };
            }
        };
        let folder = tempfile::tempdir().unwrap();
        let unlock = || read::unlock(&store, &point, &self.identities);
        let sound = async {
            let depth = VerifyDepth::Full(unlock().await?);
            let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
            let store = Arc::clone(&store);
            read::verify(store, &point, depth, folder.path(), progress, cancel).await
        };
        let sound = sound.await.map(|v| v.findings.is_empty()).map_err(text);
        let (name, target) = (ComponentName::etcd(), folder.path().join("etcd"));
        let fetched = async {
            let unlocked = unlock().await?;
            let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
            let store = Arc::clone(&store);
            let to = (target.as_path(), OverwritePolicy::Replace);
            read::fetch(store, &point, unlocked, &name, to, progress, cancel).await
        };
        let fetched = fetched.await.map_err(text);
        assert_eq!(target.exists(), fetched.is_ok(), "a part was left behind");
        Outcome {
            sound,
            fetched: fetched.map(|f| std::fs::read(f.file).unwrap()),
        }
    }
}

async fn load(store: &Arc<dyn Store>, trust: &Trust) -> Result<RestorePoint, String> {
    let catalog = Catalog::new(Arc::clone(store));
    let entry = catalog.list().await.map_err(text)?.pop().unwrap();
    let point = catalog.load(&entry, trust).await.map_err(text)?;
    match point.verdict {
        Verdict::Trusted | Verdict::NotChecked => Ok(point),
        verdict => Err(format!("the manifest is {verdict}")),
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

async fn all(store: &dyn Store) -> Objects {
    let mut objects = Objects::new();
    let mut from = None;
    loop {
        let page = store.list("", from).await.unwrap();
        for info in page.objects {
            let bytes = store.get(&info.key).await.unwrap();
            objects.insert(info.key, bytes);
        }
        from = page.next;
        if from.is_none() {
            return objects;
        }
    }
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
