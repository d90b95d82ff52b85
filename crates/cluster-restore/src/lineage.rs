//! Check that restore points and their prefix belong to one cluster.

use super::plan::{ClusterFacts, Danger, Options, own_uid};
use super::spool::ObjectSpool;
use backup_core::catalog::RestorePoint;
use backup_core::digest::Digest;
use backup_core::format::manifest::{Finding, Lineage, Severity};

/// Returns findings against restoring `point`, or against bringing its objects forward to
/// `forward`, in a prefix whose claim has the SHA-256 `claim`, if the claim could be read.
#[must_use]
pub fn lineage(
    point: &RestorePoint,
    forward: Option<&RestorePoint>,
    claim: Option<Digest>,
    spool: &ObjectSpool,
    options: &Options,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(objects_of(point, forward, spool, options));
    for one in [Some(point), forward].into_iter().flatten() {
        let Some(claim) = claim.filter(|claim| *claim != one.manifest.claim) else {
            continue;
        };
        let cause = format!(
            "it was made for claim {}, and this prefix has claim {claim}: it was copied here from \
             another prefix",
            one.manifest.claim
        );
        let remedy = "restore from the prefix that it was made in";
        findings.push(refusal(options, one, cause, remedy));
    }
    if let Some(forward) = forward {
        findings.extend(forward_of(point, forward, options));
    }
    findings
}

/// Checks that the objects belong to the cluster of the restore point, from whichever source they
/// come.
fn objects_of(
    point: &RestorePoint,
    forward: Option<&RestorePoint>,
    spool: &ObjectSpool,
    options: &Options,
) -> Option<Finding> {
    let own = own_uid(spool)?;
    let objects = forward.unwrap_or(point);
    let facts = ClusterFacts::of([objects], None);
    let other = facts.kube_system.into_iter().find(|w| w.uid != own)?;
    let cause = format!(
        "the objects are from another cluster: the UID of kube-system is {own} in them, and {} \
         according to {}",
        other.uid, other.told_by
    );
    let remedy = "give a source and a restore point of the same cluster";
    Some(refusal(options, objects, cause, remedy))
}

/// Checks that objects are brought forward only within one incarnation of a cluster: in another one
/// their UIDs, and so their owners, differ.
fn forward_of(point: &RestorePoint, forward: &RestorePoint, options: &Options) -> Option<Finding> {
    let (from, to) = (&point.manifest.lineage, &forward.manifest.lineage);
    let uid = |lineage: &Lineage| lineage.kube_system_uid.clone();
    if let (Some(was), Some(is)) = (uid(from), uid(to))
        && was != is
    {
        let cause = format!(
            "its objects are of another cluster than the etcd of {}: the UID of kube-system is {is} \
             in it, and {was} there",
            point.entry.id
        );
        let remedy = "bring objects forward to a restore point of the same cluster";
        return Some(refusal(options, forward, cause, remedy));
    }
    if from.id == to.id {
        return None;
    }
    let why = to.begun_because.as_deref().unwrap_or("it does not say why");
    Some(Finding::warning(
        format!("restore point {}", forward.entry.id),
        format!(
            "a new lineage began between {} and it: {why}",
            point.entry.id
        ),
        "check that you want to bring back what happened to etcd between the two",
    ))
}

fn refusal(options: &Options, point: &RestorePoint, cause: String, remedy: &str) -> Finding {
    let danger = Danger::OtherLineage;
    Finding::new(
        if options.allow.contains(&danger) {
            Severity::Warning
        } else {
            Severity::Error
        },
        format!("restore point {}", point.entry.id),
        cause,
        format!("{remedy}; `--allow {}` continues anyway", danger.name()),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use backup_core::catalog::CatalogEntry;
    use backup_core::crypt::Verdict;
    use backup_core::format::layout;
    use backup_core::format::manifest::Manifest;
    use backup_core::id::RestorePointId;

    fn point(lineage: &str, uid: &str, claim: &[u8]) -> RestorePoint {
        let manifest = json!({
            "version": 1, "tool": "test", "cluster": "c", "claim": Digest::of(claim),
            "began": "2026-11-23T12:00:00Z", "ended": "2026-11-23T12:00:01Z",
            "lineage": { "id": lineage, "kubeSystemUid": uid, "begunBecause": "time went back" },
            "encryption": { "mode": "none" }, "components": [], "indexes": [],
            "cost": {
                "readBytes": 1, "chunks": 1, "newChunks": 1, "objects": 1, "storedBytes": 1
            },
        });
        let manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
        let digest = Digest::of(lineage.as_bytes());
        let id = RestorePointId::new(manifest.began, digest);
        RestorePoint {
            entry: CatalogEntry {
                key: layout::manifest(manifest.began, digest),
                id,
                digest,
                bytes: 1,
                put: None,
            },
            manifest,
            verdict: Verdict::Trusted,
            signatures: Vec::new(),
        }
    }

    fn judged(forward: &RestorePoint, claim: &[u8], options: &Options) -> Vec<(Severity, String)> {
        let claim = Some(Digest::of(claim));
        let spool = ObjectSpool::create(&std::env::temp_dir(), 0).unwrap();
        let found = lineage(
            &point("l", "u", b"c"),
            Some(forward),
            claim,
            &spool,
            options,
        );
        found.into_iter().map(|f| (f.severity, f.cause)).collect()
    }

    #[test]
    fn objects_of_another_cluster_and_copies_from_another_prefix_are_refused_but_by_name() {
        let options = Options::default();
        assert_eq!(judged(&point("l", "u", b"c"), b"c", &options), []);
        let later = judged(&point("m", "u", b"c"), b"c", &options);
        assert_eq!(later[0].0, Severity::Warning);
        assert!(later[0].1.contains("time went back"), "{later:?}");
        let other = judged(&point("m", "v", b"c"), b"c", &options);
        assert_eq!(other[0].0, Severity::Error);
        assert!(other[0].1.contains("is v in it, and u there"), "{other:?}");
        let copied = judged(&point("l", "u", b"other"), b"c", &options);
        assert_eq!(copied[0].0, Severity::Error);
        assert!(copied[0].1.contains("was copied here"), "{copied:?}");
        let allowed = Options {
            allow: [Danger::OtherLineage].into(),
            ..options
        };
        for forward in [point("m", "v", b"c"), point("l", "u", b"other")] {
            assert_eq!(judged(&forward, b"c", &allowed)[0].0, Severity::Warning);
        }
    }
}
