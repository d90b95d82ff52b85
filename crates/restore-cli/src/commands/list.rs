//! Command `restore-cli list`, which lists the restore points of one store, newest first.

use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, CatalogError, Exclusions, RestorePoint, is_future};
use cluster_restore::orchestrate::lost_parent_warning;
use jiff::Timestamp;
use serde::Serialize;

use crate::commands::{open, signature};
use crate::flags::LookFlags;

/// Largest number of manifests in memory: each has at most 4 MiB, mostly some KiB.
const AT_ONCE: usize = 32;

/// List the restore points, newest first
///
/// What no key of --trust signed is shown apart, and not read.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    look: LookFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = open(&args.look.given(), frame).await?;
    let catalog = Catalog::new(Arc::clone(&opened.store));
    let mut entries = catalog.list().await?;
    entries.reverse();
    let now = catalog.time(&entries, opened.view.now).await;
    let mut list = PointList {
        restore_points: Vec::new(),
        distrusted: Vec::new(),
        unreadable: Vec::new(),
        now: frame.clock.now(),
    };
    let mut left_out = Exclusions::default();
    let listed = entries.iter().map(|entry| entry.digest).collect();
    let (mut lost, mut newest) = (None, None);
    for entries in entries.chunks(AT_ONCE) {
        let loaded = catalog.all_trusted(entries, &opened.view.trust).await;
        for (entry, loaded) in entries.iter().zip(loaded) {
            let future = is_future(&entry.id, now);
            match loaded {
                Ok(point) => {
                    let parent = point.lost_parent(&listed);
                    lost = lost
                        .or_else(|| parent.map(|parent| lost_parent_warning(&entry.id, parent)));
                    if future {
                        left_out.future(&entry.id);
                    } else {
                        newest.get_or_insert_with(|| entry.id.clone());
                    }
                    list.restore_points.push(PointRow::of(&point));
                }
                Err(CatalogError::Distrusted { id, verdict }) => {
                    left_out.distrust(&id, verdict);
                    list.distrusted.push(DistrustedPoint {
                        id: id.to_string(),
                        signature: signature(verdict),
                    });
                }
                Err(error) => list.unreadable.push(UnreadablePoint {
                    id: entry.id.to_string(),
                    cause: Failure::from(error).one_line(),
                }),
            }
        }
    }
    frame.terminal.emit(&list)?;
    opened.points.warn_of(&left_out);
    // One warning is enough here; `restore-cli audit` reports all.
    if let Some(told) = &lost {
        frame.terminal.status(told);
    }
    let hidden = catalog.hidden(&entries, newest.as_ref()).await?;
    for hidden in &hidden {
        frame.terminal.warn(&hidden.describe());
    }
    if entries.is_empty() {
        frame
            .terminal
            .status("There is no restore point yet; `backupd snapshot` makes one.");
    }
    Ok(if list.unreadable.is_empty() {
        Exit::Complete
    } else {
        Exit::Damaged
    })
}

/// Printed result of `list`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PointList {
    restore_points: Vec<PointRow>,
    /// Restore points that no trusted key signed; they are not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    distrusted: Vec<DistrustedPoint>,
    unreadable: Vec<UnreadablePoint>,
    #[serde(skip)]
    now: Timestamp,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PointRow {
    id: String,
    cluster: String,
    began: Timestamp,
    ended: Timestamp,
    components: Vec<String>,
    plain_bytes: u64,
    new_bytes: u64,
    reason: Option<String>,
    pinned: bool,
    signature: &'static str,
    findings: usize,
    /// Whether something that was asked for is missing or not whole.
    partial: bool,
    missing: Vec<String>,
    /// Requested data that is missing, including kinds and single objects.
    lacks: Vec<String>,
    #[serde(skip)]
    not_whole: Vec<String>,
}

/// Restore point that no trusted key signed.
#[derive(Debug, Serialize)]
struct DistrustedPoint {
    id: String,
    signature: &'static str,
}

/// Restore point that exists and cannot be read.
#[derive(Debug, Serialize)]
struct UnreadablePoint {
    id: String,
    cause: String,
}

impl PointRow {
    fn of(point: &RestorePoint) -> Self {
        let manifest = &point.manifest;
        let components = &manifest.components;
        Self {
            id: point.entry.id.to_string(),
            cluster: manifest.cluster.to_string(),
            began: manifest.began,
            ended: manifest.ended,
            components: components.iter().map(|c| c.name.to_string()).collect(),
            plain_bytes: components
                .iter()
                .fold(0, |sum, c| sum.saturating_add(c.plain_bytes)),
            new_bytes: manifest.cost.stored_bytes,
            reason: manifest.reason.clone(),
            pinned: manifest.pinned,
            signature: signature(point.verdict),
            findings: manifest.findings.len(),
            partial: manifest.is_partial(),
            missing: manifest.missing.iter().map(ToString::to_string).collect(),
            lacks: manifest.gaps().iter().map(ToString::to_string).collect(),
            not_whole: components
                .iter()
                .filter(|c| !manifest.is_whole(&c.name))
                .map(|c| c.name.to_string())
                .collect(),
        }
    }

    fn note(&self) -> String {
        let pinned = self.pinned.then(|| "pinned".to_owned());
        let notes: Vec<String> = pinned.into_iter().chain(self.reason.clone()).collect();
        notes.join(": ")
    }

    fn state(&self) -> String {
        if !self.partial {
            return "whole".to_owned();
        }
        let without =
            (!self.missing.is_empty()).then(|| format!("without {}", self.missing.join(", ")));
        let not_whole = (!self.not_whole.is_empty())
            .then(|| format!("not whole: {}", self.not_whole.join(", ")));
        let told = without.into_iter().chain(not_whole);
        std::iter::once("PARTIAL".to_owned())
            .chain(told)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Report for PointList {
    fn page(&self, page: &mut Page) {
        let rows = self.restore_points.iter().map(|row| {
            [
                row.id.clone(),
                human::utc(row.began),
                human::age(self.now, row.began),
                row.state(),
                row.components.join(", "),
                human::bytes(row.plain_bytes),
                human::bytes(row.new_bytes),
                row.signature.to_owned(),
                row.note(),
            ]
        });
        page.table(
            [
                "RESTORE POINT",
                "BEGAN",
                "AGE",
                "STATE",
                "COMPONENTS",
                "SIZE",
                "NEW",
                "SIGNATURE",
                "NOTE",
            ],
            rows,
        );
        if !self.distrusted.is_empty() {
            page.heading("Not signed by a key of --trust, and not read:");
            let rows = self.distrusted.iter();
            let rows = rows.map(|d| [d.id.clone(), d.signature.to_owned()]);
            page.table(["RESTORE POINT", "SIGNATURE"], rows);
        }
        if !self.unreadable.is_empty() {
            page.heading("Cannot be read:");
            let rows = self
                .unreadable
                .iter()
                .map(|u| [u.id.clone(), u.cause.clone()]);
            page.table(["RESTORE POINT", "CAUSE"], rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};
    use backup_core::crypt::Verdict;

    fn row(id: &str, began: &str, pinned: bool, reason: Option<&str>) -> PointRow {
        PointRow {
            id: id.to_owned(),
            cluster: "butler-mgmt".to_owned(),
            began: began.parse().unwrap(),
            ended: began.parse().unwrap(),
            components: vec!["etcd".to_owned()],
            plain_bytes: 262_144_000,
            new_bytes: 1_782_579,
            reason: reason.map(ToOwned::to_owned),
            pinned,
            signature: signature(Verdict::Trusted),
            findings: 0,
            partial: pinned,
            missing: if pinned {
                vec!["kubeconfigs".to_owned()]
            } else {
                Vec::new()
            },
            lacks: Vec::new(),
            not_whole: Vec::new(),
        }
    }

    #[test]
    fn the_list_reads_well_and_its_json_stays() {
        let list = PointList {
            restore_points: vec![
                row(
                    "20261123t120000000z-1a2b3c4d5e6f",
                    "2026-11-23T12:00:00Z",
                    true,
                    Some("before 1.36"),
                ),
                row(
                    "20261123t110000000z-0123456789ab",
                    "2026-11-23T11:00:00Z",
                    false,
                    None,
                ),
            ],
            distrusted: Vec::new(),
            unreadable: vec![UnreadablePoint {
                id: "20261123t100000000z-ffffffffffff".to_owned(),
                cause: "its manifest was changed".to_owned(),
            }],
            now: "2026-11-23T12:45:00Z".parse().unwrap(),
        };
        insta::assert_snapshot!("list_table", render(&list, Format::Table, None).unwrap());
        insta::assert_snapshot!("list_json", render(&list, Format::Json, None).unwrap());
    }
}
