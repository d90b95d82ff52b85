//! Tests of structures that only large clusters make, made small: many segments and packs, runs that cross
//! packs and go back, packs of two epochs in turn, and every kind of record. The script and our reader read
//! them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use backup_core::backup::Protection;
use backup_core::catalog::Catalog;
use backup_core::chunk::bbolt::BboltChunker;
use backup_core::chunk::cdc::CdcChunker;
use backup_core::chunk::{Chunker, ChunkerKind, Sink};
use backup_core::crypt::{Identities, Sealer, Trust};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::{Component, Manifest, PackRef, StoredObject};
use backup_core::format::pack::PackWriter;
use backup_core::format::recipe::{PackSpan, Segment};
use backup_core::progress::SilentProgress;
use backup_core::read;
use backup_core::store::{Key, Store};
use bytes::Bytes;
use e2e::programs::are_there;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::prefix::{NEEDED, Prefix, assert_same, snapshots};

/// Plain bytes of a pack: a segment needs several.
const PACK: u64 = 20_000;
/// Approximate number of plain bytes of a segment.
const SEGMENT: u64 = 90_000;

/// Collector of a chunker's output into one pack space, with a new segment at intervals.
struct Pieces {
    kind: ChunkerKind,
    space: Vec<Vec<u8>>,
    places: HashMap<Vec<u8>, u64>,
    end: u64,
    segments: Vec<Segment>,
    layout: Vec<u8>,
    runs: Vec<PackSpan>,
    start: u64,
}

impl Pieces {
    fn new(kind: ChunkerKind) -> Self {
        Self {
            kind,
            space: Vec::new(),
            places: HashMap::new(),
            end: 0,
            segments: Vec::new(),
            layout: Vec::new(),
            runs: Vec::new(),
            start: 0,
        }
    }

    fn close(&mut self, plain: u64) {
        self.segments.push(Segment {
            kind: self.kind,
            start: self.start,
            plain_bytes: plain - self.start,
            layout: std::mem::take(&mut self.layout),
            runs: std::mem::take(&mut self.runs),
        });
        self.start = plain;
    }

    /// Cuts pack space into packs, without regard for chunks: runs cross packs.
    fn packs(&self) -> Vec<Vec<u8>> {
        let space = self.space.concat();
        let size = usize::try_from(PACK).unwrap();
        space.chunks(size).map(<[u8]>::to_vec).collect()
    }
}

impl Sink for Pieces {
    fn chunk(&mut self, bytes: &[u8], _: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        let start = *self.places.entry(bytes.to_vec()).or_insert(self.end);
        if start == self.end {
            self.space.push(bytes.to_vec());
            self.end += length;
        }
        match self.runs.last_mut() {
            Some(last) if last.start + last.length == start => last.length += length,
            _ => self.runs.push(PackSpan { start, length }),
        }
        Ok(())
    }

    fn layout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.layout.extend_from_slice(bytes);
        Ok(())
    }

    fn boundary(&mut self, plain: u64) -> io::Result<()> {
        if plain - self.start > SEGMENT {
            self.close(plain);
        }
        Ok(())
    }
}

fn cut<C: Chunker>(mut chunker: C, kind: ChunkerKind, plain: &[u8]) -> Result<Pieces> {
    let mut pieces = Pieces::new(kind);
    chunker.push(plain, &mut pieces)?;
    chunker.finish(&mut pieces)?;
    pieces.close(plain.len() as u64);
    Ok(pieces)
}

/// Returns the pages of a real database, then a freelist with more ids than its header can count, a leaf with
/// overflow, zeros, noise, and an end that is not a page.
fn database(snapshot: &[u8]) -> Vec<u8> {
    let mut file = snapshot[..snapshot.len() - 32].to_vec();
    let page = |file: &mut Vec<u8>, flags: u16, count: u16, body: &[u8]| {
        let pages = (16 + body.len()).div_ceil(4096);
        let end = file.len() + pages * 4096;
        file.extend_from_slice(&((file.len() / 4096) as u64).to_le_bytes());
        file.extend_from_slice(&flags.to_le_bytes());
        file.extend_from_slice(&count.to_le_bytes());
        file.extend_from_slice(&((pages - 1) as u32).to_le_bytes());
        file.extend_from_slice(body);
        file.resize(end, 0);
    };
    let mut ids = 70_000_u64.to_le_bytes().to_vec();
    ids.extend((0..70_000_u64).flat_map(|i| (i * 3 + 1_000).to_le_bytes()));
    page(&mut file, 16, 0xffff, &ids);
    page(
        &mut file,
        16,
        2,
        &[7_u64, 9_000_000].map(u64::to_le_bytes).concat(),
    );
    let value: Vec<u8> = (0..60_000_u32)
        .flat_map(|i| (i * i).to_le_bytes())
        .collect();
    let mut leaf = [0_u32, 32, 1, 3].map(u32::to_le_bytes).concat();
    let large = u32::try_from(value.len()).unwrap();
    leaf.extend([0, 20, 2, large].map(u32::to_le_bytes).concat());
    leaf.extend(b"kval");
    leaf.extend(b"K2");
    leaf.extend(&value);
    page(&mut file, 2, 2, &leaf);
    // A branch whose children go up and down, and one without children.
    let mut branch = Vec::new();
    for (i, child) in [900_u64, 5, 5, 1 << 47].into_iter().enumerate() {
        let position = (4 - i) as u32 * 16 + i as u32 * 3;
        branch.extend([position, 3].map(u32::to_le_bytes).concat());
        branch.extend(child.to_le_bytes());
    }
    branch.extend(b"aaabbbcccddd");
    page(&mut file, 1, 4, &branch);
    page(&mut file, 1, 0, &[]);
    file.extend(vec![0; 300 * 4096]);
    file.extend(&value[..2 * 4096]);
    file.extend(b"and the end");
    file
}

async fn put(store: &dyn Store, key: fn(Digest) -> Key, bytes: Vec<u8>) -> Result<StoredObject> {
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    store.create(&key(digest), bytes.into(), digest).await?;
    Ok(StoredObject {
        sha256: digest,
        bytes: size,
    })
}

/// Stores `pieces` as a component of a restore point like `like`, packs in its epochs in turn.
async fn component(
    store: &dyn Store,
    like: &Manifest,
    name: &str,
    plain: &[u8],
    pieces: &Pieces,
) -> Result<Component> {
    let epochs = like.epochs();
    let sealer = |epoch: usize| Sealer::to(std::slice::from_ref(&epochs[epoch].recipient));
    let mut writer = PackWriter::new(3)?;
    let mut packs = Vec::new();
    for (i, plain) in pieces.packs().into_iter().enumerate() {
        let epoch = i % epochs.len();
        // Several frames in each pack.
        let stored = writer.write(plain.chunks(3_000), &sealer(epoch))?;
        let object = put(store, layout::pack, stored).await?;
        packs.push(PackRef {
            sha256: object.sha256,
            bytes: object.bytes,
            plain_bytes: plain.len() as u64,
            epoch: epoch as u64,
        });
    }
    let mut recipes = Vec::new();
    for segment in &pieces.segments {
        let stored = sealer(epochs.len() - 1).seal(&segment.encode(3)?)?;
        recipes.push(put(store, layout::recipe, stored).await?);
    }
    assert!(packs.len() > 8, "{name} has {} packs", packs.len());
    assert!(recipes.len() > 3, "{name} has {} recipes", recipes.len());
    let mut component = like.components[0].clone();
    component.name = name.parse()?;
    component.plain_bytes = plain.len() as u64;
    component.plain_sha256 = Digest::of(plain);
    component.packs = packs;
    component.recipes = recipes;
    component.etcd = None;
    Ok(component)
}

#[tokio::test]
async fn segments_packs_and_records_of_every_kind_come_back() -> Result<()> {
    if !are_there(&NEEDED)? {
        return Ok(());
    }
    let prefix = Prefix::new().await?;
    let (right, other) = (prefix.identity("right")?, prefix.identity("other")?);
    let [older, newer] = snapshots();
    let both = Protection::Recipients(vec![right.clone(), other]);
    prefix.import(both, &older).await?;
    let one = Protection::Recipients(vec![right]);
    let like = prefix.import(one, &newer).await?.manifest;
    assert_eq!(like.epochs().len(), 2);

    let database = database(&older);
    // The same bytes twice, so that runs go back.
    let noise: Vec<u8> = (0..150_000_u32)
        .flat_map(|i| Digest::of(&i.to_le_bytes()).as_bytes()[..4].to_vec())
        .collect();
    let noise = [noise.as_slice(), &noise].concat();
    let store = prefix.world.store();
    let bbolt = cut(BboltChunker::new(), ChunkerKind::Bbolt, &database)?;
    let kinds: Vec<u8> = (1..=6)
        .filter(|kind| {
            let of_kind = |s: &&Segment| s.layout.contains(&(0x20 | kind));
            bbolt.segments.iter().any(|s| of_kind(&s))
        })
        .collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6], "a kind of record is missing");
    let plain = cut(CdcChunker::new(), ChunkerKind::Plain, &noise)?;
    let mut manifest = like.clone();
    manifest.components = vec![
        component(store.as_ref(), &like, "etcd", &database, &bbolt).await?,
        component(store.as_ref(), &like, "noise", &noise, &plain).await?,
    ];
    let bytes = Bytes::from(manifest.to_bytes()?);
    let digest = Digest::of(&bytes);
    let key = layout::manifest(manifest.began, digest);
    store.create(&key, bytes, digest).await?;

    for (name, expected) in [("etcd", &database), ("noise", &noise)] {
        let arguments = format!("copy copy/{key} right.txt out {name}");
        assert_same(&prefix.recover("", &arguments)?, expected);
        let target = prefix.folder.join(name);
        fetch(
            &store,
            &key,
            &prefix.folder.join("right.txt"),
            name,
            &target,
        )
        .await?;
        assert_same(&std::fs::read(target)?, expected);
    }
    Ok(())
}

/// Fetches a component with our own reader.
async fn fetch(
    store: &Arc<dyn Store>,
    manifest: &Key,
    identity: &Path,
    name: &str,
    target: &Path,
) -> Result<()> {
    let catalog = Catalog::new(Arc::clone(store));
    let entries = catalog.list().await?;
    let entry = entries.iter().find(|e| e.key == *manifest).unwrap();
    let point = catalog.load(entry, &Trust::Anyone).await?;
    let mut identities = Identities::none();
    identities.add(
        "right",
        &SecretString::from(std::fs::read_to_string(identity)?),
    )?;
    let unlocked = read::unlock(store, &point, &identities).await?;
    let (progress, cancel) = (Arc::new(SilentProgress), CancellationToken::new());
    let (store, name) = (Arc::clone(store), name.parse()?);
    let to = (target, backup_core::newfile::OverwritePolicy::Replace);
    read::fetch(store, &point, unlocked, &name, to, progress, cancel).await?;
    Ok(())
}
