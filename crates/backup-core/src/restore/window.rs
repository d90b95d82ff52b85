//! Packs in the order in which a stream first needs them: each is opened once.
//!
//! Chunks are stored nearly as the stream has them, so most of it is read out of the pack that was
//! opened last. What a pack gives again much later, when it is closed, is put into a scratch file
//! while it is open; which bytes these are is known before anything is read.

use std::collections::VecDeque;
use std::io::{self, Read};

use super::packs::{Load, Move, Opened};
use crate::format::recipe::Run;
use crate::scratch::Scratch;

/// Packs that stay open, each with at most 15 MiB of plain bytes.
const ROOM: usize = 3;

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

    /// Pack `number`, if it is open.
    fn get(&mut self, number: usize) -> Option<&T> {
        let place = self.open.iter().position(|(n, _)| *n == number)?;
        if place > 0
            && let Some(found) = self.open.remove(place)
        {
            self.open.push_front(found);
        }
        self.open.front().map(|(_, pack)| pack)
    }

    /// Closes pack `number`.
    fn close(&mut self, number: usize) {
        self.open.retain(|(n, _)| *n != number);
    }

    /// Opens a pack; the one that was used longest ago is closed for it.
    fn put<E>(&mut self, number: usize, open: impl FnOnce() -> Result<T, E>) -> Result<(), E> {
        self.open.truncate(ROOM.saturating_sub(1));
        self.open.push_front((number, open()?));
        Ok(())
    }
}

/// The part of `run` that lies in one pack of `loads`: the pack's number, where the part begins in
/// it, and how long it is. `None` behind the last pack.
fn part(loads: &[Load], run: Run) -> Option<(usize, u64, u64)> {
    let number = loads.partition_point(|load| load.end() <= run.start);
    let load = loads.get(number)?;
    let at = run.start.checked_sub(load.base())?;
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

/// How packs have to be opened for a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sequence {
    /// Their numbers, in the order in which they are opened.
    pub(super) order: Vec<usize>,
    /// The bytes that are wanted of each: when all were read it is closed, which is often long before
    /// others need its room.
    pub(super) wanted: Vec<u64>,
    /// The bytes that are put aside, of all of them.
    pub(super) aside: u64,
}

/// Foresees how the packs `loads` are opened for a stream of `runs`. What each has to put aside when it
/// is, is noted in its moves. `None` if a run leads out of the packs.
pub(super) fn sequence<'r>(
    loads: &mut [Load],
    runs: impl Iterator<Item = &'r Run> + Clone,
) -> Option<Sequence> {
    let mut wanted = vec![0_u64; loads.len()];
    each_part(loads, runs.clone(), |_, number, _, length| {
        let sum = wanted.get_mut(number)?;
        *sum = sum.saturating_add(length);
        Some(())
    })?;
    let mut left = wanted.clone();
    let mut window = Window::new();
    let mut order = Vec::with_capacity(loads.len());
    let mut opened = vec![false; loads.len()];
    let mut aside = 0_u64;
    each_part(loads, runs, |loads, number, from, length| {
        let before = opened.get_mut(number)?;
        if !std::mem::replace(before, true) {
            order.push(number);
            window.put(number, || Ok::<_, ()>(())).ok()?;
        } else if window.get(number).is_none() {
            let to = aside;
            let m = Move { from, to, length };
            loads.get_mut(number)?.moves.push(m);
            aside = aside.saturating_add(length);
        }
        let left = left.get_mut(number)?;
        *left = left.saturating_sub(length);
        if *left == 0 {
            window.close(number);
        }
        Some(())
    })?;
    Some(Sequence {
        order,
        wanted,
        aside,
    })
}

/// Tells `take` of each part of `runs` that lies in one pack: the pack's number, where in pack space the
/// part begins, and how long it is. `None` if `take` says so, or a run leads out of the packs.
fn each_part<'r>(
    loads: &mut [Load],
    runs: impl Iterator<Item = &'r Run>,
    mut take: impl FnMut(&mut [Load], usize, u64, u64) -> Option<()>,
) -> Option<()> {
    for run in runs {
        let mut rest = Some(*run);
        while let Some(run) = rest {
            let (number, _, length) = part(loads, run)?;
            take(loads, number, run.start, length)?;
            rest = behind(run, length);
        }
    }
    Some(())
}

/// The transformed stream, read from packs that `next` gives in the order of [`sequence`], and from
/// what they put aside.
pub(super) struct Stream<'a, R, N> {
    loads: &'a [Load],
    runs: R,
    next: N,
    scratch: &'a Scratch,
    window: Window<Opened>,
    opened: Vec<bool>,
    /// The bytes of each pack that were not read yet.
    left: Vec<u64>,
    rest: Option<Run>,
    /// Where the next bytes lie that were put aside.
    aside: u64,
}

impl<'a, R, N> Stream<'a, R, N> {
    /// The stream of `runs` in `loads`, of which so many bytes are `wanted`.
    pub(super) fn new(
        loads: &'a [Load],
        wanted: Vec<u64>,
        runs: R,
        next: N,
        scratch: &'a Scratch,
    ) -> Self {
        Self {
            loads,
            runs,
            next,
            scratch,
            window: Window::new(),
            opened: vec![false; loads.len()],
            left: wanted,
            rest: None,
            aside: 0,
        }
    }
}

impl<'r, R, N> Read for Stream<'_, R, N>
where
    R: Iterator<Item = &'r Run>,
    N: FnMut() -> io::Result<Opened>,
{
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let Some(run) = self.rest.take().or_else(|| self.runs.next().copied()) else {
            return Ok(0);
        };
        let lacking = || io::Error::new(io::ErrorKind::InvalidData, "a run leads out of its packs");
        let (number, from, length) = part(self.loads, run).ok_or_else(lacking)?;
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(buf.len());
        let into = buf.get_mut(..most).ok_or_else(lacking)?;
        let before = self.opened.get_mut(number).ok_or_else(lacking)?;
        if !std::mem::replace(before, true) {
            self.window.put(number, &mut self.next)?;
        }
        let read = if let Some(pack) = self.window.get(number) {
            pack.from(from).read(into)?
        } else {
            self.scratch.get(self.aside, into)?;
            self.aside = self.aside.saturating_add(length_of(into));
            into.len()
        };
        if read == 0 && !into.is_empty() {
            return Err(lacking());
        }
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        let left = self.left.get_mut(number).ok_or_else(lacking)?;
        *left = left.saturating_sub(bytes);
        if *left == 0 {
            self.window.close(number);
        }
        self.rest = behind(run, bytes);
        Ok(read)
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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

    fn opened(plain: &[u8], frame: usize) -> Opened {
        let mut opened = Opened::default();
        let mut at = 0;
        for part in plain.chunks(frame) {
            opened.push(at, part.to_vec());
            at += u64::try_from(part.len()).unwrap();
        }
        opened
    }

    fn order<'r>(
        packs: &mut [Load],
        runs: impl Iterator<Item = &'r Run> + Clone,
    ) -> Option<Vec<usize>> {
        sequence(packs, runs).map(|sequence| sequence.order)
    }

    fn aside(packs: &[Load]) -> usize {
        packs.iter().map(|load| load.moves.len()).sum()
    }

    #[test]
    fn packs_in_order_put_nothing_aside_and_neighbours_may_be_mixed() {
        let mut packs = loads(&[100; 10]);
        let whole = [run(0, 1000)];
        let numbers: Vec<usize> = (0..10).collect();
        assert_eq!(order(&mut packs, whole.iter()), Some(numbers));
        let mixed = [run(250, 10), run(150, 10), run(50, 10), run(260, 10)];
        assert_eq!(order(&mut packs, mixed.iter()), Some(vec![2, 1, 0]));
        assert_eq!(aside(&packs), 0);
    }

    #[test]
    fn what_is_wanted_again_later_is_put_aside_and_no_pack_is_opened_twice() {
        let mut packs = loads(&[100; 10]);
        let around = (0..10).flat_map(|at| (0..10).map(move |pack| run(pack * 100 + at, 1)));
        let around: Vec<Run> = around.collect();
        let numbers: Vec<usize> = (0..10).collect();
        assert_eq!(order(&mut packs, around.iter()), Some(numbers));
        // Three are still open each time, and give theirs by themselves.
        assert_eq!(aside(&packs), 9 * 7);
    }

    #[test]
    fn a_run_behind_the_last_pack_is_an_error() {
        let mut packs = loads(&[100]);
        let wrong = [run(90, 20)];
        assert_eq!(order(&mut packs, wrong.iter()), None);
        let scratch = Scratch::create(&std::env::temp_dir(), 100).unwrap();
        let mut stream = Stream::new(
            &packs,
            vec![20],
            wrong.iter(),
            || Ok(opened(&[0; 100], 30)),
            &scratch,
        );
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
            let scratch = Scratch::create(&std::env::temp_dir(), size).unwrap();
            let foreseen = sequence(&mut packs, runs.iter()).unwrap();
            let mut order = foreseen.order.into_iter();
            let next = || {
                let load = &packs[order.next().expect("one more than foreseen")];
                let plain = opened(cut(load.base(), load.end() - load.base()), frame);
                load.put_aside(&plain, &scratch).unwrap();
                Ok(plain)
            };
            let mut stream = Stream::new(&packs, foreseen.wanted, runs.iter(), next, &scratch);
            let (mut got, mut buffer) = (Vec::new(), vec![0; piece]);
            loop {
                let n = stream.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                got.extend_from_slice(&buffer[..n]);
            }
            prop_assert!(got == expected);
            prop_assert_eq!(stream.aside, foreseen.aside);
            prop_assert!(stream.window.open.is_empty());
            drop(stream);
            prop_assert!(order.next().is_none());
        }
    }
}
