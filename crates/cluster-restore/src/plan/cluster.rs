//! Identity of the cluster that a restore point belongs to, and the guard before every write.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::super::RecoverError;
use super::super::spool::ObjectSpool;
use super::{Danger, Mode, Plan, Step, Target};
use backup_core::archive::ObjectPath;
use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::{Finding, Severity};
use cluster_client::kube::target::KubeTarget;

/// Facts that identify the captured cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterFacts {
    /// UIDs of its namespace `kube-system`. They agree, unless a part belongs to another cluster.
    pub kube_system: Vec<KubeSystemUid>,
}

/// UID of the namespace `kube-system`, with its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeSystemUid {
    /// UID.
    pub uid: String,
    /// Source of the UID, for people.
    pub told_by: String,
}

/// Reason why nothing may be written to a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Danger that allows the write all the same, if there is one.
    pub danger: Option<Danger>,
    /// Reason of the refusal.
    pub cause: String,
    /// Remedy for the operator.
    pub remedy: String,
}

impl ClusterFacts {
    /// Collects the facts from `points` and from the objects in `spool`.
    #[must_use]
    pub fn of<'p>(
        points: impl IntoIterator<Item = &'p RestorePoint>,
        spool: Option<&ObjectSpool>,
    ) -> Self {
        let mut facts = Self::default();
        for point in points {
            let id = &point.entry.id;
            if let Some(kubernetes) = &point.manifest.kubernetes {
                facts.add(&kubernetes.uid, format!("the API server, in {id}"));
            }
            if let Some(uid) = &point.manifest.lineage.kube_system_uid {
                facts.add(uid, format!("the lineage of {id}"));
            }
        }
        if let Some(uid) = spool.and_then(own_uid) {
            facts.add(&uid, "the object namespaces/kube-system".to_owned());
        }
        facts
    }

    fn add(&mut self, uid: &str, told_by: String) {
        let known = self.kube_system.iter().any(|w| w.uid == uid);
        if !known && !uid.is_empty() {
            let uid = uid.to_owned();
            self.kube_system.push(KubeSystemUid { uid, told_by });
        }
    }

    /// Returns why nothing may be written to the cluster whose `kube-system` has this UID. With a step on
    /// `etcd` the target is the cluster that was just restored, and no other cluster is ever allowed.
    #[must_use]
    pub fn refuse(&self, mode: Mode, etcd: bool, uid: &str) -> Option<Refusal> {
        let same = |w: &&KubeSystemUid| w.uid == uid;
        if self.kube_system.is_empty() {
            return Some(Refusal {
                danger: Some(Danger::UnknownCluster),
                cause: format!(
                    "it is not known which cluster the restore point is from, so it cannot be \
                     compared with this one (kube-system {uid})"
                ),
                remedy:
                    "restore from a restore point that has objects, or an etcd snapshot with the \
                     namespace kube-system"
                        .to_owned(),
            });
        }
        match mode {
            Mode::Rebuild => self.kube_system.iter().find(same).map(|witness| Refusal {
                danger: None,
                cause: format!(
                    "this is the cluster that the restore point is from: its kube-system has UID \
                     {uid}, according to {}",
                    witness.told_by
                ),
                remedy: "give the kubeconfig of the fresh cluster, or plan with `--mode in-place`"
                    .to_owned(),
            }),
            Mode::InPlace => {
                let other = self.kube_system.iter().find(|w| !same(w))?;
                Some(Refusal {
                    danger: (!etcd).then_some(Danger::OtherLineage),
                    cause: format!(
                        "it is another cluster, not the restore point's: its kube-system has UID \
                         {uid}, the captured one had {}, according to {}",
                        other.uid, other.told_by
                    ),
                    remedy: if etcd {
                        "give the kubeconfig of the cluster whose etcd is restored"
                    } else {
                        "give the kubeconfig of the right cluster, or plan with `--mode rebuild`"
                    }
                    .to_owned(),
                })
            }
        }
    }

    /// Formats the UIDs for people.
    #[must_use]
    pub fn shown(&self) -> String {
        let uids: Vec<&str> = self.kube_system.iter().map(|w| w.uid.as_str()).collect();
        if uids.is_empty() {
            return "unknown".to_owned();
        }
        uids.join(", ")
    }
}

impl Refusal {
    /// Whether the operator allowed it by name.
    #[must_use]
    pub fn is_allowed(&self, allow: &BTreeSet<Danger>) -> bool {
        self.danger.is_some_and(|danger| allow.contains(&danger))
    }

    /// Returns the refusal as a finding about the API server at `server`.
    #[must_use]
    pub fn finding(self, server: &str, allow: &BTreeSet<Danger>) -> Finding {
        let hint = self.hint();
        Finding::new(
            if self.is_allowed(allow) {
                Severity::Warning
            } else {
                Severity::Error
            },
            server,
            self.cause,
            hint,
        )
    }

    /// Returns the remedy, with the `--allow` name that permits the write.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.danger {
            Some(danger) => format!(
                "{}; `--allow {}` continues anyway",
                self.remedy,
                danger.name()
            ),
            None => self.remedy.clone(),
        }
    }
}

/// Checks that `plan` may write to `target`. Nothing is written before this check succeeds.
///
/// # Errors
/// [`RecoverError::WrongCluster`] with the difference.
pub fn admit(plan: &Plan, target: &KubeTarget) -> Result<(), RecoverError> {
    admitted(plan, target.uid(), target.server())
}

/// Makes the same check as [`admit`] for the cluster that answered.
///
/// # Errors
/// As [`admit`].
pub fn admit_answer(plan: &Plan, answer: &Target) -> Result<(), RecoverError> {
    admitted(plan, &answer.uid, &answer.server)
}

fn admitted(plan: &Plan, uid: &str, server: &str) -> Result<(), RecoverError> {
    let refused = |cause: String, remedy: String| RecoverError::WrongCluster {
        server: server.to_owned(),
        cause,
        remedy,
    };
    if let Some(was) = plan.target.as_ref().filter(|was| was.uid != uid) {
        let cause = format!(
            "the plan is for the cluster at {} (kube-system {}), and this is {server} (kube-system \
             {uid})",
            was.server, was.uid
        );
        let remedy =
            "give the kubeconfig of the cluster that was planned for, or plan for this one";
        return Err(refused(cause, remedy.to_owned()));
    }
    let refusal = plan
        .cluster_facts
        .refuse(plan.mode, plan.has(Step::Etcd), uid)
        .filter(|refusal| !refusal.is_allowed(&plan.options.allow));
    match refusal {
        None => Ok(()),
        Some(refusal) => Err(refused(refusal.cause.clone(), refusal.hint())),
    }
}

/// Returns the UID of `kube-system` among the objects, if they contain it.
pub fn own_uid(spool: &ObjectSpool) -> Option<String> {
    let path = ObjectPath {
        resource: "namespaces".into(),
        namespace: None,
        name: "kube-system".to_owned(),
    };
    spool.entry(spool.by_path(&path)?)?.uid.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(uids: &[&str]) -> ClusterFacts {
        let mut facts = ClusterFacts::default();
        for uid in uids {
            facts.add(uid, format!("test {uid}"));
        }
        facts
    }

    fn danger(facts: &ClusterFacts, mode: Mode, etcd: bool, uid: &str) -> Option<Option<Danger>> {
        facts.refuse(mode, etcd, uid).map(|refusal| refusal.danger)
    }

    #[test]
    fn what_is_restored_in_place_goes_into_its_own_cluster_alone() {
        let (a, place) = (facts(&["a"]), Mode::InPlace);
        assert_eq!(danger(&a, place, false, "a"), None);
        assert_eq!(danger(&a, place, true, "a"), None);
        let other = Some(Some(Danger::OtherLineage));
        assert_eq!(danger(&a, place, false, "b"), other);
        // The cluster that was just restored is known: another cluster is never allowed.
        assert_eq!(danger(&a, place, true, "b"), Some(None));
        // Of two UIDs that disagree, one belongs to another cluster.
        assert_eq!(danger(&facts(&["a", "b"]), place, false, "a"), other);
    }

    #[test]
    fn a_rebuild_goes_into_any_cluster_but_the_captured_one() {
        let (a, mode) = (facts(&["a"]), Mode::Rebuild);
        assert_eq!(danger(&a, mode, false, "b"), None);
        assert_eq!(danger(&a, mode, false, "a"), Some(None));
        assert_eq!(danger(&facts(&["b", "a"]), mode, false, "a"), Some(None));
    }

    #[test]
    fn where_nothing_is_known_only_a_name_lets_it_in() {
        let none = facts(&[""]);
        for (mode, etcd) in [
            (Mode::InPlace, false),
            (Mode::InPlace, true),
            (Mode::Rebuild, false),
        ] {
            let refusal = none.refuse(mode, etcd, "b").unwrap();
            assert!(refusal.hint().contains("--allow unknown-cluster"));
            assert!(!refusal.is_allowed(&[Danger::OtherLineage].into()));
            assert!(refusal.is_allowed(&[Danger::UnknownCluster].into()));
        }
    }
}
