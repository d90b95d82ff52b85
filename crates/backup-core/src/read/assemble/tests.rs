use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::schedule::BLOCK;
use super::*;
use crate::chunk::ChunkerKind;
use crate::crypt::Sealer;
use crate::format::layout;
use crate::format::manifest::{PackRef, StoredObject};
use crate::format::pack::PackWriter;
use crate::format::recipe::PackSpan;
use crate::progress::SilentProgress;
use crate::store::local::LocalStore;
use crate::store::memory::MemoryStore;
use crate::store::{Key, Store};
use crate::testing::fault::FaultStore;

/// Size of a pack, in the same proportion to a block as a real pack.
const PACK: u64 = BLOCK * 15 / 4;

/// Stored component: its manifest entry, and its plain bytes.
struct SampleComponent {
    component: Component,
    plain: Vec<u8>,
}

async fn put(store: &dyn Store, key: impl Fn(Digest) -> Key, bytes: Vec<u8>) -> StoredObject {
    let sha256 = Digest::of(&bytes);
    let stored = StoredObject {
        sha256,
        bytes: u64::try_from(bytes.len()).unwrap(),
    };
    let bytes = Bytes::from(bytes);
    store.create(&key(sha256), bytes, sha256).await.unwrap();
    stored
}

/// Stores `packs` different packs, and a stream of `runs` in them.
async fn stored(store: &dyn Store, packs: u64, runs: Vec<PackSpan>) -> SampleComponent {
    let mut writer = PackWriter::new(1).unwrap();
    let (mut space, mut refs) = (Vec::new(), Vec::new());
    for number in 0..packs {
        let byte = |i: u64| u8::try_from((i * i + i / 7 + number * 31) % 251).unwrap();
        let plain: Vec<u8> = (0..PACK).map(byte).collect();
        let bytes = writer.write(plain.chunks(50), &Sealer::plain()).unwrap();
        let object = put(store, layout::pack, bytes).await;
        refs.push(PackRef {
            sha256: object.sha256,
            bytes: object.bytes,
            plain_bytes: PACK,
            epoch: 0,
        });
        space.extend(plain);
    }
    let mut plain = Vec::new();
    for run in &runs {
        let from = usize::try_from(run.start).unwrap();
        plain.extend_from_slice(&space[from..from + usize::try_from(run.length).unwrap()]);
    }
    let plain_bytes = u64::try_from(plain.len()).unwrap();
    let segment = Segment {
        kind: ChunkerKind::Plain,
        start: 0,
        plain_bytes,
        layout: Vec::new(),
        runs,
    };
    let recipe = put(store, layout::recipe, segment.encode(1).unwrap()).await;
    let component = Component {
        name: "etcd".parse().unwrap(),
        media_type: "application/octet-stream".to_owned(),
        plain_bytes,
        plain_sha256: Digest::of(&plain),
        packs: refs,
        recipes: vec![recipe],
        recipe_epoch: None,
        carried_from: None,
        etcd: None,
        archive: None,
        more: BTreeMap::new(),
    };
    SampleComponent { component, plain }
}

async fn assembled(store: Arc<dyn Store>, component: &Component) -> Result<Vec<u8>, RestoreError> {
    let assembly = Assembly {
        objects: PointObjects {
            store,
            id: "20261123t124500000z-1a2b3c4d5e6f".parse().unwrap(),
            folder: None,
        },
        unlocked: Arc::new(PointKeys::of_nothing()),
        progress: Arc::new(SilentProgress),
        cancel: CancellationToken::new(),
        file: None,
    };
    assemble(&assembly, component, &std::env::temp_dir(), Vec::new()).await
}

/// Returns runs of a few bytes of each of ten packs, then of all packs in order, each with a few bytes of the
/// first.
fn moved() -> Vec<PackSpan> {
    let run = |start, length| PackSpan { start, length };
    let early = (1..10).map(|pack| run(pack * PACK + 3, 2));
    let whole = (0..10).flat_map(|pack| [run(pack * PACK, PACK), run(7, 1)]);
    early.chain(whole).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_that_is_opened_again_is_not_downloaded_again() {
    let store = Arc::new(FaultStore::new(Arc::new(MemoryStore::default())));
    let SampleComponent { component, plain } = stored(store.as_ref(), 10, moved()).await;
    let mut loads = loads(&component);
    let openings = sequence(
        &mut loads,
        moved().iter(),
        &tokio_util::sync::CancellationToken::new(),
    )
    .unwrap();
    let again = openings.order.iter().filter(|o| !o.first).count();
    assert!(again >= 5, "{again}");

    let before = store.counts().gets;
    let got = assembled(Arc::<FaultStore>::clone(&store), &component).await;
    assert!(got.unwrap() == plain);
    // Ten packs and the recipe. One may be requested again, directly after its first opening.
    let gets = store.counts().gets - before;
    assert!((11..=12).contains(&gets), "{gets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_in_a_folder_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(LocalStore::open(folder.path()).await.unwrap());
    let SampleComponent { component, plain } = stored(store.as_ref(), 10, moved()).await;
    assert!(assembled(store, &component).await.unwrap() == plain);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_recipe_wants_comes_back(
        wanted in prop::collection::vec((0..6 * PACK, 1..2 * PACK), 1..30),
    ) {
        let runs = wanted.into_iter().map(|(start, length)| PackSpan {
            start,
            length: length.min(6 * PACK - start),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let (got, plain) = runtime.block_on(async {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
            let SampleComponent { component, plain } = stored(store.as_ref(), 6, runs.collect()).await;
            (assembled(store, &component).await, plain)
        });
        prop_assert!(got.unwrap() == plain);
    }
}
