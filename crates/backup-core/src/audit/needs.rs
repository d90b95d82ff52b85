//! What the restore points of a prefix need, and what of a listing nobody does.

use std::collections::{HashMap, HashSet};

use super::Expected;
use crate::catalog::{Entry, RestorePoint};
use crate::digest::Digest;
use crate::format::layout::{self, ObjectKind};
use crate::store::ObjectInfo;

/// Every object that a restore point needs, once; some 90 bytes each in memory.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// With its size.
    objects: HashMap<ObjectKind, u64>,
    /// The manifests that there are, also those that cannot be read.
    manifests: HashSet<Digest>,
}

/// What an object of a listing is to the restore points.
#[derive(Debug)]
pub(crate) enum Place {
    /// One of them needs it.
    Needed(Expected),
    /// None does, and that is as it should be: the claim, a journal, a probe, a manifest that came
    /// meanwhile or cannot be read, one signature more. With what its name promises.
    Apart(Option<Expected>),
    /// No manifest leads to it: a run left it that died, or one is at work.
    Leftover(Expected),
    /// Its name is none of the format's.
    Foreign,
}

impl Needs {
    /// Notes that there is a manifest.
    pub(crate) fn manifest(&mut self, entry: &Entry) {
        self.manifests.insert(entry.digest);
    }

    /// Notes what a restore point needs.
    pub(crate) fn point(&mut self, point: &RestorePoint) {
        let all = Expected::of(point).into_iter();
        let all = all.filter_map(|e| Some((ObjectKind::of(&e.key)?, e.bytes)));
        self.objects.extend(all);
    }

    /// Whether a restore point needs what is called so.
    pub(crate) fn has(&self, kind: &ObjectKind) -> bool {
        self.objects.contains_key(kind)
    }

    /// Tells what `object` is, and takes it out of what is still to be found.
    pub(crate) fn place(&mut self, object: &ObjectInfo) -> Place {
        let Some(kind) = ObjectKind::of(&object.key) else {
            return Place::Foreign;
        };
        let promised = |bytes| {
            kind.digest().map(|digest| Expected {
                key: object.key.clone(),
                digest,
                bytes,
            })
        };
        let needed = self.objects.remove(&kind);
        match (needed.and_then(promised), promised(object.size)) {
            (Some(expected), _) => Place::Needed(expected),
            (None, Some(expected)) if self.is_leftover(&kind) => Place::Leftover(expected),
            // It says what a store can do, and nobody reads it.
            (None, Some(_)) if matches!(kind, ObjectKind::Probe(_)) => Place::Apart(None),
            (None, promised) => Place::Apart(promised),
        }
    }

    /// Whether nobody will miss what nobody needs.
    fn is_leftover(&self, kind: &ObjectKind) -> bool {
        match kind {
            ObjectKind::Pack(_)
            | ObjectKind::Recipe(_)
            | ObjectKind::Index(_)
            | ObjectKind::EpochKey(_) => true,
            // Put before its manifest. Beside one that is there it vouches, whoever made it.
            ObjectKind::Signature { manifest, .. } => !self.manifests.contains(manifest),
            ObjectKind::Claim
            | ObjectKind::Manifest { .. }
            | ObjectKind::Journal { .. }
            | ObjectKind::Probe(_) => false,
        }
    }

    /// What no listing showed.
    pub(crate) fn missing(self) -> impl Iterator<Item = Expected> {
        self.objects.into_iter().filter_map(|(kind, bytes)| {
            let digest = kind.digest()?;
            let key = layout::key_of(&kind)?;
            Some(Expected { key, digest, bytes })
        })
    }
}
