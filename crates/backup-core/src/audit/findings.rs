//! Findings of an audit, with the severity, cause and remedy of each in one place.

use super::{NeededObject, Options, Report};
use crate::catalog::{CatalogEntry, CatalogError, HiddenPoint, RestorePoint};
use crate::causes;
use crate::crypt::Verdict;
use crate::digest::Digest;
use crate::format::FormatError;
use crate::format::layout;
use crate::format::manifest::{Finding, Severity};
use crate::id::RestorePointId;
use crate::shortlist::and_more;
use crate::store::ArchiveState;

const DAMAGED: &str = "restore points that need it cannot be restored: put a sound copy back from a \
    replica or an older version of the object, or take a new snapshot now";

/// Returns how many restore points need damaged objects, and the newest that needs none.
pub(super) fn sound(touched: usize, all: usize, newest: Option<&RestorePointId>) -> Finding {
    let cause = match newest {
        Some(id) => {
            format!("{touched} of {all} need what is damaged; the newest that does not is {id}")
        }
        None => format!("all {all} need what is damaged"),
    };
    let remedy = match newest {
        Some(id) => format!("`restore-cli verify {id}` before you need it"),
        None => "take a new restore point now".to_owned(),
    };
    Finding::info("restore points", cause, remedy)
}

pub(super) fn missing(expected: &NeededObject) -> Finding {
    Finding::error(expected.key.to_string(), "it is not in the store", DAMAGED)
}

pub(super) fn changed(expected: &NeededObject) -> Finding {
    let cause = "its content is not what the store recorded when it was put".to_owned();
    Finding::error(expected.key.to_string(), cause, DAMAGED)
}

pub(super) fn archived(expected: &NeededObject, archived: &ArchiveState) -> Finding {
    let class = &archived.class;
    let rule = "end the lifecycle rule or the tiering that archives what is below this prefix";
    if archived.copied {
        let cause = format!("it is archived ({class}), and a copy can be read for some days only");
        return Finding::warning(expected.key.to_string(), cause, rule);
    }
    Finding::error(
        expected.key.to_string(),
        format!("it is archived ({class}) and cannot be read"),
        format!("{}; {rule}", archived.remedy),
    )
}

/// Compares the expected size and digest of an object with the found ones.
pub(super) fn judge(expected: &NeededObject, size: u64, found: Option<Digest>) -> Option<Finding> {
    let cause = match found {
        _ if size != expected.bytes => {
            format!("it has {size} bytes instead of {}", expected.bytes)
        }
        Some(found) if found != expected.digest => {
            format!("its content has SHA-256 {found}, not the one in its name")
        }
        Some(_) => return None,
        None => {
            return Some(Finding::warning(
                expected.key.to_string(),
                "the store recorded no SHA-256 for it, so only its size was checked",
                "run the audit with --deep",
            ));
        }
    };
    Some(Finding::error(expected.key.to_string(), cause, DAMAGED))
}

pub(crate) fn unreadable(entry: &CatalogEntry, error: &CatalogError) -> Finding {
    Finding::error(
        entry.key.to_string(),
        causes::line(error),
        "restore from another restore point",
    )
}

pub(super) fn signature(object: &RestorePointId, verdict: Verdict) -> Option<Finding> {
    let cause = format!("the manifest is {verdict}");
    Some(match verdict {
        Verdict::Trusted => return None,
        Verdict::NotChecked => Finding::info(
            object.to_string(),
            cause,
            "give --trust with the public key that `backupd keygen` wrote",
        ),
        // Anyone with write access to the bucket can add one.
        Verdict::Unsigned | Verdict::Untrusted | Verdict::Forged => Finding::error(
            object.to_string(),
            cause,
            "do not restore from it before you know who wrote it; a daemon signs with the key of `backupd \
             keygen`",
        ),
    })
}

pub(super) fn lost_parent(point: &RestorePoint, parent: &RestorePointId) -> Finding {
    Finding::warning(
        point.entry.id.to_string(),
        format!("restore point {parent}, which it was built upon, is not listed"),
        "find out whether somebody deleted that one, or the store cuts its listings short and later ones \
         are missing too",
    )
}

pub(crate) fn hidden(hidden: &HiddenPoint) -> Finding {
    let (severity, remedy) = if hidden.there {
        let remedy = "check the store, its proxy and its replication: `latest` misses what its listings \
            hide, and no leftovers are removed";
        (Severity::Error, remedy)
    } else {
        let remedy = "nothing to do if a run was interrupted; else find out who deleted it, and restore it \
            from a replica or an older version of the object";
        (Severity::Warning, remedy)
    };
    Finding::new(
        severity,
        hidden.manifest.to_string(),
        hidden.describe(),
        remedy,
    )
}

pub(super) fn not_encrypted(point: &RestorePoint) -> Finding {
    Finding::warning(
        point.entry.id.to_string(),
        "it is not encrypted: anyone who can read the bucket can read the cluster's Secrets",
        "give the daemon recipients: `backupd keygen`",
    )
}

/// Returns the finding about names that lie in the future; `names` are oldest first.
pub(super) fn future(names: &[&RestorePointId]) -> Option<Finding> {
    let last = names.last()?;
    let count = names.len();
    let cause = match count {
        1 => "its name has a time in the future, so it does not count as the newest".to_owned(),
        _ => format!(
            "its name and those of {} more, {count} in all, have a time in the future: they do not count as \
             the newest",
            count.saturating_sub(1)
        ),
    };
    Some(Finding::error(
        last.to_string(),
        cause,
        "find out who put them there: a machine whose clock was wrong, or somebody who may write to the bucket",
    ))
}

pub(super) fn age(
    newest: Option<&RestorePointId>,
    entries: &[CatalogEntry],
    options: &Options,
) -> Option<Finding> {
    let Some(newest) = newest else {
        let cause = if entries.is_empty() {
            "there is no restore point"
        } else {
            "there is no restore point that counts"
        };
        return Some(Finding::error(
            layout::MANIFESTS,
            cause,
            "run `backupd snapshot`",
        ));
    };
    let age = options.now.duration_since(newest.began()?);
    let hours = age.as_hours();
    if options.max_age.is_some_and(|most| age > most) {
        return Some(Finding::warning(
            newest.to_string(),
            format!("the newest restore point is {hours} hours old"),
            "find out why no newer one was made, and run `backupd snapshot`",
        ));
    }
    if age.is_negative() {
        return Some(Finding::warning(
            newest.to_string(),
            "the newest restore point is from the future",
            "set the clock of the machine that wrote it, or of this one",
        ));
    }
    None
}

pub(super) fn bad_owner_marker(error: &FormatError) -> Finding {
    Finding::error(
        layout::OWNER_MARKER,
        format!("{error}"),
        "put the owner marker back; every manifest names its SHA-256",
    )
}

pub(super) fn no_owner_marker() -> Finding {
    Finding::warning(
        layout::OWNER_MARKER,
        "there are restore points but no owner marker that ties the prefix to a cluster",
        "put the owner marker back; every manifest names its SHA-256",
    )
}

pub(super) fn other_owner_marker(first: &RestorePointId, more: usize) -> Finding {
    let more = and_more(more);
    Finding::error(
        layout::OWNER_MARKER,
        format!("it is not the owner marker that restore point {first}{more} was made for"),
        "find out whether the owner marker was changed or restore points of another cluster were put \
         here, before you restore from them",
    )
}

pub(crate) fn stranger(name: &str) -> Finding {
    Finding::warning(
        name,
        "its name does not fit the format",
        "find out who put it there; a prefix belongs to one cluster and this tool alone",
    )
}

pub(super) fn markers(first: &str, count: usize) -> Finding {
    Finding::info(
        "folder markers",
        format!("{count} names of no bytes that end in a slash, such as `{first}`"),
        "a console of the bucket makes them to show a folder; they hold nothing and do no harm",
    )
}

pub(super) fn unreferenced(report: &Report) -> Finding {
    Finding::info(
        "objects that no restore point needs",
        format!(
            "{} objects with {} bytes",
            report.unreferenced, report.unreferenced_bytes
        ),
        "left by runs that were interrupted; they do no harm, and `leftovers` in the configuration has \
         the daemon remove them",
    )
}
