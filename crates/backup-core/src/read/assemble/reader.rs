//! Stream of a component, read from packs that are open for their stay, and from the bytes that they put
//! aside.
//!
//! The order of openings, and the bytes to put aside, are planned before anything is read.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use tokio_util::sync::CancellationToken;

use super::packs::{PackLoad, ScratchMove, UnpackedPack};
use super::schedule::{PackPiece, behind, each_piece, piece, stays};
use crate::format::recipe::PackSpan;
use crate::num::{to_u64, to_usize};
use crate::scratch::Scratch;

/// Plan of how packs are opened for a stream.
#[derive(Debug, Default)]
pub(in crate::read) struct OpeningPlan {
    /// Openings, in order.
    pub(in crate::read) order: Vec<Opening>,
    /// Blocks of the stream in which each pack is open.
    stays: Vec<Option<RangeInclusive<u64>>>,
    /// Bytes that are read of each pack in its stay; it is closed after the last of them.
    wanted: Vec<u64>,
    /// Bytes of all packs that are put aside.
    pub(in crate::read) aside: u64,
}

impl OpeningPlan {
    fn stays(&self, piece: PackPiece) -> bool {
        let stay = self.stays.get(piece.number);
        stay.is_some_and(|stay| {
            stay.as_ref()
                .is_some_and(|stay| stay.contains(&piece.block))
        })
    }
}

/// Opening of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read) struct Opening {
    /// Number of the pack.
    pub(in crate::read) number: usize,
    /// Whether this is the first opening, in which the pack puts bytes aside.
    pub(in crate::read) first: bool,
    /// Whether the pack's stay begins. If not, the opening only puts bytes aside.
    pub(in crate::read) stays: bool,
}

/// Plans how the packs `loads` are opened for a stream of `runs`, and records in their moves which bytes they
/// put aside. Returns `None` if a run reaches outside of the packs, or `cancel` is set.
pub(in crate::read) fn sequence<'r>(
    loads: &mut [PackLoad],
    runs: impl Iterator<Item = &'r PackSpan> + Clone,
    cancel: &CancellationToken,
) -> Option<OpeningPlan> {
    let mut openings = OpeningPlan {
        stays: stays(loads, runs.clone(), cancel)?,
        wanted: vec![0; loads.len()],
        ..OpeningPlan::default()
    };
    let mut opened = OpeningState::none(loads);
    each_piece(loads, runs, cancel, |loads, piece| {
        let stays = openings.stays(piece);
        openings.order.extend(opened.opening(piece.number, stays)?);
        if stays {
            let wanted = openings.wanted.get_mut(piece.number)?;
            *wanted = wanted.saturating_add(piece.length);
        } else {
            loads.get_mut(piece.number)?.moves.push(ScratchMove {
                from: piece.from,
                to: openings.aside,
                length: piece.length,
            });
            openings.aside = openings.aside.saturating_add(piece.length);
        }
        Some(())
    })?;
    for load in loads {
        load.moves.sort_unstable_by_key(|m| m.from);
    }
    Some(openings)
}

/// Openings of each pack so far: any at all, and the one for its stay.
struct OpeningState(Vec<(bool, bool)>);

impl OpeningState {
    fn none(loads: &[PackLoad]) -> Self {
        Self(vec![(false, false); loads.len()])
    }

    /// Returns the opening that is due when the stream reaches pack `number`, in its stay or not; none if the
    /// pack was opened for that already. The outer `None` means that there is no such pack.
    fn opening(&mut self, number: usize, stays: bool) -> Option<Option<Opening>> {
        let (opened, stayed) = self.0.get_mut(number)?;
        let first = !std::mem::replace(opened, true);
        let stays = stays && !std::mem::replace(stayed, true);
        let due = first || stays;
        Some(due.then_some(Opening {
            number,
            first,
            stays,
        }))
    }
}

/// Transformed stream, read from packs that `next` returns in the planned order, and from the bytes that they
/// put aside.
pub(in crate::read) struct PackStream<'a, R, N> {
    loads: &'a [PackLoad],
    openings: OpeningPlan,
    runs: R,
    next: N,
    scratch: &'a Scratch,
    opens: OpeningState,
    /// Open packs, by their number.
    open: Vec<Option<UnpackedPack>>,
    rest: Option<PackSpan>,
    /// Position in the stream.
    at: u64,
    /// Position of the next bytes that were put aside.
    aside: u64,
}

impl<'a, R, N> PackStream<'a, R, N> {
    /// Creates the stream of `runs` in `loads`, as planned in `openings`.
    pub(in crate::read) fn new(
        loads: &'a [PackLoad],
        openings: OpeningPlan,
        runs: R,
        next: N,
        scratch: &'a Scratch,
    ) -> Self {
        Self {
            loads,
            openings,
            runs,
            next,
            scratch,
            opens: OpeningState::none(loads),
            open: loads.iter().map(|_| None).collect(),
            rest: None,
            at: 0,
            aside: 0,
        }
    }
}

impl<'r, R, N> Read for PackStream<'_, R, N>
where
    R: Iterator<Item = &'r PackSpan>,
    N: FnMut() -> io::Result<UnpackedPack>,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(run) = self.rest.take().or_else(|| self.runs.next().copied()) else {
            return Ok(0);
        };
        let lacking = || io::Error::new(io::ErrorKind::InvalidData, "a run leads out of its packs");
        let piece = piece(self.loads, run, self.at).ok_or_else(lacking)?;
        let most = to_usize(piece.length);
        let most = most.min(buf.len());
        let into = buf.get_mut(..most).ok_or_else(lacking)?;
        let stays = self.openings.stays(piece);
        let open = self.open.get_mut(piece.number).ok_or_else(lacking)?;
        let due = self.opens.opening(piece.number, stays);
        if let Some(opening) = due.ok_or_else(lacking)? {
            let pack = (self.next)()?;
            *open = opening.stays.then_some(pack);
        }
        let read = if stays {
            let pack = open.as_ref().ok_or_else(lacking)?;
            pack.from(piece.within).read(into)?
        } else {
            self.scratch.get(self.aside, into)?;
            self.aside = self.aside.saturating_add(to_u64(into.len()));
            into.len()
        };
        if read == 0 && !into.is_empty() {
            return Err(lacking());
        }
        let bytes = to_u64(read);
        if stays {
            let left = self.openings.wanted.get_mut(piece.number);
            let left = left.ok_or_else(lacking)?;
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                *open = None;
            }
        }
        self.at = self.at.saturating_add(bytes);
        self.rest = behind(run, bytes);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::schedule::BLOCK;

    use super::*;
    use crate::digest::Digest;

    /// Returns packs of these lengths, one behind the other.
    fn loads(lengths: &[u64]) -> Vec<PackLoad> {
        let mut base = 0_u64;
        let one = |length: &u64| {
            let load = PackLoad::for_test(Digest::of(&base.to_le_bytes()), base, *length);
            base += length;
            load
        };
        lengths.iter().map(one).collect()
    }

    fn run(start: u64, length: u64) -> PackSpan {
        PackSpan { start, length }
    }

    fn sequence<'r>(
        loads: &mut [PackLoad],
        runs: impl Iterator<Item = &'r PackSpan> + Clone,
    ) -> Option<OpeningPlan> {
        super::sequence(loads, runs, &CancellationToken::new())
    }

    #[test]
    fn what_has_pieces_without_end_ends_when_it_is_told_to() {
        let mut packs = loads(&[1; 5000]);
        let runs = vec![run(0, 5000); 1 << 20];
        let cancel = CancellationToken::new();
        let told = cancel.clone();
        let began = std::time::Instant::now();
        let telling = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(50));
            told.cancel();
        });
        assert!(super::sequence(&mut packs, runs.iter(), &cancel).is_none());
        assert!(began.elapsed() < std::time::Duration::from_secs(20));
        telling.join().unwrap();
    }

    fn opened(plain: &[u8], frame: usize) -> UnpackedPack {
        let mut opened = UnpackedPack::default();
        let mut at = 0;
        for part in plain.chunks(frame) {
            opened.push(at, part.to_vec());
            at += u64::try_from(part.len()).unwrap();
        }
        opened
    }

    /// Size of a pack, in the same proportion to a block as a real pack.
    const PACK: u64 = BLOCK * 15 / 4;

    fn numbers(openings: &OpeningPlan) -> Vec<usize> {
        let order = openings.order.iter();
        order.map(|opening| opening.number).collect()
    }

    #[test]
    fn packs_in_order_are_opened_once_and_put_nothing_aside() {
        let mut packs = loads(&[PACK; 10]);
        let openings = sequence(&mut packs, [run(0, 10 * PACK)].iter()).unwrap();
        assert_eq!(numbers(&openings), (0..10).collect::<Vec<_>>());
        assert_eq!(openings.aside, 0);
    }

    #[test]
    fn of_packs_that_are_wanted_all_over_most_is_put_aside_and_none_is_opened_twice() {
        let mut packs = loads(&[PACK; 10]);
        let around = (0..10).flat_map(|at| (0..10).map(move |pack| run(pack * PACK + at, 1)));
        let around: Vec<PackSpan> = around.collect();
        let openings = sequence(&mut packs, around.iter()).unwrap();
        assert_eq!(numbers(&openings), (0..10).collect::<Vec<_>>());
        // Three packs are open all the time.
        assert_eq!(openings.aside, 7 * 10);
    }

    #[test]
    fn bytes_that_moved_far_cost_no_pack_its_stay() {
        let mut packs = loads(&[PACK; 10]);
        let moved = |from: u64| (0..10).map(move |pack| run(pack * PACK + from, 1));
        let whole = (0..10).flat_map(|pack| [run(pack * PACK, PACK), run(7, 1)]);
        let runs: Vec<PackSpan> = moved(3).chain(whole).chain(moved(7)).collect();
        let openings = sequence(&mut packs, runs.iter()).unwrap();
        let second: Vec<usize> = (1..10).collect();
        let order = &openings.order;
        assert!(order.iter().all(|o| o.first || o.stays));
        let again = order.iter().filter(|o| !o.first).map(|o| o.number);
        assert_eq!(again.collect::<Vec<_>>(), second);
        assert!(openings.aside < PACK / 2, "{}", openings.aside);
    }

    #[test]
    fn a_run_behind_the_last_pack_is_an_error() {
        let mut packs = loads(&[100]);
        let wrong = [run(90, 20)];
        assert!(sequence(&mut packs, wrong.iter()).is_none());
        let scratch = Scratch::create(&std::env::temp_dir(), 100).unwrap();
        let openings = sequence(&mut packs, [run(90, 10)].iter()).unwrap();
        let next = || Ok(opened(&[0; 100], 30));
        let mut stream = PackStream::new(&packs, openings, wrong.iter(), next, &scratch);
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn a_stream_is_the_bytes_of_its_runs(
            lengths in prop::collection::vec(1_u64..200, 1..8),
            wanted in prop::collection::vec((any::<prop::sample::Index>(), 1_u64..300), 0..40),
            piece in 1_usize..64,
            frame in 1_usize..200,
        ) {
            let mut packs = loads(&lengths);
            let size: u64 = lengths.iter().sum();
            let space: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let runs: Vec<PackSpan> = wanted
                .iter()
                .map(|(at, length)| {
                    let start = u64::try_from(at.index(space.len())).unwrap();
                    run(start, (*length).min(size - start))
                })
                .collect();
            let cut = |from: u64, length: u64| {
                let from = usize::try_from(from).unwrap();
                &space[from..from + usize::try_from(length).unwrap()]
            };
            let expected: Vec<u8> = runs.iter().flat_map(|r| cut(r.start, r.length)).copied().collect();
            let scratch = Scratch::create(&std::env::temp_dir(), size).unwrap();
            let openings = sequence(&mut packs, runs.iter()).unwrap();
            let aside = openings.aside;
            let mut order = openings.order.clone().into_iter();
            let next = || {
                let opening = order.next().expect("one more than foreseen");
                let load = &packs[opening.number];
                let mut plain = opened(cut(load.base(), load.end() - load.base()), frame);
                if opening.first {
                    load.put_aside(&mut plain, &scratch).unwrap();
                }
                Ok(plain)
            };
            let mut stream = PackStream::new(&packs, openings, runs.iter(), next, &scratch);
            let (mut got, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                let n = stream.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                got.extend_from_slice(&buffer[..n]);
            }
            prop_assert!(got == expected);
            prop_assert_eq!(stream.aside, aside);
            prop_assert!(stream.open.iter().all(Option::is_none));
            drop(stream);
            prop_assert!(order.next().is_none());
        }
    }
}
