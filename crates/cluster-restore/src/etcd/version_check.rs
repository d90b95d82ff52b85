//! Judge of whether a node's version of etcd can read a snapshot.

use std::fmt;

use backup_core::format::manifest::{Finding, Severity};

use super::plan::SnapshotFacts;

/// A minor version of etcd or Talos, such as 3.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MinorVersion(pub(super) u64, pub(super) u64);

impl fmt::Display for MinorVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl MinorVersion {
    /// Parses the first two numbers of a version, with or without a leading `v`.
    pub(super) fn of(version: &str) -> Option<Self> {
        let mut numbers = version.trim().trim_start_matches('v').split(['.', '-']);
        let mut next = || numbers.next()?.parse().ok();
        Some(Self(next()?, next()?))
    }

    /// Returns the etcd whose storage a snapshot has, from its storage version, which etcd writes
    /// since 3.6. `None` if it cannot be parsed.
    pub(super) fn of_storage(version: Option<&str>) -> Option<Self> {
        version.map_or(Some(Self(3, 5)), Self::of)
    }
}

/// Version of etcd that Talos brings, from the given version of Talos on.
const BUNDLED: [(MinorVersion, MinorVersion); 3] = [
    (MinorVersion(1, 14), MinorVersion(3, 7)),
    (MinorVersion(1, 11), MinorVersion(3, 6)),
    // Before 1.4 nobody restores over this API.
    (MinorVersion(1, 4), MinorVersion(3, 5)),
];

/// Version of etcd on a node, and how it is known.
struct NodeEtcd {
    etcd: MinorVersion,
    /// Clause that goes into a sentence.
    told: String,
    /// Remedy that gives the node a newer etcd.
    renew: String,
}

impl NodeEtcd {
    /// Returns the etcd of the image in the machine configuration, or else the one that `talos`
    /// brings; `data` is the version that it must read.
    fn of(talos: &str, image: Option<&str>, data: MinorVersion) -> Option<Self> {
        let tagged = image.and_then(|image| {
            let tag = image.split('@').next()?.rsplit_once(':')?.1;
            Some((image, MinorVersion::of(tag)?))
        });
        if let Some((image, etcd)) = tagged {
            return Some(Self {
                etcd,
                told: format!("its machine configuration names etcd {etcd} (`{image}`)"),
                renew: format!(
                    "name an image of etcd {data} or newer in its machine configuration, or take \
                     `cluster.etcd.image` out if its Talos brings one"
                ),
            });
        }
        let version = MinorVersion::of(talos)?;
        let etcd = BUNDLED.iter().find(|(from, _)| version >= *from)?.1;
        let bring = |(_, etcd): &&(MinorVersion, MinorVersion)| *etcd >= data;
        let renew = BUNDLED.iter().rev().find(bring).map_or_else(
            || format!("upgrade the node first, to a Talos that brings etcd {data}"),
            |(from, _)| {
                format!("upgrade the node first: `talosctl upgrade` to Talos {from} or newer")
            },
        );
        Some(Self {
            etcd,
            told: format!("Talos {talos} brings etcd {etcd}"),
            renew,
        })
    }
}

/// Returns a finding if it is a problem to restore `snapshot` onto a node with this version of
/// Talos, whose machine configuration names this `image` of etcd.
pub(super) fn versions(
    snapshot: &SnapshotFacts,
    node: &str,
    talos: &str,
    image: Option<&str>,
) -> Option<Finding> {
    let finding = |severity, cause: String, remedy: String| {
        Some(Finding::new(
            severity,
            format!("node {node}"),
            cause,
            remedy,
        ))
    };
    let storage = snapshot.storage_version.as_deref();
    let Some(data) = MinorVersion::of_storage(storage) else {
        let cause = format!(
            "the etcd version of the snapshot is not known: the snapshot has only storage version \
             {}",
            storage.unwrap_or_default()
        );
        let remedy =
            "restore it onto a node with the etcd version that it was taken from".to_owned();
        return finding(Severity::Warning, cause, remedy);
    };
    let Some(NodeEtcd { etcd, told, renew }) = NodeEtcd::of(talos, image, data) else {
        let cause = format!("it is not known here which etcd Talos {talos} brings");
        let remedy = format!("make sure that it is etcd {data} or newer: `talosctl etcd status`");
        return finding(Severity::Warning, cause, remedy);
    };
    if data > etcd {
        let cause = format!(
            "the snapshot is of etcd {data}, and {told}: etcd is not made to start from what a \
             newer etcd wrote"
        );
        return finding(Severity::Error, cause, renew);
    }
    let server = snapshot.etcd_version.as_deref();
    if server
        .and_then(MinorVersion::of)
        .is_some_and(|server| server > etcd)
    {
        let cause = format!(
            "the snapshot was taken of etcd {}, and {told}; its storage is still of etcd {data}, which \
             this one reads",
            server.unwrap_or_default()
        );
        let remedy = "upgrade the node to the backup's version of Talos, if you can".to_owned();
        return finding(Severity::Warning, cause, remedy);
    }
    if data.0 == etcd.0 && data.1.saturating_add(1) < etcd.1 {
        let cause = format!(
            "the snapshot is of etcd {data}, and {told}: etcd is meant to be upgraded one minor \
             version at a time"
        );
        let remedy = "restore onto a Talos whose etcd is at most one minor version newer, and \
                      upgrade from there";
        return finding(Severity::Warning, cause, remedy.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use backup_core::digest::Digest;

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
            versions(&snapshot(storage, server), "n", talos, None).map(|finding| finding.severity)
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
            // Without a storage version it was written by etcd 3.5 or older, whichever etcd served
            // it.
            (None, None, "v1.13.0", None),
            (None, Some("3.6.9"), "v1.10.3", warning),
            (Some("later"), None, "v1.13.0", warning),
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

    #[test]
    fn both_versions_and_the_way_out_are_named_and_an_image_counts_more_than_talos() {
        let told = |image| {
            let found = versions(&snapshot(Some("3.7.0"), None), "n", "v1.13.4", image).unwrap();
            assert_eq!(found.severity, Severity::Error);
            format!("{}; {}", found.cause, found.remedy)
        };
        let bundled = told(None);
        for words in [
            "of etcd 3.7",
            "Talos v1.13.4 brings etcd 3.6",
            "Talos 1.14 or newer",
        ] {
            assert!(bundled.contains(words), "{words}: {bundled}");
        }
        // A digest alone contains no version, and a registry may have a port.
        assert_eq!(told(Some("registry:5000/etcd@sha256:00")), bundled);
        let named = told(Some("registry:5000/etcd:v3.5.21@sha256:00"));
        assert!(named.contains("names etcd 3.5"), "{named}");
        assert!(named.contains("image of etcd 3.7 or newer"), "{named}");
        let newer = Some("registry.k8s.io/etcd:3.7.3-0");
        let found = versions(&snapshot(Some("3.7.0"), None), "n", "v1.13.4", newer);
        assert_eq!(found, None);
    }
}
