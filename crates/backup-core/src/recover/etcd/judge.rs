//! Which etcd reads the data of which.

use crate::format::manifest::{Finding, Severity};

use super::plan::SnapshotFacts;

/// The etcd that each Talos brings, from its version on.
const BUNDLED: [((u64, u64), (u64, u64)); 3] = [
    ((1, 14), (3, 7)),
    ((1, 11), (3, 6)),
    // Before 1.4 nobody restores over this API.
    ((1, 4), (3, 5)),
];

/// The first two numbers of a version, with or without a leading `v`.
pub(super) fn minor(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.trim().trim_start_matches('v').split(['.', '-']);
    let mut next = || numbers.next()?.parse().ok();
    Some((next()?, next()?))
}

/// The minor version of the etcd in a Talos.
fn bundled(talos: &str) -> Option<(u64, u64)> {
    let talos = minor(talos)?;
    let mut known = BUNDLED.iter();
    known
        .find(|(from, _)| talos >= *from)
        .map(|(_, etcd)| *etcd)
}

/// What is to say of restoring `snapshot` onto a node with this version of Talos.
pub(super) fn versions(snapshot: &SnapshotFacts, node: &str, talos: &str) -> Option<Finding> {
    let finding = |severity, cause: String, remedy: &str| {
        Some(Finding {
            severity,
            object: format!("node {node}"),
            cause,
            remedy: remedy.to_owned(),
        })
    };
    let Some(target) = bundled(talos) else {
        let cause = format!("which etcd Talos {talos} brings is not known here");
        return finding(
            Severity::Warning,
            cause,
            "compare `talosctl etcd status` elsewhere",
        );
    };
    let storage = snapshot.storage_version.as_deref();
    let server = snapshot.etcd_version.as_deref();
    let Some((said, has)) = storage
        .or(server)
        .and_then(|said| Some((said, minor(said)?)))
    else {
        // Storage tells its version from etcd 3.6 on.
        let cause = "which etcd the snapshot is from is not known; it tells no storage version, so \
                     it was written by etcd 3.5 or older";
        return finding(
            Severity::Info,
            cause.to_owned(),
            "nothing, unless etcd refuses it",
        );
    };
    let shown = format!("{}.{}", target.0, target.1);
    if has > target {
        let cause = format!(
            "the snapshot's storage is that of etcd {said}, and Talos {talos} brings etcd {shown}, \
             which does not read what a newer one wrote"
        );
        let from = snapshot
            .talos_version
            .as_deref()
            .unwrap_or("the backup's version or a newer");
        let remedy = format!("upgrade the node first: `talosctl upgrade` to Talos {from}");
        return finding(Severity::Error, cause, &remedy);
    }
    if server.and_then(minor).is_some_and(|server| server > target) {
        let cause = format!(
            "the snapshot is from etcd {}, Talos {talos} brings etcd {shown}; its storage is still \
             of a version that this one reads",
            server.unwrap_or_default()
        );
        let remedy = "upgrade the node to the backup's version of Talos, if you can";
        return finding(Severity::Warning, cause, remedy);
    }
    if has.0 == target.0 && has.1.saturating_add(1) < target.1 {
        let cause = format!(
            "the snapshot is from etcd {said} and Talos {talos} brings etcd {shown}: etcd is meant \
             to be upgraded one minor version at a time"
        );
        let remedy = "restore onto a Talos whose etcd is at most one minor version newer, and \
                      upgrade from there";
        return finding(Severity::Warning, cause, remedy);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn snapshot(storage: Option<&str>, server: Option<&str>) -> SnapshotFacts {
        SnapshotFacts {
            restore_point: None,
            bytes: 1,
            sha256: Digest::of(b""),
            revision: 1,
            content: None,
            kube_system_uid: None,
            storage_version: storage.map(ToOwned::to_owned),
            etcd_version: server.map(ToOwned::to_owned),
            talos_version: None,
            cluster: None,
            encryption_prefixes: Vec::new(),
            raw: false,
            torn: Vec::new(),
        }
    }

    #[test]
    fn newer_onto_older_is_refused_and_older_onto_newer_is_not() {
        let judge = |storage, server, talos| {
            versions(&snapshot(storage, server), "n", talos).map(|finding| finding.severity)
        };
        let (warning, error) = (Some(Severity::Warning), Some(Severity::Error));
        for (storage, server, talos, severity) in [
            (Some("3.6.0"), Some("3.6.9"), "v1.13.0", None),
            (Some("3.6.0"), Some("3.6.9"), "v1.14.0-rc.1", None),
            (None, Some("3.5.21"), "v1.11.1", None),
            (None, Some("3.5.21"), "v1.14.0", warning),
            (Some("3.6.0"), Some("3.6.4"), "v1.10.3", error),
            (Some("3.7.0"), Some("3.7.1"), "v1.13.0", error),
            (Some("3.6.0"), Some("3.7.1"), "v1.13.0", warning),
            (None, None, "v1.13.0", Some(Severity::Info)),
            (Some("3.6.0"), None, "v0.14.0", warning),
            (Some("3.6.0"), None, "unknown", warning),
        ] {
            assert_eq!(
                judge(storage, server, talos),
                severity,
                "{storage:?} onto {talos}"
            );
        }
    }
}
