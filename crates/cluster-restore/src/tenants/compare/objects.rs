//! Comparison of a tenant's objects: its TenantControlPlane and its Cluster.

use crate::tenants::{Aspect, DifferenceCause, TenantCheck};
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::Severity;
use cluster_client::kube::{TenantState, UnmetCondition};

/// Value that a restore writes into the pause annotation.
const OURS: &str = "butler-restore";

pub(super) fn control_plane(old: &TenantFacts, new: &TenantState, check: &mut TenantCheck) {
    const HERE: Aspect = Aspect::ControlPlane;
    let Some(facts) = &new.facts.control_plane else {
        if old.control_plane.is_some() {
            check.differs(
                Severity::Error,
                HERE,
                DifferenceCause::Resources,
                "its TenantControlPlane is not there",
                "bring it back from the restore point, with its status and its Secrets before it",
            );
        } else {
            check.unseen(HERE, "it has no TenantControlPlane, and had none");
        }
        return;
    };
    // A restore point keeps only the facts of a control plane.
    let view = &new.plane.clone().unwrap_or_default();
    if view.deleting {
        check.differs(
            Severity::Error,
            HERE,
            DifferenceCause::Resources,
            "its TenantControlPlane is being deleted",
            "keep it paused: without the annotation its data is deleted. `restore-cli runbook` \
             says what to do, in its part on control planes that are Terminating",
        );
    }
    if let Some(value) = &view.paused {
        let remedy = if value == OURS {
            "a restore paused it and has not ended: `restore-cli status`, then `restore-cli \
             resume`"
        } else {
            "if it should not be paused: kubectl annotate tenantcontrolplane NAME \
             steward.butlerlabs.dev/paused-"
        };
        let what = format!("it is paused ({value}), and Steward does nothing for it");
        check.differs(
            Severity::Info,
            HERE,
            DifferenceCause::Resources,
            what,
            remedy,
        );
    }
    let was = old
        .control_plane
        .as_ref()
        .and_then(|plane| plane.status.as_ref());
    let is = facts.status.as_deref();
    if is != Some("Ready") && was.is_some() && was.map(String::as_str) != is {
        let text = |status: Option<&str>| status.unwrap_or("nothing").to_owned();
        check.differs(
            Severity::Warning,
            HERE,
            DifferenceCause::Resources,
            format!(
                "its TenantControlPlane was {} and is {}",
                text(was.map(String::as_str)),
                text(is)
            ),
            "see `kubectl describe tenantcontrolplane`, and its Pods",
        );
    }
    let versions = (view.wanted_version.as_ref(), facts.version.as_ref());
    if let (Some(wanted), Some(has)) = versions
        && wanted != has
        && is != Some("Upgrading")
    {
        check.differs(
            Severity::Warning,
            HERE,
            DifferenceCause::Resources,
            format!("its TenantControlPlane is to be {wanted} and is {has}"),
            "wait for Steward; if it waits for nodes, its status was captured in an upgrade",
        );
    }
    let what = "TenantControlPlane";
    unmet(what, HERE, &view.unmet, view.paused.is_some(), check);
}

pub(super) fn cluster(new: &TenantState, check: &mut TenantCheck) {
    const HERE: Aspect = Aspect::Cluster;
    let Some(view) = &new.cluster else {
        return check.unseen(HERE, "no Cluster of its name is in its namespace");
    };
    if view.deleting {
        check.differs(
            Severity::Error,
            HERE,
            DifferenceCause::Resources,
            "its Cluster is being deleted",
            "see its finalizers before anything else: its Machines are real",
        );
    }
    if view.paused {
        let remedy = "if a restore has not ended: `restore-cli resume`; else see who paused it";
        let what = "its Cluster is paused, and Cluster API does nothing for it";
        check.differs(
            Severity::Info,
            HERE,
            DifferenceCause::Resources,
            what,
            remedy,
        );
    }
    let phase = view.phase.as_deref();
    if let Some(phase) = phase.filter(|phase| !["Provisioned", "Deleting"].contains(phase)) {
        check.differs(
            Severity::Warning,
            HERE,
            DifferenceCause::Resources,
            format!("its Cluster is {phase}"),
            "see `kubectl describe cluster`, and the controllers of Cluster API",
        );
    }
    unmet("Cluster", HERE, &view.unmet, view.paused, check);
}

/// Reports conditions; those of a paused object are for information only.
fn unmet(
    what: &str,
    aspect: Aspect,
    unmet: &[UnmetCondition],
    paused: bool,
    check: &mut TenantCheck,
) {
    for condition in unmet {
        let UnmetCondition {
            condition,
            status,
            why,
        } = condition;
        let severity = if paused {
            Severity::Info
        } else {
            Severity::Warning
        };
        let why = if why.is_empty() {
            "without a reason"
        } else {
            why
        };
        check.differs(
            severity,
            aspect,
            DifferenceCause::Resources,
            format!("condition {condition} of its {what} is {status}: {why}"),
            "wait some minutes for its controller; then see what it says",
        );
    }
}
