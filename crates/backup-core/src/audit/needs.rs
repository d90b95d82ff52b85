//! Objects that a prefix's restore points need, and the search for listed objects that none of them needs.

use std::collections::{HashMap, HashSet};

use super::NeededObject;
use crate::catalog::{CatalogEntry, RestorePoint};
use crate::digest::Digest;
use crate::format::layout::{self, ObjectKind};
use crate::store::ObjectInfo;

/// Objects that restore points need, each once; some 90 bytes each in memory.
#[derive(Debug, Default)]
pub(crate) struct NeededObjects {
    /// Needed objects, each with its size.
    objects: HashMap<ObjectKind, u64>,
    /// Existing manifests, including those that cannot be read.
    manifests: HashSet<Digest>,
}

/// Relation of a listed object to the restore points.
#[derive(Debug)]
pub(crate) enum ObjectRelation {
    /// A restore point needs it.
    Needed(NeededObject),
    /// No restore point needs it, and that is normal: the owner marker, a journal, a probe, a manifest that was put
    /// meanwhile or cannot be read, an additional signature. With the digest in its name, if that has to be
    /// checked.
    Apart(Option<NeededObject>),
    /// No manifest names it: a run that died left it, or a run is in progress.
    Orphan(NeededObject),
    /// Its name is not one of the format.
    Foreign,
}

impl NeededObjects {
    /// Records that a manifest exists.
    pub(crate) fn manifest(&mut self, entry: &CatalogEntry) {
        self.manifests.insert(entry.digest);
    }

    /// Records the objects that a restore point needs.
    pub(crate) fn point(&mut self, point: &RestorePoint) {
        let all = NeededObject::of(point).into_iter();
        let all = all.filter_map(|e| Some((ObjectKind::of(&e.key)?, e.bytes)));
        self.objects.extend(all);
    }

    /// Whether a restore point needs the object of this name.
    pub(crate) fn has(&self, kind: &ObjectKind) -> bool {
        self.objects.contains_key(kind)
    }

    /// Classifies `object`, and removes it from the objects that are still to be found.
    pub(crate) fn place(&mut self, object: &ObjectInfo) -> ObjectRelation {
        let Some(kind) = ObjectKind::of(&object.key) else {
            return ObjectRelation::Foreign;
        };
        let promised = |bytes| {
            kind.digest().map(|digest| NeededObject {
                key: object.key.clone(),
                digest,
                bytes,
            })
        };
        let needed = self.objects.remove(&kind);
        match (needed.and_then(promised), promised(object.size)) {
            (Some(expected), _) => ObjectRelation::Needed(expected),
            (None, Some(expected)) if self.is_leftover(&kind) => ObjectRelation::Orphan(expected),
            // A probe shows what a store supports, and nobody reads its content.
            (None, Some(_)) if matches!(kind, ObjectKind::Probe(_)) => ObjectRelation::Apart(None),
            (None, promised) => ObjectRelation::Apart(promised),
        }
    }

    /// Whether an object of this kind that no restore point needs is an orphan.
    fn is_leftover(&self, kind: &ObjectKind) -> bool {
        match kind {
            ObjectKind::Pack(_)
            | ObjectKind::Recipe(_)
            | ObjectKind::Index(_)
            | ObjectKind::EpochKey(_) => true,
            // A signature is put before its manifest. Beside an existing manifest it stays, whoever signed.
            ObjectKind::Signature { manifest, .. } => !self.manifests.contains(manifest),
            ObjectKind::OwnerMarker
            | ObjectKind::Manifest { .. }
            | ObjectKind::Journal { .. }
            | ObjectKind::Probe(_) => false,
        }
    }

    /// Returns the needed objects that were not listed.
    pub(crate) fn missing(self) -> impl Iterator<Item = NeededObject> {
        self.objects.into_iter().filter_map(|(kind, bytes)| {
            let digest = kind.digest()?;
            let key = layout::key_of(&kind)?;
            Some(NeededObject { key, digest, bytes })
        })
    }
}
