//! Keys of all objects below a cluster's prefix: building and parsing in one place.

use std::str::FromStr as _;

use jiff::Timestamp;

use crate::digest::Digest;
use crate::id::{RestorePointId, time_text};
use crate::store::Key;

/// Key of the owner marker, the only object with a fixed name: it ties the prefix to one cluster.
pub const OWNER_MARKER: &str = "claim.json";
/// Folder of the manifests; their keys sort by time.
pub const MANIFESTS: &str = "manifests/";
/// Folder of the signatures, with a folder for each manifest's digest.
pub const SIGNATURES: &str = "signatures/";

/// Kind of an object, determined from its key alone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// The owner marker.
    OwnerMarker,
    /// A pack of many chunks.
    Pack(Digest),
    /// Instructions for assembling a stream from packs.
    Recipe(Digest),
    /// Positions of chunks in packs.
    Index(Digest),
    /// Wrapped secret half of an epoch.
    EpochKey(Digest),
    /// Content list of a restore point; its existence commits the restore point.
    Manifest {
        /// Its time and the start of its digest.
        id: RestorePointId,
        /// Its digest.
        digest: Digest,
    },
    /// A detached minisign signature.
    Signature {
        /// Digest of the manifest that it vouches for.
        manifest: Digest,
        /// Its own digest.
        digest: Digest,
    },
    /// A part of the copy of a restore's journal. Its name is not a digest: if two processes continue the
    /// same restore, only one may put the part.
    Journal {
        /// The restore.
        restore: String,
        /// The part.
        part: JournalPart,
    },
    /// Object left by a probe of the store.
    Probe(Digest),
}

/// Part of the copy of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JournalPart {
    /// Part of the plan, by its number.
    Plan(u64),
    /// Lines, by the position in the journal where they begin.
    Lines(u64),
}

impl ObjectKind {
    /// Returns the kind of the object at `key`; `None` for a key that the format does not use.
    #[must_use]
    pub fn of(key: &Key) -> Option<Self> {
        let text = key.as_str();
        if text == OWNER_MARKER {
            return Some(Self::OwnerMarker);
        }
        let (folder, name) = text.split_once('/')?;
        let digest = |name: &str| Digest::from_str(name).ok();
        match folder {
            "packs" => digest(name).map(Self::Pack),
            "recipes" => digest(name).map(Self::Recipe),
            "indexes" => digest(name).map(Self::Index),
            "keys" => digest(name.strip_suffix(".age")?).map(Self::EpochKey),
            "probe" => digest(name).map(Self::Probe),
            "manifests" => {
                let (time, name) = name.strip_suffix(".json")?.split_once('-')?;
                let digest = digest(name)?;
                let id = format!("{time}-{}", name.get(..12)?).parse().ok()?;
                Some(Self::Manifest { id, digest })
            }
            "signatures" => {
                let (manifest, name) = name.split_once('/')?;
                let name = digest(name.strip_suffix(".minisig")?)?;
                Some(Self::Signature {
                    manifest: digest(manifest)?,
                    digest: name,
                })
            }
            "journals" => {
                let (restore, name) = name.split_once('/')?;
                let number = |text: &str| {
                    let digits = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit());
                    digits.then(|| text.parse().ok())?
                };
                let part = match name.strip_prefix("plan-") {
                    Some(name) => JournalPart::Plan(number(name)?),
                    None => JournalPart::Lines(number(name)?),
                };
                let restore = restore.to_owned();
                Some(Self::Journal { restore, part })
            }
            _ => None,
        }
    }

    /// Returns the SHA-256 of the object's bytes according to its name; `None` for the owner marker and for
    /// journals.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::OwnerMarker | Self::Journal { .. } => None,
            Self::Pack(d)
            | Self::Recipe(d)
            | Self::Index(d)
            | Self::EpochKey(d)
            | Self::Probe(d)
            | Self::Manifest { digest: d, .. }
            | Self::Signature { digest: d, .. } => Some(*d),
        }
    }
}

/// Number of digits of a number in a key, so that keys sort by it.
const DIGITS: usize = 16;

fn key(text: &str) -> Key {
    #[expect(
        clippy::expect_used,
        reason = "built from digits and fixed words, and tested"
    )]
    text.parse().expect("keys of the layout are keys")
}

/// Returns the key of the owner marker.
#[must_use]
pub fn owner_marker() -> Key {
    key(OWNER_MARKER)
}

/// Returns the key of a pack.
#[must_use]
pub fn pack(digest: Digest) -> Key {
    key(&format!("packs/{digest}"))
}

/// Returns the key of a recipe.
#[must_use]
pub fn recipe(digest: Digest) -> Key {
    key(&format!("recipes/{digest}"))
}

/// Returns the key of an index.
#[must_use]
pub fn index(digest: Digest) -> Key {
    key(&format!("indexes/{digest}"))
}

/// Returns the key of an epoch's wrapped secret.
#[must_use]
pub fn epoch_key(digest: Digest) -> Key {
    key(&format!("keys/{digest}.age"))
}

/// Returns the key of the manifest of a run that began at `began`.
#[must_use]
pub fn manifest(began: Timestamp, digest: Digest) -> Key {
    key(&format!("{MANIFESTS}{}-{digest}.json", time_text(began)))
}

/// Folder of the copies of journals, with a folder for each restore.
pub const JOURNALS: &str = "journals/";

/// Returns the folder of the journal of one restore.
#[must_use]
pub fn journal_of(restore: &str) -> String {
    format!("{JOURNALS}{restore}/")
}

/// Returns the key of a part of a journal's copy; `None` if the restore's name is not valid in a key.
#[must_use]
pub fn journal(restore: &str, part: JournalPart) -> Option<Key> {
    let folder = journal_of(restore);
    let text = match part {
        JournalPart::Plan(number) => format!("{folder}plan-{number:0DIGITS$}"),
        JournalPart::Lines(at) => format!("{folder}{at:0DIGITS$}"),
    };
    text.parse().ok()
}

/// Returns the folder of the signatures of one manifest.
#[must_use]
pub fn signatures_of(manifest: Digest) -> String {
    format!("{SIGNATURES}{manifest}/")
}

/// Returns the key of a signature.
#[must_use]
pub fn signature(manifest: Digest, digest: Digest) -> Key {
    key(&format!("{}{digest}.minisig", signatures_of(manifest)))
}

/// Returns the key of an object; `None` for a journal of a restore whose name is not valid in a key.
#[must_use]
pub fn key_of(kind: &ObjectKind) -> Option<Key> {
    Some(match kind {
        ObjectKind::OwnerMarker => owner_marker(),
        ObjectKind::Pack(digest) => pack(*digest),
        ObjectKind::Recipe(digest) => recipe(*digest),
        ObjectKind::Index(digest) => index(*digest),
        ObjectKind::EpochKey(digest) => epoch_key(*digest),
        ObjectKind::Probe(digest) => key(&format!("probe/{digest}")),
        ObjectKind::Manifest { id, digest } => {
            let (time, _) = id.as_str().split_once('-')?;
            key(&format!("{MANIFESTS}{time}-{digest}.json"))
        }
        ObjectKind::Signature { manifest, digest } => signature(*manifest, *digest),
        ObjectKind::Journal { restore, part } => return journal(restore, *part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_built_is_parsed() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let began: Timestamp = "2026-11-23T12:45:00Z".parse().unwrap();
        let id = RestorePointId::new(began, a);
        for (key, kind) in [
            (owner_marker(), ObjectKind::OwnerMarker),
            (pack(a), ObjectKind::Pack(a)),
            (recipe(a), ObjectKind::Recipe(a)),
            (index(a), ObjectKind::Index(a)),
            (epoch_key(a), ObjectKind::EpochKey(a)),
            (manifest(began, a), ObjectKind::Manifest { id, digest: a }),
            (
                signature(a, b),
                ObjectKind::Signature {
                    manifest: a,
                    digest: b,
                },
            ),
        ] {
            assert_eq!(key_of(&kind), Some(key.clone()));
            assert_eq!(ObjectKind::of(&key), Some(kind), "{key}");
        }
        for part in [JournalPart::Plan(3), JournalPart::Lines(77)] {
            let restore = "20261124t220132z-22a023ae".to_owned();
            let key = journal(&restore, part).unwrap();
            let kind = ObjectKind::of(&key);
            assert_eq!(kind, Some(ObjectKind::Journal { restore, part }), "{key}");
        }
        assert_eq!(journal("../a", JournalPart::Plan(0)), None);
        for strange in [
            "journals/a",
            "journals/a/77",
            "packs/xyz",
            "readme",
            "manifests/x.json",
            "a/b/c",
        ] {
            assert_eq!(ObjectKind::of(&strange.parse().unwrap()), None, "{strange}");
        }
    }
}
