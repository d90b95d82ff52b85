//! Findings of a sweep, with the severity, cause and remedy of each in one place.

use jiff::{SignedDuration, Timestamp};

use super::Tally;
use crate::causes;
use crate::format::FormatError;
use crate::format::layout;
use crate::format::manifest::{Finding, Severity};
use crate::id::{ClusterName, RestorePointId};
use crate::shortlist::comma_and_more;
use crate::store::{Key, Store, StoreError};

/// Object of the findings about all leftovers.
const ALL: &str = "leftovers";

const AUDIT: &str = "nothing is removed until `restore-cli audit` passes";

fn held(severity: Severity, cause: String, remedy: &str) -> Finding {
    Finding::new(severity, ALL, cause, remedy)
}

/// Counts those of `count` that come after the first one.
fn others(count: u64) -> String {
    comma_and_more(count.saturating_sub(1))
}

pub(super) fn no_time(store: &dyn Store) -> Finding {
    let cause = format!(
        "{} does not report the time, so ages are unknown",
        store.describe()
    );
    held(
        Severity::Warning,
        cause,
        "nothing is removed; check that no proxy removes the `Date` of answers",
    )
}

pub(super) fn skewed(skew: SignedDuration) -> Finding {
    let cause = format!(
        "this machine's clock and the store's differ by {} s, so ages are unknown",
        skew.as_secs()
    );
    held(
        Severity::Warning,
        cause,
        "nothing is removed until the clocks agree: repair the time service",
    )
}

pub(super) fn from_the_future(key: &Key, put: Timestamp) -> Finding {
    let cause = format!("{key} was put at {put:.0}, which is in the future, so ages are unknown");
    held(
        Severity::Warning,
        cause,
        "nothing is removed until the store's clock is correct",
    )
}

pub(super) fn no_age(count: u64) -> Finding {
    let cause = format!("the store does not report when {count} of them were put");
    held(
        Severity::Warning,
        cause,
        "they stay: without an age, they may belong to a run in progress",
    )
}

pub(super) fn of_another(owner: &ClusterName, wanted: &ClusterName) -> Finding {
    let cause = format!("the prefix was claimed for cluster `{owner}`, and this is `{wanted}`");
    held(
        Severity::Error,
        cause,
        "nothing is removed; give each cluster a prefix of its own",
    )
}

pub(super) fn bad_owner_marker(error: &FormatError) -> Finding {
    let cause = format!(
        "{} cannot be read, so the owner of the prefix is unknown: {}",
        layout::OWNER_MARKER,
        causes::line(error)
    );
    held(Severity::Error, cause, AUDIT)
}

pub(super) fn no_owner_marker() -> Finding {
    let cause = format!(
        "there is no {}, so the owner of the prefix is unknown",
        layout::OWNER_MARKER
    );
    held(Severity::Error, cause, AUDIT)
}

pub(super) fn distrusted((first, count): &(String, u64)) -> Finding {
    let cause = format!("restore point {first}{}", others(*count));
    held(
        Severity::Warning,
        cause,
        "nothing is removed while a restore point is not signed by a trusted key: give the public key that \
         signed it under `reading.trust` or with --trust, or find out who wrote it",
    )
}

pub(super) fn other_owner_marker((first, count): &(String, u64)) -> Finding {
    let cause = format!(
        "restore point {first}{} was not made for this prefix",
        others(*count)
    );
    held(Severity::Error, cause, AUDIT)
}

pub(super) fn unknown_manifests() -> Finding {
    let cause = format!(
        "there are names below {} that this version does not know",
        layout::MANIFESTS
    );
    held(
        Severity::Warning,
        cause,
        "nothing is removed: they may be restore points of a later version; install that, or find out who \
         put them there",
    )
}

pub(super) fn not_listed(first: &Key, count: u64) -> Finding {
    let cause = format!(
        "restore points need {first}{}, and the listing does not show it",
        others(count)
    );
    held(Severity::Error, cause, AUDIT)
}

pub(super) fn unencrypted() -> Finding {
    held(
        Severity::Info,
        "without encryption, equal bytes have the same name in every run, so another run may be about to \
         use what one run left"
        .to_owned(),
        "nothing is removed where restore points are not encrypted; give the daemon recipients and a new \
         prefix",
    )
}

pub(super) fn no_restore_point(old: Tally) -> Finding {
    let cause = format!(
        "there is no restore point, but {} objects with {} bytes of some",
        old.objects, old.bytes
    );
    held(
        Severity::Warning,
        cause,
        "nothing is removed: check whether manifests were deleted, and put them back from a replica or an \
         older version of the bucket; if all is well, `backupd sweep --force`",
    )
}

pub(super) fn too_much(old: Tally, needed: Tally) -> Finding {
    let cause = format!(
        "{} objects with {} bytes would go, more than half of the {} bytes that restore points lead to",
        old.objects, old.bytes, needed.bytes
    );
    held(
        Severity::Warning,
        cause,
        "nothing is removed: check whether manifests were deleted (`restore-cli list`), or runs crash again \
         and again; if all is well, `backupd sweep --force`",
    )
}

pub(super) fn vanished(id: &str) -> Finding {
    let cause = format!("restore point {id} was deleted meanwhile");
    held(
        Severity::Warning,
        cause,
        "nothing more is removed while others delete; sweep again later",
    )
}

pub(super) fn distrusted_meanwhile(id: &RestorePointId, why: &str) -> Finding {
    let cause = format!("restore point {id} was added meanwhile, and {why}");
    held(Severity::Warning, cause, AUDIT)
}

pub(super) fn unreadable_meanwhile(error: &dyn std::error::Error) -> Finding {
    let cause = format!(
        "a restore point was added meanwhile: {}",
        causes::line(error)
    );
    held(Severity::Warning, cause, AUDIT)
}

pub(super) fn not_removed(error: &StoreError, errors: u64, stopped: bool) -> Finding {
    let cause = format!(
        "{errors} could not be removed; the first: {}",
        causes::line(error)
    );
    let remedy = match (error, stopped) {
        (StoreError::Forbidden { .. }, _) => {
            "let these credentials delete (`s3:DeleteObject` on the prefix), or take `leftovers` out of the \
             configuration: then they are only counted"
        }
        (StoreError::Retained { .. }, _) => "the next sweep after the lock's end removes them",
        (_, true) => "it stopped there; the next sweep tries again",
        (_, false) => "the next sweep tries again",
    };
    held(Severity::Warning, cause, remedy)
}

pub(super) fn late(left: u64) -> Finding {
    let cause = format!("{left} were not removed within the time that a sweep may take");
    held(Severity::Info, cause, "the next sweep continues")
}
