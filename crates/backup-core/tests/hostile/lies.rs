//! Tests with false numbers, one by one: each causes an error that names the fault, and none makes the reader
//! allocate the claimed memory.

use backup_core::chunk::ChunkerKind;
use backup_core::crypt::Trust;
use backup_core::format::recipe::PackSpan;

use super::forged::Forge;
use super::original::{Original, runtime};

/// Change to a forged restore point.
type Lie = fn(&mut Forge);

/// Limit of the additional address space for one false number, in KiB. Numbers that claim a size claim a
/// thousand times as much, and a few threads need far less.
const MOST_KIB: u64 = 8 << 20;

/// False numbers, each with words of the error that it must cause.
const LIES: &[(&str, Lie)] = &[
    ("it holds", |f| {
        f.manifest.components[0].packs[0].plain_bytes += 1;
    }),
    ("leaves its packs", |f| {
        f.manifest.components[0].packs[0].plain_bytes -= 1;
    }),
    ("above 15728640", |f| {
        f.manifest.components[0].packs[0].plain_bytes = u64::MAX;
    }),
    ("an epoch that is not listed", |f| {
        f.manifest.components[0].packs[0].epoch = 1;
    }),
    ("an epoch that is not listed", |f| {
        f.manifest.components[0].packs[0].epoch = u64::MAX;
    }),
    ("above 17592186044416", |f| {
        f.manifest.components[0].plain_bytes = u64::MAX;
    }),
    ("recipes give", |f| {
        f.manifest.components[0].plain_bytes = 1 << 44;
    }),
    ("claims 4611686018427387904 bytes", |f| {
        f.manifest.components[0].packs[0].bytes = 1 << 62;
    }),
    ("claims 4611686018427387904 bytes", |f| {
        f.manifest.components[0].recipes[0].bytes = 1 << 62;
    }),
    ("claims 4611686018427387904 bytes", |f| {
        f.manifest.indexes[0].bytes = 1 << 62;
    }),
    ("named twice", |f| {
        let again = f.manifest.components[0].clone();
        f.manifest.components.push(again);
    }),
    // The same empty recipe, again and again.
    ("gives nothing", |f| {
        let mut segment = f.segment();
        (segment.plain_bytes, segment.layout, segment.runs) = (0, Vec::new(), Vec::new());
        f.set_segment(&segment);
        let again = f.manifest.components[0].recipes[0].clone();
        f.manifest.components[0].recipes.resize(1000, again);
    }),
    ("recipes give 0 bytes", |f| {
        f.manifest.components[0].recipes.clear();
    }),
    ("leaves its packs", |f| {
        f.manifest.components[0].packs.clear();
    }),
    ("does not begin where", |f| {
        let again = f.manifest.components[0].recipes[0].clone();
        f.manifest.components[0].recipes.push(again);
        f.manifest.components[0].plain_bytes *= 2;
    }),
    ("leaves its packs", |f| {
        let mut segment = f.segment();
        segment.runs.last_mut().unwrap().length += 1 << 40;
        f.set_segment(&segment);
    }),
    ("leaves its packs", |f| {
        let mut segment = f.segment();
        segment.runs.push(PackSpan {
            start: 1 << 60,
            length: 1,
        });
        f.set_segment(&segment);
    }),
    ("takes more bytes than it gives", |f| {
        let mut segment = f.segment();
        segment.runs = vec![
            PackSpan {
                start: 0,
                length: 100_000,
            };
            1 << 20
        ];
        f.set_segment(&segment);
    }),
    // 2^20 runs of 16 MiB of zeros in a few bytes: 16 TiB, if the reader believed it.
    ("more bytes than its recipe says", |f| {
        let mut segment = f.segment();
        segment.layout = [0x65, 0x80, 0x02].repeat(1 << 16);
        segment.runs.clear();
        f.set_segment(&segment);
    }),
    ("a segment gave", |f| {
        let mut segment = f.segment();
        segment.plain_bytes = 1 << 40;
        f.set_segment(&segment);
        f.manifest.components[0].plain_bytes = 1 << 40;
    }),
    ("more bytes than its recipe says", |f| {
        let mut segment = f.segment();
        segment.plain_bytes -= 1;
        f.set_segment(&segment);
        f.manifest.components[0].plain_bytes -= 1;
    }),
    ("it has a layout", |f| {
        let mut segment = f.segment();
        segment.kind = ChunkerKind::Plain;
        f.set_segment(&segment);
    }),
    // Counts and lengths of 2^62 in a recipe of a few bytes.
    ("it ends early", |f| {
        let mut plain = b"BBR1\x01".to_vec();
        for _ in 0..5 {
            plain.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]);
        }
        f.set_recipe(zstd::bulk::compress(&plain, 3).unwrap());
    }),
    // A few KiB that unpack to 256 MiB.
    ("unpacks to more than", |f| {
        f.set_recipe(zstd::bulk::compress(&vec![0; 256 << 20], 1).unwrap());
    }),
    ("SHA-256", |f| {
        let plain = &mut f.manifest.components[0].plain_sha256;
        *plain = backup_core::digest::Digest::of(b"another");
    }),
];

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_lie_is_told_from_the_truth_without_paying_for_it() {
    let runtime = runtime();
    let world = runtime.block_on(Original::new(false));
    let before = peak_kib();
    for (number, (words, lie)) in LIES.iter().enumerate() {
        let mut forge = Forge::of(&world);
        lie(&mut forge);
        let outcome = runtime.block_on(world.read(&forge.finish(), &Trust::Anyone));
        let error = outcome.fetched.expect_err(words);
        assert!(error.contains(words), "lie {number}: {error}");
        assert_ne!(outcome.sound, Ok(true), "lie {number}");
        let more = peak_kib() - before;
        assert!(more < MOST_KIB, "lie {number} took {more} KiB");
    }
}
