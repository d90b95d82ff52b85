//! Packs in the order in which a stream needs them: a few stay open, so that no scratch file is needed.
//!
//! Chunks are stored nearly as the stream has them; only within a pack they are sorted. A stream that
//! goes back and forth between many packs would open them again and again: that is found out before
//! anything is read.

use std::collections::VecDeque;
use std::io::{self, Read};

use super::assemble::Load;
use crate::format::recipe::Run;

/// Packs that stay open, each with at most 15 MiB of plain bytes.
const ROOM: usize = 3;
/// Packs may be opened more often than once by one for so many: a scratch file costs about as much.
const AGAIN: usize = 4;

/// The packs that were used last; of each what `T` is.
struct Window<T> {
    open: VecDeque<(usize, T)>,
}

impl<T> Window<T> {
    fn new() -> Self {
        Self {
            open: VecDeque::with_capacity(ROOM),
        }
    }

    /// Pack `number`, opened if it is not open; the one that was used longest ago is closed for it.
    fn at(&mut self, number: usize, open: impl FnOnce() -> io::Result<T>) -> io::Result<&T> {
        match self.open.iter().position(|(n, _)| *n == number) {
            Some(0) => {}
            Some(place) => {
                if let Some(found) = self.open.remove(place) {
                    self.open.push_front(found);
                }
            }
            None => {
                self.open.truncate(ROOM.saturating_sub(1));
                self.open.push_front((number, open()?));
            }
        }
        let gone = || io::Error::other("a pack that was just opened is closed");
        self.open.front().map(|(_, pack)| pack).ok_or_else(gone)
    }
}

/// The part of `run` that lies in one pack of `loads`: the pack's number, where the part begins in
/// it, and how long it is. `None` behind the last pack.
fn part(loads: &[Load], run: Run) -> Option<(usize, u64, u64)> {
    let number = loads.partition_point(|load| load.end() <= run.start);
    let load = loads.get(number)?;
    let at = run.start.checked_sub(load.base)?;
    let length = load.end().saturating_sub(run.start).min(run.length);
    Some((number, at, length))
}

fn behind(run: Run, length: u64) -> Option<Run> {
    let left = run.length.saturating_sub(length);
    (left > 0).then_some(Run {
        start: run.start.saturating_add(length),
        length: left,
    })
}

/// The numbers of the packs as they have to be opened one after the other; `None` if that would be
/// too often.
pub(super) fn sequence<'r>(
    loads: &[Load],
    runs: impl Iterator<Item = &'r Run>,
) -> Option<Vec<usize>> {
    let most = loads.len().saturating_add(loads.len() / AGAIN);
    let mut window = Window::new();
    let mut opened = Vec::with_capacity(loads.len());
    for run in runs {
        let mut rest = Some(*run);
        while let Some(run) = rest {
            let (number, _, length) = part(loads, run)?;
            let opening = || {
                opened.push(number);
                Ok(())
            };
            window.at(number, opening).ok()?;
            if opened.len() > most {
                return None;
            }
            rest = behind(run, length);
        }
    }
    Some(opened)
}

/// The transformed stream, read from packs that `next` gives in the order of [`sequence`].
pub(super) struct Stream<'a, R, N> {
    loads: &'a [Load],
    runs: R,
    next: N,
    window: Window<Vec<u8>>,
    rest: Option<Run>,
}

impl<'a, R, N> Stream<'a, R, N> {
    pub(super) fn new(loads: &'a [Load], runs: R, next: N) -> Self {
        Self {
            loads,
            runs,
            next,
            window: Window::new(),
            rest: None,
        }
    }
}

impl<'r, R, N> Read for Stream<'_, R, N>
where
    R: Iterator<Item = &'r Run>,
    N: FnMut() -> io::Result<Vec<u8>>,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(run) = self.rest.take().or_else(|| self.runs.next().copied()) else {
            return Ok(0);
        };
        let lacking = || io::Error::new(io::ErrorKind::InvalidData, "a run leads out of its packs");
        let (number, at, length) = part(self.loads, run).ok_or_else(lacking)?;
        let pack = self.window.at(number, &mut self.next)?;
        let want = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
        let from = usize::try_from(at).ok().and_then(|at| pack.get(at..));
        let bytes = from.and_then(|b| b.get(..want)).ok_or_else(lacking)?;
        let into = buf.get_mut(..want).ok_or_else(lacking)?;
        into.copy_from_slice(bytes);
        self.rest = behind(run, u64::try_from(want).unwrap_or(u64::MAX));
        Ok(want)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::digest::Digest;

    /// Packs of these lengths, one behind the other.
    fn loads(lengths: &[u64]) -> Vec<Load> {
        let mut base = 0_u64;
        let one = |length: &u64| {
            let load = Load::for_test(Digest::of(&base.to_le_bytes()), base, *length);
            base += length;
            load
        };
        lengths.iter().map(one).collect()
    }

    fn run(start: u64, length: u64) -> Run {
        Run { start, length }
    }

    #[test]
    fn packs_in_order_are_opened_once_and_neighbours_may_be_mixed() {
        let packs = loads(&[100; 10]);
        let whole = [run(0, 1000)];
        let numbers: Vec<usize> = (0..10).collect();
        assert_eq!(sequence(&packs, whole.iter()), Some(numbers));
        let mixed = [run(250, 10), run(150, 10), run(50, 10), run(260, 10)];
        assert_eq!(sequence(&packs, mixed.iter()), Some(vec![2, 1, 0]));
    }

    #[test]
    fn a_stream_that_goes_back_and_forth_is_left_to_a_scratch_file() {
        let packs = loads(&[100; 10]);
        let around = (0..10).flat_map(|at| (0..10).map(move |pack| run(pack * 100 + at, 1)));
        let around: Vec<Run> = around.collect();
        assert_eq!(sequence(&packs, around.iter()), None);
    }

    #[test]
    fn a_run_behind_the_last_pack_is_an_error() {
        let packs = loads(&[100]);
        let wrong = [run(90, 20)];
        assert_eq!(sequence(&packs, wrong.iter()), None);
        let mut stream = Stream::new(&packs, wrong.iter(), || Ok(vec![0; 100]));
        let error = stream.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn a_stream_is_the_bytes_of_its_runs(
            lengths in prop::collection::vec(1_u64..200, 1..8),
            wanted in prop::collection::vec((any::<prop::sample::Index>(), 1_u64..300), 0..40),
            piece in 1_usize..64,
        ) {
            let packs = loads(&lengths);
            let size: u64 = lengths.iter().sum();
            let space: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let runs: Vec<Run> = wanted
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
            if let Some(order) = sequence(&packs, runs.iter()) {
                let mut order = order.into_iter();
                let next = || {
                    let load = &packs[order.next().expect("one more than foreseen")];
                    Ok(cut(load.base, load.end() - load.base).to_vec())
                };
                let mut stream = Stream::new(&packs, runs.iter(), next);
                let (mut got, mut buffer) = (Vec::new(), vec![0; piece]);
                loop {
                    let n = stream.read(&mut buffer).unwrap();
                    if n == 0 {
                        break;
                    }
                    got.extend_from_slice(&buffer[..n]);
                }
                prop_assert!(got == expected);
                drop(stream);
                prop_assert!(order.next().is_none());
            }
        }
    }
}
