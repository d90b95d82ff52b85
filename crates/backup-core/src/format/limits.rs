//! Limits on the values in a manifest, checked when it is parsed, before any value is used, and before it is
//! written.

use std::collections::HashSet;

use super::FormatError;
use super::manifest::{Component, Manifest};
use super::pack;
use crate::digest::Digest;
use crate::num::to_u64;
use crate::store::MAX_OBJECT;

/// Largest number of plain bytes of a component: 16 TiB.
pub const MAX_COMPONENT: u64 = 1 << 44;
/// Largest number of components.
pub const MAX_COMPONENTS: usize = 4096;
/// Largest number of epochs: one a month and one for each change of recipients.
pub const MAX_EPOCHS: usize = 1024;
/// Size limit of a stored key object: some thousand recipients.
pub const MAX_KEY: u64 = 1 << 20;

/// Refuses a manifest that claims more than the format allows, or contradicts itself.
pub(super) fn check(manifest: &Manifest) -> Result<(), FormatError> {
    let epochs = manifest.epochs();
    at_most(epochs.len(), MAX_EPOCHS, "epochs")?;
    at_most(manifest.components.len(), MAX_COMPONENTS, "components")?;
    for epoch in epochs {
        object("key", epoch.key.sha256, epoch.key.bytes, MAX_KEY)?;
    }
    let largest = to_u64(MAX_OBJECT);
    for index in &manifest.indexes {
        object("index", index.sha256, index.bytes, largest)?;
    }
    let mut names = HashSet::new();
    for component in &manifest.components {
        if !names.insert(&component.name) {
            return Err(refused(format!("{} is named twice", component.name)));
        }
        part(component, epochs.len(), largest)?;
    }
    Ok(())
}

fn part(component: &Component, epochs: usize, largest: u64) -> Result<(), FormatError> {
    let (name, plain) = (&component.name, component.plain_bytes);
    if plain > MAX_COMPONENT {
        return Err(refused(format!(
            "{name} claims {plain} plain bytes, above {MAX_COMPONENT}"
        )));
    }
    let known = |e: u64| usize::try_from(e).is_ok_and(|e| e < epochs.max(1));
    if component.recipe_epoch.is_some_and(|e| !known(e)) {
        return Err(refused(format!("{name} names an epoch that is not listed")));
    }
    let most = to_u64(pack::MAX_PLAIN);
    for pack in &component.packs {
        if !known(pack.epoch) {
            return Err(refused(format!(
                "pack {} names an epoch that is not listed",
                pack.sha256
            )));
        }
        object("pack", pack.sha256, pack.bytes, largest)?;
        if pack.plain_bytes > most {
            return Err(refused(format!(
                "pack {} claims {} plain bytes, above {most}",
                pack.sha256, pack.plain_bytes
            )));
        }
    }
    for recipe in &component.recipes {
        object("recipe", recipe.sha256, recipe.bytes, largest)?;
    }
    Ok(())
}

fn object(what: &str, name: Digest, bytes: u64, most: u64) -> Result<(), FormatError> {
    if bytes <= most {
        return Ok(());
    }
    Err(refused(format!(
        "{what} {name} claims {bytes} bytes, above {most}"
    )))
}

fn at_most(count: usize, most: usize, what: &str) -> Result<(), FormatError> {
    if count <= most {
        return Ok(());
    }
    Err(refused(format!("it names {count} {what}, above {most}")))
}

fn refused(what: String) -> FormatError {
    FormatError::damaged("manifest", what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::crypt::new_identity;

    fn manifest() -> Value {
        let digest = Digest::of(b"x");
        let object = json!({ "sha256": digest, "bytes": 1 });
        let epoch = json!({
            "recipient": new_identity().1,
            "key": object, "recipients": [], "began": "2026-11-23T12:00:00Z",
        });
        json!({
            "version": 1, "tool": "test", "cluster": "c", "claim": digest,
            "began": "2026-11-23T12:00:00Z", "ended": "2026-11-23T12:00:01Z",
            "lineage": { "id": "l" },
            "encryption": { "mode": "age", "epochs": [epoch] },
            "components": [{
                "name": "etcd", "mediaType": "x", "plainBytes": 1, "plainSha256": digest,
                "packs": [{ "sha256": digest, "bytes": 1, "plainBytes": 1 }],
                "recipes": [object],
            }],
            "indexes": [object],
            "cost": {
                "readBytes": 1, "chunks": 1, "newChunks": 1, "objects": 1, "storedBytes": 1
            },
        })
    }

    fn parse(manifest: &Value) -> Result<Manifest, FormatError> {
        Manifest::parse(manifest.to_string().as_bytes())
    }

    /// Every number that is used, and its limit.
    const NUMBERS: [(&str, u64); 6] = [
        ("/encryption/epochs/0/key/bytes", MAX_KEY),
        ("/components/0/plainBytes", MAX_COMPONENT),
        ("/components/0/packs/0/bytes", 16 << 20),
        ("/components/0/packs/0/plainBytes", 15 << 20),
        ("/components/0/recipes/0/bytes", 16 << 20),
        ("/indexes/0/bytes", 16 << 20),
    ];

    #[test]
    fn every_number_has_a_limit() {
        for (at, most) in NUMBERS {
            for (number, fits) in [(most, true), (most + 1, false), (1 << 62, false)] {
                let mut manifest = manifest();
                *manifest.pointer_mut(at).unwrap() = json!(number);
                assert_eq!(parse(&manifest).is_ok(), fits, "{at} {number}");
            }
        }
    }

    #[test]
    fn every_count_has_a_limit_and_no_component_comes_twice() {
        let many = |at: &str, count: usize| {
            let mut manifest = manifest();
            let list = manifest.pointer_mut(at).unwrap().as_array_mut().unwrap();
            let one = list[0].clone();
            list.resize(count, one);
            for (n, one) in list.iter_mut().enumerate() {
                if one.get("name").is_some() {
                    one["name"] = json!(format!("datastore/d{n}"));
                }
            }
            parse(&manifest)
        };
        for (at, most) in [
            ("/encryption/epochs", MAX_EPOCHS),
            ("/components", MAX_COMPONENTS),
        ] {
            assert!(many(at, most).is_ok());
            assert!(many(at, most + 1).is_err(), "{at}");
        }
        let mut twice = manifest();
        let first = twice["components"][0].clone();
        twice["components"].as_array_mut().unwrap().push(first);
        let told = parse(&twice).unwrap_err().to_string();
        assert!(told.contains("named twice"), "{told}");
    }

    proptest! {
        /// For any numbers in it: a parsed manifest is within the limits, and its sums do not overflow.
        #[test]
        fn what_is_parsed_is_within_the_limits(
            numbers in prop::collection::vec((0_usize..NUMBERS.len(), any::<u64>(), 0_u32..64), 0..8),
        ) {
            let mut manifest = manifest();
            for (which, number, shift) in numbers {
                *manifest.pointer_mut(NUMBERS[which].0).unwrap() = json!(number >> shift);
            }
            if let Ok(parsed) = parse(&manifest) {
                for component in &parsed.components {
                    let packs = component.packs.iter();
                    let space = packs.map(|p| p.plain_bytes).try_fold(0_u64, u64::checked_add);
                    prop_assert!(space.is_some());
                    prop_assert!(component.plain_bytes <= MAX_COMPONENT);
                }
            }
        }
    }
}
