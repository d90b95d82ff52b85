//! Targets of a restore: the cluster and the nodes that its kubeconfig and talosconfig address now, as a person
//! is shown before anything is written.

use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use cluster_client::kube::target::KubeTarget;
use cluster_restore::etcd::{EtcdPlan, NodeRole};
use cluster_restore::plan::{Mode, Plan, Target, admit_answer};

use super::{RestoreContext, TargetFlags, etcd, failed, target_of};
use crate::flags::ReadFlags;

/// Largest number of nodes that are named in a line.
const NAMED: usize = 8;

/// Targets of a restore; see the module.
pub(crate) struct RestoreTargets {
    /// Cluster that answers at the kubeconfig's address, or why none does.
    api: Result<Target, String>,
    /// Names of its nodes; `None` if they cannot be listed.
    nodes: Option<Vec<String>>,
    /// Nodes that get etcd.
    etcd: Option<EtcdPlan>,
}

impl RestoreTargets {
    /// Checks everything that `plan` is going to write to, and the nodes if `etcd` is still to come. Changes
    /// nothing.
    ///
    /// # Errors
    /// Fails when a cluster answers that the plan may not write into, or the nodes are not those of the plan.
    pub(crate) async fn check(
        context: &RestoreContext,
        (plan, etcd): (&Plan, Option<&EtcdPlan>),
        target: Option<&KubeTarget>,
        talos: (&TargetFlags, &ReadFlags),
        frame: &Frame,
    ) -> Result<Self, Failure> {
        let mut targets = match target {
            Some(target) => Self::of(target, frame).await?,
            None => Self {
                api: context.answer(frame).await?,
                nodes: None,
                etcd: None,
            },
        };
        if let Ok(answer) = &targets.api {
            admit_answer(plan, answer).map_err(failed)?;
        }
        if let Some(planned) = etcd {
            let now = etcd::now(planned, &plan.options.allow, talos, frame);
            targets.etcd = Some(frame.or_cancelled(now).await?);
        }
        Ok(targets)
    }

    /// Returns the cluster `target` with its nodes.
    ///
    /// # Errors
    /// Fails when a person ends it.
    pub(crate) async fn of(target: &KubeTarget, frame: &Frame) -> Result<Self, Failure> {
        let mut names = Vec::new();
        let list = async {
            let kind = "nodes".into();
            let listed = target.each(&kind, |path, _| names.push(path.name)).await;
            Ok(listed.is_ok())
        };
        let listed = frame.or_cancelled(list).await?;
        Ok(Self {
            api: Ok(target_of(target)),
            nodes: listed.then_some(names),
            etcd: None,
        })
    }

    /// Describes the present connections, and what the plan expects, a line each.
    pub(crate) fn describe(&self, plan: &Plan) -> String {
        let mut lines = Vec::new();
        lines.push(match &self.api {
            Ok(api) => format!(
                "  Kubernetes API now: {} ({}), kube-system {}, {}",
                api.server,
                api.version,
                api.uid,
                self.nodes.as_deref().map_or_else(
                    || "its nodes are not known".to_owned(),
                    |names| named("nodes", names)
                )
            ),
            Err(why) => format!("  Kubernetes API now: does not answer: {why}"),
        });
        if let Some(etcd) = &self.etcd {
            let is = |role: NodeRole| etcd.nodes.iter().filter(move |node| node.role == role);
            let planes: Vec<String> = is(NodeRole::ControlPlane).map(|n| n.node.clone()).collect();
            lines.push(format!(
                "  Talos nodes now: cluster {}, context {}, {}; etcd goes onto {}",
                etcd.cluster.name.as_deref().unwrap_or("not known"),
                etcd.cluster.context,
                named("control plane nodes", &planes),
                etcd.target
            ));
        }
        lines.push(format!(
            "  Restore point: cluster {}, kube-system {}, {}",
            plan.cluster,
            plan.cluster_facts.shown(),
            match plan.mode {
                Mode::InPlace => "restored in place: it must be the same cluster",
                Mode::Rebuild => "rebuilt: it must be another, fresh cluster",
            }
        ));
        lines.join("\n")
    }
}

/// Formats `3 nodes: a, b, c`, or so.
fn named(what: &str, names: &[String]) -> String {
    if names.is_empty() {
        return format!("no {what}");
    }
    let listed: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = if names.len() > NAMED { ", …" } else { "" };
    format!("{} {what}: {}{more}", names.len(), listed.join(", "))
}
