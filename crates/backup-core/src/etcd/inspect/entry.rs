//! Entry of bucket `key`: the `mvccpb.KeyValue` of a revision, as etcd decodes it when it starts.

use super::revision::Revision;
use super::wire::{self, Field};

/// Value of bucket `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct KeyValue<'a> {
    pub(super) key: &'a [u8],
    pub(super) object: &'a [u8],
    created: u64,
    modified: u64,
    version: u64,
}

/// Reason why etcd does not start from a value, or starts with wrong data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryDefect {
    Torn,
    Elsewhere,
    Counts,
    Twice,
}

impl EntryDefect {
    const ALL: [Self; 4] = [Self::Torn, Self::Elsewhere, Self::Counts, Self::Twice];

    pub(super) fn tag(self) -> u8 {
        match self {
            Self::Torn => 1,
            Self::Elsewhere => 2,
            Self::Counts => 3,
            Self::Twice => 4,
        }
    }

    pub(super) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|wrong| wrong.tag() == tag)
    }

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Torn => "cannot be decoded",
            Self::Elsewhere => "has the value of another revision",
            Self::Counts => "has a value whose creation and version do not agree",
            Self::Twice => "is there twice",
        }
    }
}

impl<'a> KeyValue<'a> {
    /// Decodes a value. etcd writes its fields in order, each once; fields of later versions follow.
    pub(super) fn read(value: &'a [u8]) -> Option<Self> {
        let mut read = Self::default();
        let mut last = 0;
        let whole = wire::all(value, |tag, field| {
            let rises = tag > last;
            last = tag;
            let number = match (tag, field) {
                (1, Field::Bytes(key)) => {
                    read.key = key;
                    return rises;
                }
                (5, Field::Bytes(object)) => {
                    read.object = object;
                    return rises;
                }
                (2, Field::Number(number)) => {
                    read.created = number;
                    number
                }
                (3, Field::Number(number)) => {
                    read.modified = number;
                    number
                }
                (4, Field::Number(number)) => {
                    read.version = number;
                    number
                }
                // The lease may be any number.
                (6, Field::Number(_)) => 0,
                (7.., _) => return true,
                _ => return false,
            };
            rises && number >> 63 == 0
        });
        whole.then_some(read)
    }

    /// Checks a value against the key that it is stored under.
    pub(super) fn check(self, revision: Revision) -> Result<(), EntryDefect> {
        // For a deleted key only its name is stored; and `etcdutl snapshot restore --bump-revision` writes
        // one entry without any fields.
        let bare = self.created == 0 && self.modified == 0 && self.version == 0;
        if bare && self.object.is_empty() && (revision.tombstone || self.key.is_empty()) {
            return Ok(());
        }
        if revision.tombstone || self.modified != revision.main {
            return Err(EntryDefect::Elsewhere);
        }
        let first = self.version == 1;
        let agree = match self.created {
            0 => false,
            created if first => created == self.modified,
            created => self.version > 0 && created <= self.modified,
        };
        agree.then_some(()).ok_or(EntryDefect::Counts)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Wire {
        #[prost(bytes = "vec", tag = "1")]
        key: Vec<u8>,
        #[prost(int64, tag = "2")]
        created: i64,
        #[prost(int64, tag = "3")]
        modified: i64,
        #[prost(int64, tag = "4")]
        version: i64,
        #[prost(bytes = "vec", tag = "5")]
        object: Vec<u8>,
        #[prost(int64, tag = "6")]
        lease: i64,
    }

    fn wire(created: i64, modified: i64, version: i64) -> Vec<u8> {
        let wire = Wire {
            key: b"/a".to_vec(),
            created,
            modified,
            version,
            object: vec![7; 300],
            lease: -5,
        };
        wire.encode_to_vec()
    }

    fn at(main: u64, tombstone: bool) -> Revision {
        Revision {
            main,
            sub: 0,
            tombstone,
        }
    }

    fn judge(revision: Revision, value: &[u8]) -> Result<(), EntryDefect> {
        KeyValue::read(value)
            .ok_or(EntryDefect::Torn)
            .and_then(|value| value.check(revision))
    }

    #[test]
    fn what_etcd_writes_is_sound() {
        assert_eq!(judge(at(9, false), &wire(9, 9, 1)), Ok(()));
        assert_eq!(judge(at(9, false), &wire(4, 9, 3)), Ok(()));
        // Second write in one transaction.
        assert_eq!(judge(at(9, false), &wire(9, 9, 2)), Ok(()));
        assert_eq!(judge(at(9, true), b"\x0a\x02/a"), Ok(()));
        assert_eq!(judge(at(9, false), b""), Ok(()));
        let later = [wire(9, 9, 1), b"\x42\x01x".to_vec()].concat();
        assert_eq!(judge(at(9, false), &later), Ok(()));
    }

    #[test]
    fn every_cut_and_every_tail_of_zeros_is_found() {
        let whole = wire(4, 9, 3);
        // A cut between two fields leaves a message with fewer fields: without its object or its lease.
        let between = [10, whole.len() - 11];
        for cut in (1..whole.len()).filter(|cut| !between.contains(cut)) {
            let short = &whole[..cut];
            assert!(judge(at(9, false), short).is_err(), "cut at {cut}");
        }
        // The last byte belongs to the lease, and 0 there is another lease.
        for from in 0..whole.len() - 1 {
            let mut zeros = whole.clone();
            zeros[from..].fill(0);
            assert!(judge(at(9, false), &zeros).is_err(), "zeros from {from}");
        }
    }

    #[test]
    fn values_of_another_place_are_found() {
        assert_eq!(
            judge(at(8, false), &wire(4, 9, 3)),
            Err(EntryDefect::Elsewhere)
        );
        assert_eq!(
            judge(at(9, true), &wire(4, 9, 3)),
            Err(EntryDefect::Elsewhere)
        );
        assert_eq!(
            judge(at(9, false), b"\x0a\x02/a"),
            Err(EntryDefect::Elsewhere)
        );
        for (created, version) in [(10, 3), (0, 3), (4, 0), (4, 1)] {
            let value = wire(created, 9, version);
            assert_eq!(judge(at(9, false), &value), Err(EntryDefect::Counts));
        }
        assert_eq!(judge(at(9, false), &wire(-4, 9, 3)), Err(EntryDefect::Torn));
        let twice = [wire(4, 9, 3), wire(4, 9, 3)].concat();
        assert_eq!(judge(at(9, false), &twice), Err(EntryDefect::Torn));
    }
}
