//! Command `restore-cli verify`, which checks that one restore point is whole and can be read back unchanged.

use std::sync::Arc;

use backup_cli::exit::Exit;
use backup_cli::failure::{Failure, exit_of};
use backup_cli::findings::{self, Finding, Severity};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_cli::program::Frame;
use backup_core::catalog::{Catalog, CatalogError, RestorePoint};
use backup_core::crypt::Verdict;
use backup_core::format::manifest;
use backup_core::id::RestorePointId;
use backup_core::read::{self, Damage, VerifyDepth};
use backup_core::store::Key;
use cluster_restore::orchestrate::{LATEST, Requirement};
use serde::Serialize;

use crate::commands::{OpenedStore, damage, disk_is_full, distrust, open, signature};
use crate::flags::{PointArg, ReadFlags, ScratchFlags};

/// Verify one restore point without writing anything but scratch files
///
/// Reads every object, takes its digest, decrypts it, puts every component together again, and
/// checks the etcd snapshot's own trailer, its pages and its revision. A restore point that lacks
/// something that was asked for is partial: it is named, and the code is 7.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    selection: PointArg,
    /// Look at presence, sizes and recorded checksums only; needs no key
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    scratch: ScratchFlags,
    #[command(flatten)]
    read: ReadFlags,
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    let opened = frame.or_cancelled(open(&args.read.given(), frame)).await?;
    let identities = opened.config.identities(|text| frame.terminal.warn(text))?;
    let point = match frame.or_cancelled(point(&opened, args)).await? {
        Candidate::Trusted(point) => point,
        Candidate::Distrusted { id, key, verdict } => {
            let report = VerifyReport::of_distrusted(&id, &key, verdict, args.quick);
            frame.terminal.emit(&report)?;
            return Ok(Exit::Damaged);
        }
    };
    let full = !args.quick;
    let depth = if args.quick {
        VerifyDepth::Quick
    } else {
        let unlock = async { Ok(read::unlock(&opened.store, &point, &identities).await?) };
        let unlocked = frame.or_cancelled(unlock).await;
        VerifyDepth::Full(unlocked.map_err(|failure| {
            if identities.is_empty() {
                failure.hint("a look with --quick needs no key")
            } else {
                failure
            }
        })?)
    };
    let scratch = args.scratch.folder(frame);
    let progress = frame.terminal.progress();
    let verified = read::verify(
        Arc::clone(&opened.store),
        &point,
        depth,
        &scratch,
        Arc::clone(&progress),
        frame.cancel.clone(),
    )
    .await;
    drop(progress);
    let mut report = VerifyReport {
        restore_point: point.entry.id.to_string(),
        quick: args.quick,
        sound: false,
        partial: false,
        signature: signature(point.verdict),
        objects: 0,
        stored_bytes: 0,
        plain_bytes: 0,
        findings: Vec::new(),
    };
    match verified.map_err(anyhow::Error::new) {
        Ok(verified) => {
            report.objects = verified.objects;
            report.stored_bytes = verified.stored_bytes;
            report.plain_bytes = verified.plain_bytes;
            report.findings = findings::printed(&verified.findings);
            if full && findings::worst(&report.findings) == Some(Severity::Error) {
                let of = (&*point, &identities);
                let damages = opened.points.damages(None, of, &scratch).await;
                report.findings.extend(damages.iter().map(lost));
            }
        }
        // Damage is the answer to the question, not a failure to answer.
        Err(error) if exit_of(&error) == Exit::Damaged => {
            let of = (&*point, &identities);
            let failed = error.downcast_ref();
            let damages = opened.points.damages(failed, of, &scratch).await;
            report.findings.push(damaged(&report.restore_point, error));
            report.findings.extend(damages.iter().map(lost));
        }
        Err(error) => return Err(elsewhere(error)),
    }
    let worst = findings::worst(&report.findings);
    let gaps = point.manifest.gaps();
    let lacked = frame.or_cancelled(opened.lacked(&point, &gaps)).await?;
    let lacks = lacked
        .iter()
        .map(|one| one.finding(manifest::Severity::Warning, "restore-cli verify"));
    let lacks: Vec<manifest::Finding> = lacks.collect();
    report.findings.extend(findings::printed(&lacks));
    report.partial = !gaps.is_empty();
    report.sound = worst.is_none_or(|w| w < Severity::Error) && !report.partial;
    frame.terminal.emit(&report)?;
    Ok(match findings::exit_of(worst) {
        Exit::Complete | Exit::Warnings if report.partial => Exit::Partial,
        exit => exit,
    })
}

/// Restore point to verify.
enum Candidate {
    Trusted(Box<RestorePoint>),
    /// No trusted key signed it: that is the result, and nothing of it is read.
    Distrusted {
        id: RestorePointId,
        key: Key,
        verdict: Verdict,
    },
}

async fn point(opened: &OpenedStore, args: &Args) -> Result<Candidate, Failure> {
    let wanted = &args.selection.restore_point;
    if wanted == LATEST {
        let point = opened.find(wanted, &Requirement::Nothing).await?;
        return Ok(Candidate::Trusted(Box::new(point)));
    }
    let catalog = Catalog::new(Arc::clone(&opened.store));
    let entry = catalog.named(wanted, &opened.view.trust).await?;
    match catalog.trusted(&entry, &opened.view.trust).await {
        Ok(point) => Ok(Candidate::Trusted(Box::new(point))),
        Err(CatalogError::Distrusted { id, verdict }) => Ok(Candidate::Distrusted {
            id,
            key: entry.key,
            verdict,
        }),
        Err(other) => Err(other.into()),
    }
}

/// Makes a failure, with a hint if the disk is full.
fn elsewhere(error: anyhow::Error) -> Failure {
    let full = error.downcast_ref().is_some_and(disk_is_full);
    let failure = Failure::from(error);
    if full {
        failure.hint("name a folder with more room with --scratch")
    } else {
        failure
    }
}

fn damaged(restore_point: &str, error: anyhow::Error) -> Finding {
    Finding {
        severity: Severity::Error,
        object: restore_point.to_owned(),
        cause: Failure::from(error).one_line(),
        remedy: "restore from another restore point, and run `restore-cli audit --deep`".to_owned(),
    }
}

fn lost(damage: &Damage) -> Finding {
    Finding {
        severity: Severity::Error,
        object: damage.component.to_string(),
        cause: damage::lost(damage),
        remedy: damage::instead(damage, "restore-cli verify"),
    }
}

/// Printed result of `verify`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VerifyReport {
    restore_point: String,
    quick: bool,
    /// Whether all requested data is there and can be read back.
    sound: bool,
    /// Whether the run could not take everything that it should.
    partial: bool,
    signature: &'static str,
    objects: u64,
    stored_bytes: u64,
    plain_bytes: u64,
    findings: Vec<Finding>,
}

impl VerifyReport {
    fn of_distrusted(id: &RestorePointId, key: &Key, verdict: Verdict, quick: bool) -> Self {
        Self {
            restore_point: id.to_string(),
            quick,
            sound: false,
            partial: false,
            signature: signature(verdict),
            objects: 0,
            stored_bytes: 0,
            plain_bytes: 0,
            findings: vec![Finding {
                severity: Severity::Error,
                object: key.to_string(),
                cause: distrust(verdict)
                    .unwrap_or("nobody vouches for it")
                    .to_owned(),
                remedy: "do not restore from it; find out who wrote it".to_owned(),
            }],
        }
    }
}

impl Report for VerifyReport {
    fn page(&self, page: &mut Page) {
        let damaged = findings::worst(&self.findings) == Some(Severity::Error);
        let result = match (self.sound, self.quick) {
            (true, false) => "sound: it comes back bit for bit",
            (true, true) => "all there (contents were not read; leave out --quick for that)",
            (false, false) if !damaged => {
                "PARTIAL: what it has comes back bit for bit, and it lacks what the findings name"
            }
            (false, true) if !damaged => {
                "PARTIAL: what it has is all there, and it lacks what the findings name"
            }
            (false, _) => "NOT SOUND: see the findings",
        };
        let plain = if self.plain_bytes == 0 {
            "not read".to_owned()
        } else {
            human::bytes(self.plain_bytes)
        };
        page.fields([
            ("Restore point", self.restore_point.clone()),
            ("Result", result.to_owned()),
            ("Signature", self.signature.to_owned()),
            (
                "Objects",
                format!("{}, {}", self.objects, human::bytes(self.stored_bytes)),
            ),
            ("Put together", plain),
        ]);
        if !self.findings.is_empty() {
            page.heading("Findings");
            findings::table(page, &self.findings);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_cli::output::{Format, render};

    #[test]
    fn a_verification_reads_well_and_its_json_stays() {
        let mut report = VerifyReport {
            restore_point: "20261123t120000000z-1a2b3c4d5e6f".to_owned(),
            quick: false,
            sound: true,
            partial: false,
            signature: signature(Verdict::Trusted),
            objects: 9,
            stored_bytes: 5_882_511,
            plain_bytes: 262_144_000,
            findings: Vec::new(),
        };
        insta::assert_snapshot!(
            "verify_table",
            render(&report, Format::Table, None).unwrap()
        );
        report.sound = false;
        report.signature = signature(Verdict::Forged);
        report.findings.push(damaged(
            &report.restore_point,
            anyhow::anyhow!("pack is damaged"),
        ));
        insta::assert_snapshot!(
            "verify_damaged",
            render(&report, Format::Table, None).unwrap()
        );
        insta::assert_snapshot!("verify_json", render(&report, Format::Json, None).unwrap());
    }
}
