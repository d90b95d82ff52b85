//! Progress display for long work: a bar on a terminal, plain lines elsewhere.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use backup_core::progress::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::SignedDuration;

use crate::clean;
use crate::human;
use crate::terminal::Terminal;

/// Interval between two lines of one step: often enough to see life, seldom enough to read a log.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// Interval at which the bar's rate and remaining time are redrawn while no bytes come.
const TICK: Duration = Duration::from_millis(200);

/// Bar with bytes, rate and remaining time.
pub(crate) struct BarProgress {
    draw: MultiProgress,
    terminal: Terminal,
    current: Mutex<Option<ProgressBar>>,
}

impl BarProgress {
    pub(crate) fn new(draw: MultiProgress, terminal: Terminal) -> Self {
        Self {
            draw,
            terminal,
            current: Mutex::new(None),
        }
    }
}

impl fmt::Debug for BarProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bar")
    }
}

impl Drop for BarProgress {
    fn drop(&mut self) {
        let current = self
            .current
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = current.take() {
            self.terminal.status(&end(&bar));
        }
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => {
            "{msg} [{wide_bar:.cyan}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        }
        None => "{spinner} {msg} {binary_bytes} {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template);
    style
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

impl Progress for BarProgress {
    fn step(&self, title: &str, total: Option<u64>) {
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::no_length(),
        };
        let bar = self.draw.add(bar.with_style(style(total)));
        bar.set_message(clean::line(title).into_owned());
        bar.enable_steady_tick(TICK);
        let before = self
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(bar);
        if let Some(before) = before {
            self.terminal.status(&end(&before));
        }
    }

    fn advance(&self, bytes: u64) {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bar) = current.as_ref() {
            bar.inc(bytes);
        }
    }

    fn note(&self, text: &str) {
        self.terminal.status(text);
    }
}

/// Removes the bar, and returns the line that replaces it.
fn end(bar: &ProgressBar) -> String {
    bar.finish_and_clear();
    done(&bar.message(), bar.position(), bar.elapsed())
}

fn done(title: &str, bytes: u64, took: Duration) -> String {
    if bytes == 0 {
        return format!("{title}: done");
    }
    let took = SignedDuration::try_from(took).unwrap_or(SignedDuration::MAX);
    format!("{title}: {} in {}", human::bytes(bytes), human::span(took))
}

/// Progress lines: one when a step begins, one when it ends, and one every few seconds between.
pub(crate) struct LineProgress<W: Fn(&str) + Send + Sync> {
    write: W,
    /// Time since some fixed moment; only differences count.
    elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
    current: Mutex<Option<Step>>,
}

struct Step {
    title: String,
    total: Option<u64>,
    bytes: u64,
    began: Duration,
    told: Duration,
}

impl<W: Fn(&str) + Send + Sync> LineProgress<W> {
    pub(crate) fn new(write: W) -> Self {
        let start = Instant::now();
        Self::timed(write, move || start.elapsed())
    }

    fn timed(write: W, elapsed: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self {
            write,
            elapsed: Box::new(elapsed),
            current: Mutex::new(None),
        }
    }

    fn end(&self, step: Option<Step>) {
        if let Some(step) = step.filter(|s| s.bytes > 0) {
            let took = (self.elapsed)().saturating_sub(step.began);
            (self.write)(&done(&step.title, step.bytes, took));
        }
    }
}

impl<W: Fn(&str) + Send + Sync> Drop for LineProgress<W> {
    fn drop(&mut self) {
        let current = self.current.get_mut();
        let current = current.unwrap_or_else(PoisonError::into_inner).take();
        self.end(current);
    }
}

impl<W: Fn(&str) + Send + Sync> fmt::Debug for LineProgress<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl<W: Fn(&str) + Send + Sync> Progress for LineProgress<W> {
    fn step(&self, title: &str, total: Option<u64>) {
        let now = (self.elapsed)();
        let before = self
            .current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .replace(Step {
                title: title.to_owned(),
                total,
                bytes: 0,
                began: now,
                told: now,
            });
        self.end(before);
        match total {
            Some(total) => (self.write)(&format!("{title} ({})", human::bytes(total))),
            None => (self.write)(title),
        }
    }

    fn advance(&self, bytes: u64) {
        let now = (self.elapsed)();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(step) = current.as_mut() else {
            return;
        };
        step.bytes = step.bytes.saturating_add(bytes);
        if now.saturating_sub(step.told) < LINE_EVERY {
            return;
        }
        step.told = now;
        let rate = step
            .bytes
            .checked_div(now.saturating_sub(step.began).as_secs());
        let of = step.total.map(|t| format!(" of {}", human::bytes(t)));
        let line = format!(
            "{}: {}{}, {}/s",
            step.title,
            human::bytes(step.bytes),
            of.unwrap_or_default(),
            human::bytes(rate.unwrap_or_default())
        );
        drop(current);
        (self.write)(&line);
    }

    fn note(&self, text: &str) {
        (self.write)(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn lines_come_at_steps_and_every_few_seconds() {
        let seconds = Arc::new(AtomicU64::new(0));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (clock, sink) = (Arc::clone(&seconds), Arc::clone(&written));
        let lines = LineProgress::timed(
            move |line: &str| sink.lock().unwrap().push(line.to_owned()),
            move || Duration::from_secs(clock.load(Ordering::Relaxed)),
        );
        lines.advance(1);
        lines.step("reading etcd from cp-1", Some(40 << 20));
        for _ in 0..10 {
            seconds.fetch_add(1, Ordering::Relaxed);
            lines.advance(4 << 20);
        }
        lines.note("cp-2 did not answer");
        lines.step("writing the manifest", None);
        lines.step("reading it back", None);
        seconds.fetch_add(2, Ordering::Relaxed);
        lines.advance(1 << 20);
        drop(lines);
        let written = written.lock().unwrap().join("\n");
        insta::assert_snapshot!(written, @r"
        reading etcd from cp-1 (40.00 MiB)
        reading etcd from cp-1: 20.00 MiB of 40.00 MiB, 4.00 MiB/s
        reading etcd from cp-1: 40.00 MiB of 40.00 MiB, 4.00 MiB/s
        cp-2 did not answer
        reading etcd from cp-1: 40.00 MiB in 10s
        writing the manifest
        reading it back
        reading it back: 1.00 MiB in 2s
        ");
    }
}
