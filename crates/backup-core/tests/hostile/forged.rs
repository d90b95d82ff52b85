//! Tests with objects that were changed together with their names, and a reader that trusts anyone: the
//! checks behind the digests must hold alone.

use std::io::Write as _;

use backup_core::crypt::{Opener, Sealer, Trust};
use backup_core::digest::Digest;
use backup_core::format::layout;
use backup_core::format::manifest::{Encryption, Manifest};
use backup_core::format::pack::{OpenPack, PackWriter};
use backup_core::format::recipe::Segment;
use backup_core::store::Key;
use bytes::Bytes;
use proptest::prelude::*;

use super::original::{Change, Objects, Original, changes, runtime};

/// Restore point that is forged; it must be unencrypted for changes inside of its objects.
pub(crate) struct Forge {
    pub(crate) objects: Objects,
    pub(crate) manifest: Manifest,
}

impl Forge {
    pub(crate) fn of(world: &Original) -> Self {
        let mut objects = world.objects.clone();
        objects.retain(|key, _| !key.as_str().starts_with("signatures/"));
        let is_manifest = |key: &&Key| key.as_str().starts_with(layout::MANIFESTS);
        let key = objects.keys().find(is_manifest).unwrap().clone();
        let bytes = objects.remove(&key).unwrap();
        let manifest = Manifest::parse(&bytes).unwrap();
        Self { objects, manifest }
    }

    /// Returns the stored bytes of the only recipe.
    pub(crate) fn recipe(&self) -> Bytes {
        let sha256 = self.manifest.components[0].recipes[0].sha256;
        self.objects[&layout::recipe(sha256)].clone()
    }

    pub(crate) fn segment(&self) -> Segment {
        Segment::decode(&self.recipe(), u64::MAX).unwrap()
    }

    pub(crate) fn set_recipe(&mut self, stored: Vec<u8>) {
        let object = &mut self.manifest.components[0].recipes[0];
        object.sha256 = Digest::of(&stored);
        object.bytes = stored.len() as u64;
        let key = layout::recipe(object.sha256);
        self.objects.insert(key, stored.into());
    }

    pub(crate) fn set_segment(&mut self, segment: &Segment) {
        self.set_recipe(segment.encode(3).unwrap());
    }

    /// Returns the stored bytes of the only pack.
    pub(crate) fn pack(&self) -> Bytes {
        let sha256 = self.manifest.components[0].packs[0].sha256;
        self.objects[&layout::pack(sha256)].clone()
    }

    pub(crate) fn set_pack(&mut self, stored: Vec<u8>) {
        let pack = &mut self.manifest.components[0].packs[0];
        pack.sha256 = Digest::of(&stored);
        pack.bytes = stored.len() as u64;
        let key = layout::pack(pack.sha256);
        self.objects.insert(key, stored.into());
    }

    /// Returns all objects, with `manifest` under its correct name.
    pub(crate) fn with_manifest(&self, manifest: Vec<u8>) -> Objects {
        let mut objects = self.objects.clone();
        let key = layout::manifest(self.manifest.began, Digest::of(&manifest));
        objects.insert(key, manifest.into());
        objects
    }

    pub(crate) fn finish(&self) -> Objects {
        self.with_manifest(self.manifest.to_bytes().unwrap())
    }
}

#[derive(Debug, Clone, Copy)]
enum Part {
    Manifest,
    StoredRecipe,
    PlainRecipe,
    StoredPack,
    PlainPack,
    Index,
    Key,
}

fn forge(world: &Original, part: Part, change: &Change) -> Objects {
    let mut forge = Forge::of(world);
    match part {
        Part::Manifest => {
            let bytes = forge.manifest.to_bytes().unwrap();
            return forge.with_manifest(change.apply(&bytes));
        }
        Part::StoredRecipe => {
            let stored = change.apply(&forge.recipe());
            forge.set_recipe(stored);
        }
        Part::PlainRecipe => {
            let plain = zstd::decode_all(&forge.recipe()[..]).unwrap();
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.write_all(&change.apply(&plain)).unwrap();
            forge.set_recipe(encoder.finish().unwrap());
        }
        Part::StoredPack => {
            let stored = change.apply(&forge.pack());
            forge.set_pack(stored);
        }
        Part::PlainPack => {
            let plain_bytes = forge.manifest.components[0].packs[0].plain_bytes;
            let pack = OpenPack::open(&forge.pack(), Opener::plain(), plain_bytes).unwrap();
            let mut plain = Vec::new();
            pack.each_frame(Vec::new, |_, bytes| plain.extend_from_slice(&bytes))
                .unwrap();
            let plain = change.apply(&plain);
            let mut writer = PackWriter::new(3).unwrap();
            let chunks = plain.chunks(100_000);
            let stored = writer.write(chunks, &Sealer::plain()).unwrap();
            forge.manifest.components[0].packs[0].plain_bytes = plain.len() as u64;
            forge.set_pack(stored);
        }
        Part::Index => {
            let object = &mut forge.manifest.indexes[0];
            let stored = change.apply(&forge.objects[&layout::index(object.sha256)]);
            object.sha256 = Digest::of(&stored);
            object.bytes = stored.len() as u64;
            let key = layout::index(object.sha256);
            forge.objects.insert(key, stored.into());
        }
        Part::Key => {
            let Encryption::Age { epochs } = &mut forge.manifest.encryption else {
                panic!("nothing is encrypted");
            };
            let object = &mut epochs[0].key;
            let stored = change.apply(&forge.objects[&layout::epoch_key(object.sha256)]);
            object.sha256 = Digest::of(&stored);
            object.bytes = stored.len() as u64;
            let key = layout::epoch_key(object.sha256);
            forge.objects.insert(key, stored.into());
        }
    }
    forge.finish()
}

/// Checks that each forged part gives an error or the same bytes. Each part has a weight.
fn forged_parts_give_an_error_or_the_same_bytes(
    encrypted: bool,
    cases: u32,
    parts: Vec<(u32, Part)>,
) {
    let runtime = runtime();
    let world = runtime.block_on(Original::new(encrypted));
    let untouched = Forge::of(&world).finish();
    let untouched = runtime.block_on(world.read(&untouched, &Trust::Anyone));
    assert!(untouched.fetched.unwrap() == world.plain);

    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let parts = parts.into_iter().map(|(weight, part)| (weight, Just(part)));
    let part = proptest::strategy::Union::new_weighted(parts.collect());
    proptest!(config, |((part, change) in (part, changes()))| {
        let objects = forge(&world, part, &change);
        let outcome = runtime.block_on(world.read(&objects, &Trust::Anyone));
        if outcome.sound == Ok(true) {
            // A forged manifest may give the component another name. It is sound then, and only a request for
            // `etcd` fails.
            let renamed = |e: &String| e.contains("has no component `etcd`");
            let fetched = outcome.fetched.as_ref();
            prop_assert!(fetched.is_ok() || fetched.is_err_and(renamed), "verified, and then {fetched:?}");
        }
        if let Ok(bytes) = outcome.fetched {
            prop_assert!(bytes == world.plain, "{part:?} gave other bytes");
        }
    });
}

#[test]
fn what_is_forged_without_encryption_is_an_error_or_the_same_bytes() {
    let parts = vec![
        (3, Part::Manifest),
        (1, Part::StoredRecipe),
        (4, Part::PlainRecipe),
        (1, Part::StoredPack),
        (1, Part::PlainPack),
        (1, Part::Index),
    ];
    forged_parts_give_an_error_or_the_same_bytes(false, 600, parts);
}

#[test]
fn what_is_forged_with_encryption_is_an_error_or_the_same_bytes() {
    let parts = vec![
        (1, Part::Manifest),
        (1, Part::StoredRecipe),
        (1, Part::StoredPack),
        (1, Part::Index),
        (2, Part::Key),
    ];
    forged_parts_give_an_error_or_the_same_bytes(true, 200, parts);
}
