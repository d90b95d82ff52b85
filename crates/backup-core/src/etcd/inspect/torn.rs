//! Detection of Kubernetes objects in etcd values that API servers cannot decode. etcd accepts any bytes; the
//! API server fails on an object that is cut off or overwritten, and on every list of its kind.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::live::LiveEntries;
use super::revision::Mark;
use super::wire::{self, Field};
use crate::etcd::facts::{self, TornObject};

/// Prefix of objects in protobuf.
const PROTOBUF: &[u8] = b"k8s\0";
/// Prefix of the folders of Kubernetes objects. A tenant's API server has a folder with its own name.
const FOLDER: &[u8] = b"/";
/// Folder of a cluster with its own etcd.
const REGISTRY: &[u8] = b"/registry/";
/// Largest number of torn values that are remembered, including those on freed pages.
const MOST: usize = 4096;
/// Number of bytes of a key that are remembered: kube-apiserver's keys are shorter.
const KEY: usize = 1024;

/// Revision whose object cannot be decoded, on a page that may be freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TornValue {
    pub(super) page: u64,
    pub(super) revision: u64,
    /// [`Mark::fingerprint`] of its key, and [`super::content::of_entry`] of it: together they determine
    /// whether it is the live one.
    pub(super) place: (u64, u64),
    pub(super) key: String,
}

/// All torn values that were found.
#[derive(Debug, Default)]
pub(super) struct TornValues {
    pub(super) all: Vec<TornValue>,
    /// Whether there were more than are remembered.
    pub(super) more: bool,
}

impl TornValues {
    /// Adds a torn value. Pages come in increasing order.
    pub(super) fn note(
        &mut self,
        page: u64,
        revision: u64,
        (mark, digest): (Mark, u64),
        etcd_key: &[u8],
    ) {
        if self.all.len() >= MOST {
            self.more = true;
            return;
        }
        let key = etcd_key.get(..KEY).unwrap_or(etcd_key);
        let key = String::from_utf8_lossy(key);
        let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
        self.all.push(TornValue {
            page,
            revision,
            place: (mark.fingerprint(), digest),
            key: key.chars().map(plain).collect(),
        });
    }

    /// Returns the torn values on a page.
    pub(super) fn on(&self, page: u64) -> &[TornValue] {
        let from = self.all.partition_point(|torn| torn.page < page);
        let rest = self.all.get(from..).unwrap_or_default();
        let length = rest.partition_point(|torn| torn.page == page);
        rest.get(..length).unwrap_or_default()
    }
}

/// Returns the torn values that are live, of those that the tree reaches. Where keys were not counted this is
/// unknown, so all of them are returned.
pub(super) fn live_objects(
    led: Vec<TornValue>,
    live: &LiveEntries,
    more: bool,
) -> facts::TornObjects {
    let led = led.into_iter();
    let told = led.filter(|torn| live.keys.is_none() || live.found.contains(&torn.place));
    let mut objects: Vec<TornObject> = told
        .map(|torn| TornObject {
            key: torn.key,
            revision: torn.revision,
        })
        .collect();
    objects.sort();
    facts::TornObjects { objects, more }
}

/// Reports whether the object under a key is one that the API server cannot decode. Encrypted values, and
/// values that are not Kubernetes objects, are never torn.
pub(super) fn is_torn(etcd_key: &[u8], object: &[u8]) -> bool {
    if !etcd_key.starts_with(FOLDER) {
        return false;
    }
    match object.strip_prefix(PROTOBUF) {
        Some(wrapped) => !is_wrapped(wrapped),
        // Values that other programs store beside Kubernetes need not name a kind.
        None if object.starts_with(b"{") && etcd_key.starts_with(REGISTRY) => !is_kind(object),
        None if object.starts_with(b"{") => serde_json::from_slice::<IgnoredAny>(object).is_err(),
        // No form of an object begins like this, including YAML.
        None => etcd_key.starts_with(REGISTRY) && object.first().is_none_or(|first| *first == 0),
    }
}

/// Reports whether this is complete JSON that names its kind, as every stored object does.
fn is_kind(object: &[u8]) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct TypeMeta<'o> {
        #[serde(borrow)]
        kind: Cow<'o, str>,
        #[serde(borrow)]
        api_version: Cow<'o, str>,
    }
    let kind = serde_json::from_slice::<TypeMeta<'_>>(object);
    kind.is_ok_and(|kind| !kind.kind.is_empty() && !kind.api_version.is_empty())
}

/// Checks a `runtime.Unknown`: the kind, the object, and its encoding.
fn is_wrapped(message: &[u8]) -> bool {
    let mut has_object = false;
    let whole = wire::all(message, |tag, field| match (tag, field) {
        (1, Field::Bytes(kind)) => is_message(kind),
        (2, Field::Bytes(object)) => {
            has_object = true;
            is_object(object)
        }
        (1 | 2, _) => false,
        _ => true,
    });
    whole && has_object
}

/// Checks an object of any kind: its metadata first, then fields that only its own definition describes.
fn is_object(message: &[u8]) -> bool {
    wire::all(message, |tag, field| match (tag, field) {
        (1, Field::Bytes(metadata)) => is_metadata(metadata),
        (1, _) => false,
        _ => true,
    })
}

/// Checks an `ObjectMeta`, with its messages: times, labels, annotations, owners, managed fields.
fn is_metadata(message: &[u8]) -> bool {
    wire::all(message, |tag, field| match (tag, field) {
        (8 | 9 | 11 | 12 | 13 | 17, Field::Bytes(inner)) => is_message(inner),
        (8 | 9 | 11 | 12 | 13 | 17, _) => false,
        (1..=6 | 14, field) => field.bytes().is_some(),
        (7 | 10, field) => field.number().is_some(),
        _ => true,
    })
}

fn is_message(message: &[u8]) -> bool {
    wire::all(message, |_, _| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = b"/registry/configmaps/default/a";

    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[tag << 3 | 2, length], bytes].concat()
    }

    /// Returns a ConfigMap as kube-apiserver stores it.
    fn config_map() -> Vec<u8> {
        let label = [field(1, b"app"), field(2, b"demo")].concat();
        let metadata = [
            field(1, b"a"),
            field(3, b"default"),
            field(5, b"0c7b2b0e-5a53-4f0e-9a0d-6c1f8e2d7b11"),
            field(8, &[8, 100, 16, 0]),
            field(11, &label),
        ]
        .concat();
        let data = [field(1, b"key"), field(2, b"value")].concat();
        let object = [field(1, &metadata), field(2, &data)].concat();
        let kind = [field(1, b"v1"), field(2, b"ConfigMap")].concat();
        let wrapped = [
            field(1, &kind),
            field(2, &object),
            field(3, b""),
            field(4, b""),
        ];
        [PROTOBUF, &wrapped.concat()].concat()
    }

    #[test]
    fn a_cut_or_a_tail_of_zeros_is_found_wherever_it_is() {
        let whole = config_map();
        assert!(!is_torn(KEY, &whole));
        // The last two fields may be absent: such an object can still be read.
        let ends = [whole.len(), whole.len() - 2, whole.len() - 4];
        for cut in (PROTOBUF.len()..whole.len()).filter(|cut| !ends.contains(cut)) {
            assert!(is_torn(KEY, &whole[..cut]), "cut at {cut}");
        }
        for from in PROTOBUF.len()..whole.len() - 1 {
            let mut zeros = whole.clone();
            zeros[from..].fill(0);
            assert!(is_torn(KEY, &zeros), "zeros from {from}");
        }
    }

    #[test]
    fn json_is_read_to_its_end() {
        let deep = "{\"a\":".repeat(5000) + "1" + &"}".repeat(5000);
        let deep = format!("{{\"apiVersion\":\"a/v1\",\"kind\":\"B\",\"spec\":{deep}}}");
        let whole = br#"{"apiVersion":"a/v1","kind":"B","metadata":{"name":"x"},"n":1e400}"#;
        assert!(!is_torn(KEY, whole) && !is_torn(KEY, deep.as_bytes()));
        assert!(!is_torn(KEY, &[whole.as_slice(), b"\n"].concat()));
        for cut in 1..whole.len() {
            assert!(is_torn(KEY, &whole[..cut]), "cut at {cut}");
            let mut zeros = whole.to_vec();
            zeros[cut..].fill(0);
            assert!(is_torn(KEY, &zeros), "zeros from {cut}");
        }
    }

    #[test]
    fn what_is_encrypted_or_no_object_is_not_judged() {
        for object in [
            &b"k8s:enc:aescbc:v1:key1:\x00\x01"[..],
            b"123",
            b"\x0a\x01x",
        ] {
            assert!(!is_torn(KEY, object));
        }
        assert!(!is_torn(b"compact_rev_key", b"{"));
        assert!(is_torn(KEY, b"{}") && is_torn(KEY, b"") && is_torn(KEY, b"\0\0"));
        assert!(!is_torn(b"/elsewhere/a", b""));
        assert!(!is_torn(b"/coreos.com/network/config", b"{}"));
    }

    #[test]
    fn those_of_a_page_are_found() {
        let mut found = TornValues::default();
        for page in [3, 5, 5, 9] {
            found.note(page, page, (Mark::new(page, 0, false), 7), b"/a\n");
        }
        assert_eq!(found.on(5).len(), 2);
        assert_eq!(found.on(9)[0].key, "/a\u{fffd}");
        assert!(found.on(4).is_empty() && found.on(10).is_empty());
        for page in 10..5000 {
            found.note(page, page, (Mark::new(page, 0, false), 7), b"/a");
        }
        assert!(found.more && found.all.len() == MOST);
    }
}
