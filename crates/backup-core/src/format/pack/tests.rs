//! Tests of packs: round trips, and refusal of what is not one.

use super::*;
use crate::crypt::{Identities, new_identity};
use proptest::prelude::*;

#[test]
fn frames_are_found_by_offset_and_none_crosses_a_chunk() {
    let (secret, public) = new_identity();
    let mut identities = Identities::none();
    identities.add("me", &secret).unwrap();
    let chunks: Vec<Vec<u8>> = (0..40_u8).map(|i| vec![i; 100_000]).collect();
    let plain: Vec<u8> = chunks.concat();
    let mut writer = PackWriter::new(3).unwrap();
    let stored = writer
        .write(chunks.iter().map(Vec::as_slice), &Sealer::to(&[public]))
        .unwrap();
    let pack = OpenPack::open(&stored, Opener::with(&identities), 4_000_000).unwrap();
    let mut whole = Vec::new();
    pack.each_frame(Vec::new, |at, bytes| {
        assert_eq!(usize::try_from(at), Ok(whole.len()));
        assert_eq!(bytes.len() % 100_000, 0);
        whole.extend_from_slice(&bytes);
    })
    .unwrap();
    assert!(whole == plain);
    let (at, frame) = pack.frame_at(2_345_678).unwrap().unwrap();
    assert_eq!(
        frame[usize::try_from(2_345_678 - at).unwrap()],
        plain[2_345_678]
    );
    assert!(pack.frame_at(4_000_000).unwrap().is_none());
    assert!(OpenPack::open(&stored, Opener::with(&identities), 3_999_999).is_err());
}

proptest! {
    #[test]
    fn damaged_packs_are_refused_or_differ(at in 0_usize..2000, bit in 0_u8..8) {
        let mut writer = PackWriter::new(3).unwrap();
        let plain: Vec<u8> = (0..3000_u32).flat_map(|i| (i * i).to_le_bytes()).collect();
        let mut stored = writer.write(plain.chunks(500), &Sealer::plain()).unwrap();
        let at = at % stored.len();
        stored[at] ^= 1 << bit;
        if let Ok(pack) = OpenPack::open(&stored, Opener::plain(), 12_000) {
            let _read = pack.each_frame(Vec::new, |_, _| {});
        }
    }

    #[test]
    fn garbage_is_no_pack(bytes: Vec<u8>) {
        prop_assert!(OpenPack::open(&bytes, Opener::plain(), 1).is_err());
    }
}
