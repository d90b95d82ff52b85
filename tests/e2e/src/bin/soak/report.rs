//! Report of a soak.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::lab::Part;

/// Sample of the daemon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) rss_kib: u64,
    pub(super) restore_points: Option<u64>,
}

/// Report of a soak; see the module.
#[derive(Debug, Default)]
pub(super) struct Report {
    minutes: u32,
    deaths: BTreeMap<Part, u32>,
    pub(super) storms: u32,
    pub(super) changes: u64,
    rss_kib: Vec<u64>,
    told: u64,
    pub(super) listed: u64,
    pub(super) unsound: Vec<String>,
    pub(super) audit: Option<i32>,
    pub(super) unreferenced: Option<u64>,
    left_told: u64,
    pub(super) leftovers: Option<u64>,
    pub(super) old_leftovers: Option<u64>,
}

impl Report {
    pub(super) fn new(minutes: u32) -> Self {
        Self {
            minutes,
            ..Self::default()
        }
    }

    pub(super) fn death(&mut self, part: Part) {
        super::say(&format!("kill -9 {part:?}"));
        *self.deaths.entry(part).or_default() += 1;
    }

    pub(super) fn sample(&mut self, sample: Option<Sample>) {
        // A daemon that has just begun does not have its full size yet.
        if let Some(sample) = sample.filter(|sample| sample.restore_points.is_some()) {
            self.rss_kib.push(sample.rss_kib);
        }
    }

    pub(super) fn settled(&mut self, restore_points: u64, leftovers: u64) {
        self.told = restore_points;
        self.left_told = leftovers;
    }

    /// Returns the median of a half of the samples, in MiB.
    fn half(&self, second: bool) -> u64 {
        let middle = self.rss_kib.len() / 2;
        let (first, rest) = self.rss_kib.split_at(middle);
        let mut half = if second { rest } else { first }.to_vec();
        half.sort_unstable();
        half.get(half.len() / 2).copied().unwrap_or(0) / 1024
    }

    /// Reports whether the result is as it should be.
    pub(super) fn is_sound(&self) -> bool {
        // Code 3 is findings of which the worst is a warning; damage would be 4.
        let audited = matches!(self.audit, Some(0 | 3));
        let flat = self.half(true) <= self.half(false) + self.half(false) / 2;
        let swept = self.old_leftovers == Some(0) && self.leftovers == Some(self.left_told);
        swept
            && self.unsound.is_empty()
            && self.told == self.listed
            && audited
            && flat
            && self.listed > 0
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("\n| after {} minutes | |\n|---|---|\n", self.minutes);
        let deaths = self
            .deaths
            .iter()
            .map(|(part, count)| format!("{part:?} {count}"));
        let deaths: Vec<String> = deaths.collect();
        let most = self.rss_kib.iter().max().copied().unwrap_or(0) / 1024;
        let rows = [
            ("killed", deaths.join(", ")),
            (
                "changes in etcd, storms",
                format!("{}, {}", self.changes, self.storms),
            ),
            ("restore points in the bucket", self.listed.to_string()),
            ("of them by the metrics", self.told.to_string()),
            ("that do not verify", self.unsound.len().to_string()),
            ("exit code of the audit", format!("{:?}", self.audit)),
            (
                "objects that no restore point leads to, by the audit, and by the metrics",
                format!("{:?}, {}", self.unreferenced, self.left_told),
            ),
            (
                "of them older than the grace time",
                format!("{:?}", self.old_leftovers),
            ),
            (
                "memory in MiB: median of the first half, of the second, most",
                format!("{}, {}, {most}", self.half(false), self.half(true)),
            ),
        ];
        for (name, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "| {name} | {value} |");
        }
        for unsound in &self.unsound {
            let _ = writeln!(text, "\n{unsound}");
        }
        text
    }
}
