//! Output of `restore etcd`.

use backup_cli::exit::Exit;
use backup_cli::findings::{self, Finding};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use cluster_restore::etcd::{EtcdPlan, NodeJoin, NodeRole, Restart, RestartKind, RestoredEtcd};
use serde::Serialize;

use super::printed;

/// Plan for a person.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct EtcdPlanReport<'a>(&'a EtcdPlan);

impl<'a> EtcdPlanReport<'a> {
    pub(super) fn of(plan: &'a EtcdPlan) -> Self {
        Self(plan)
    }
}

impl Report for EtcdPlanReport<'_> {
    fn page(&self, page: &mut Page) {
        let plan = self.0;
        let snapshot = &plan.snapshot;
        let from = snapshot.restore_point.as_ref();
        page.fields([
            ("Cluster", plan.name().to_owned()),
            ("Onto node", plan.target.clone()),
            (
                "Restore point",
                from.map_or_else(|| "a file".to_owned(), ToString::to_string),
            ),
            (
                "Snapshot",
                format!(
                    "{}, revision {}, etcd {}",
                    human::bytes(snapshot.bytes),
                    snapshot.revision,
                    snapshot.etcd_version.as_deref().unwrap_or("not known")
                ),
            ),
        ]);
        page.heading("Nodes");
        let rows = plan.nodes.iter().map(|node| {
            let role = match node.role {
                NodeRole::ControlPlane => "control plane",
                NodeRole::Worker => "worker",
                NodeRole::Unknown => "not known",
            };
            let state = node.etcd.as_ref().map(|etcd| etcd.state.clone());
            let data = node
                .data_empty
                .map(|empty| if empty { "no" } else { "yes" });
            let time = node
                .time_in_sync
                .map(|sync| if sync { "yes" } else { "no" });
            let unknown = || "-".to_owned();
            [
                node.node.clone(),
                role.to_owned(),
                node.talos_version.clone().unwrap_or_else(unknown),
                state.unwrap_or_else(unknown),
                data.unwrap_or("-").to_owned(),
                time.unwrap_or("-").to_owned(),
            ]
        });
        page.table(
            ["NODE", "ROLE", "TALOS", "ETCD", "DATA", "CLOCK IN SYNC"],
            rows,
        );
        let found = printed(plan);
        if !found.is_empty() {
            page.heading("Findings");
            findings::table(page, &found);
        }
    }
}

/// Printed result of `restore etcd`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EtcdRestoreReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_point: Option<String>,
    cluster: String,
    #[serde(flatten)]
    etcd: RestoredEtcd,
    others: Vec<NodeJoin>,
    restarts: Vec<Restart>,
    findings: Vec<Finding>,
}

impl EtcdRestoreReport {
    pub(super) fn new(
        plan: &EtcdPlan,
        etcd: RestoredEtcd,
        others: Vec<NodeJoin>,
        restarts: Vec<Restart>,
    ) -> Self {
        let warnings = plan.warnings.iter().map(Finding::from);
        Self {
            restore_point: plan
                .snapshot
                .restore_point
                .as_ref()
                .map(ToString::to_string),
            cluster: plan.name().to_owned(),
            etcd,
            others,
            restarts,
            findings: warnings.collect(),
        }
    }

    /// Returns the exit code. Etcd is back; a failure of the rest makes the result partial.
    pub(super) fn exit(&self) -> Exit {
        let all_joined = self.others.iter().all(|other| other.joined);
        let failed = self
            .restarts
            .iter()
            .any(|restart| restart.done == Some(false));
        if all_joined && !failed {
            Exit::Complete
        } else {
            Exit::Partial
        }
    }
}

impl Report for EtcdRestoreReport {
    fn page(&self, page: &mut Page) {
        let etcd = &self.etcd;
        page.fields([
            ("Cluster", self.cluster.clone()),
            ("Node", etcd.node.clone()),
            (
                "Revision",
                format!(
                    "{} (the snapshot's is {})",
                    etcd.revision, etcd.snapshot_revision
                ),
            ),
            (
                "Member",
                format!("{} (etcd {})", etcd.member_id, etcd.etcd_version),
            ),
        ]);
        if etcd.already {
            page.line("It was up already with the data of this restore; there was nothing to do.");
        }
        if !self.others.is_empty() {
            page.heading("Other control plane nodes");
            let rows = self.others.iter().map(|other| {
                let state = other.etcd.as_ref().map(|etcd| etcd.state.clone());
                [
                    other.node.clone(),
                    if other.joined { "yes" } else { "NO" }.to_owned(),
                    state.unwrap_or_else(|| "-".to_owned()),
                    other.remedy.clone().unwrap_or_default(),
                ]
            });
            page.table(["NODE", "JOINED", "ETCD", "REMEDY"], rows);
        }
        page.heading("etcd went back in time, so these must restart");
        let rows = self.restarts.iter().map(|restart| {
            let kind = match restart.kind {
                RestartKind::Kubelet => "kubelet",
                RestartKind::ControlPlane => "controller manager, scheduler",
                RestartKind::Controllers => "controllers",
            };
            let done = match restart.done {
                Some(true) => "done".to_owned(),
                Some(false) => format!("FAILED: {}", restart.why_not.as_deref().unwrap_or("")),
                None => "yours to do".to_owned(),
            };
            [
                restart.node.clone().unwrap_or_else(|| "-".to_owned()),
                kind.to_owned(),
                done,
                restart.command.clone(),
            ]
        });
        page.table(["NODE", "WHAT", "STATE", "COMMAND"], rows);
    }
}
