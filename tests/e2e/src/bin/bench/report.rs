//! Report of the measurements, as plain tables with ratios.

use std::time::Duration;

use anyhow::Result;
use comfy_table::{Cell, CellAlignment, Table, presets};

use crate::measure::Took;
use crate::peers::Peer;
use crate::series::{Measured, Round};
use crate::snapshots::Snapshot;

/// Returns the median of `values`; of an even number the lower of the two in the middle.
pub(crate) fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> Option<T> {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values.get(values.len().saturating_sub(1) / 2).copied()
}

/// Returns a table whose first column is words and whose others are numbers.
pub(crate) fn table(
    title: &str,
    header: impl IntoIterator<Item = impl Into<Cell>>,
    rows: Vec<Vec<String>>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).force_no_tty();
    table.set_header(header.into_iter().map(Into::into));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("\n{title}\n\n{table}")
}

#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "figures for people; fifteen digits are enough"
)]
pub(crate) fn float(n: u64) -> f64 {
    n as f64
}

pub(crate) fn mb(bytes: u64) -> String {
    format!("{:.2}", float(bytes) / 1e6)
}

pub(crate) fn mib(bytes: u64) -> String {
    format!("{:.0}", float(bytes) / f64::from(1_u32 << 20))
}

/// Returns MB/s of `bytes` in `time`.
pub(crate) fn speed(bytes: u64, time: Duration) -> f64 {
    float(bytes) / 1e6 / time.as_secs_f64().max(1e-6)
}

/// Describes the machine and the versions of the peers, for the record.
pub(crate) fn machine() -> Result<String> {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|line| line.split_once(':'))
        .map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism()?;
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let mut lines = vec![format!("{cores} × {model}; load at the start {load}")];
    for (program, flag) in [
        ("restic", "version"),
        ("zstd", "--version"),
        ("age", "--version"),
    ] {
        let mut command = std::process::Command::new(program);
        command.arg(flag);
        lines.push(match crate::peers::output(command) {
            Ok(text) => format!("{program}: {}", String::from_utf8_lossy(&text).trim()),
            Err(_) => format!("{program}: missing; install it with `make programs`"),
        });
    }
    Ok(lines.join("\n"))
}

/// Returns the tables of the series.
pub(crate) fn series(snapshots: &[Snapshot], measured: &Measured) -> String {
    let mut text = String::new();
    for (peer, done) in measured {
        if let Err(missing) = done {
            text.push_str(&format!(
                "\n{} is left out: {} is missing; install it with `make programs`",
                peer.name(),
                missing.join(", ")
            ));
        }
    }
    let done: Vec<(Peer, &[Round])> = measured
        .iter()
        .filter_map(|(peer, done)| Some((*peer, done.as_deref().ok()?)))
        .collect();
    let took = |rounds: &[Round], i: usize, of: fn(&Took) -> Duration| {
        median(
            rounds
                .iter()
                .filter_map(|r| Some(of(&r.stored.get(i)?.1)))
                .collect(),
        )
        .unwrap_or_default()
    };
    let bytes = |rounds: &[Round], i: usize| {
        median(
            rounds
                .iter()
                .filter_map(|r| Some(r.stored.get(i)?.0))
                .collect(),
        )
        .unwrap_or_default()
    };
    let each = |title: &str, best: Best, figure: &dyn Fn(&[Round], usize, u64) -> f64| {
        let rows = snapshots.iter().enumerate().map(|(i, snapshot)| {
            let name = format!(
                "{} ({} MB)",
                snapshot.step.words(),
                snapshot.bytes / 1_000_000
            );
            let values = done
                .iter()
                .map(|(_, rounds)| figure(rounds, i, snapshot.bytes));
            (name, values.collect())
        });
        compared(title, &done, best, rows.collect())
    };
    text.push_str(&each(
        "Bytes stored, in MB: all by which the store grew",
        Best::Least,
        &|rounds, i, _| float(bytes(rounds, i)) / 1e6,
    ));
    text.push_str(&each(
        "Speed of storing, in MB/s of the snapshot: wall time of the whole command",
        Best::Most,
        &|rounds, i, plain| speed(plain, took(rounds, i, |t| t.wall)),
    ));
    text.push_str(&each(
        "Processor time of storing, in seconds over all cores",
        Best::Least,
        &|rounds, i, _| took(rounds, i, |t| t.cpu).as_secs_f64(),
    ));
    text.push_str(&each(
        "Peak memory of storing, in MiB",
        Best::Least,
        &|rounds, i, _| {
            let peaks = rounds.iter().filter_map(|r| Some(r.stored.get(i)?.1.peak));
            float(median(peaks.collect()).unwrap_or_default()) / f64::from(1_u32 << 20)
        },
    ));
    text.push_str(&restored(snapshots, &done));
    text
}

fn restored(snapshots: &[Snapshot], done: &[(Peer, &[Round])]) -> String {
    let plain = snapshots.last().map_or(0, |s| s.bytes);
    let of = |figure: &dyn Fn(&Took) -> f64| -> Vec<f64> {
        let each = |rounds: &[Round]| rounds.iter().map(|r| figure(&r.restored)).collect();
        done.iter()
            .map(|(_, rounds)| median(each(rounds)).unwrap_or_default())
            .collect()
    };
    let rows = vec![
        (
            "seconds until it ends".to_owned(),
            of(&|t| t.wall.as_secs_f64()),
        ),
        (
            "seconds until it is on the disk".to_owned(),
            of(&|t| t.on_disk.as_secs_f64()),
        ),
        ("processor seconds".to_owned(), of(&|t| t.cpu.as_secs_f64())),
        (
            "MiB of memory".to_owned(),
            of(&|t| float(t.peak) / f64::from(1_u32 << 20)),
        ),
    ];
    let title = format!(
        "Restoring the last snapshot to a file ({} MB)",
        plain / 1_000_000
    );
    compared(&title, done, Best::Least, rows)
}

/// Better end of a scale; a ratio above 1 always means that our programs are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Best {
    Most,
    Least,
}

/// Returns a table with a column for each peer and, behind those of the others, the ratio to ours.
fn compared(
    title: &str,
    done: &[(Peer, &[Round])],
    best: Best,
    rows: Vec<(String, Vec<f64>)>,
) -> String {
    let mut header = vec![String::new()];
    for (peer, _) in done {
        header.push(peer.name().to_owned());
        if *peer != Peer::Ours {
            header.push("ratio".to_owned());
        }
    }
    let rows = rows.into_iter().map(|(name, values)| {
        let ours = values.first().copied().unwrap_or_default();
        let mut row = vec![name];
        for (value, (peer, _)) in values.iter().zip(done) {
            row.push(format!("{value:.2}"));
            if *peer != Peer::Ours {
                let ratio = match best {
                    Best::Most => ours / value,
                    Best::Least => value / ours,
                };
                row.push(format!("{ratio:.1}"));
            }
        }
        row
    });
    let rows = rows.collect();
    format!("{}\n", table(title, header, rows))
}
