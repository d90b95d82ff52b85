//! Targets of a restore: the cluster and the nodes that its kubeconfig and talosconfig address now, as a person
//! is shown before anything is written.

use cluster_client::kube::target::KubeTarget;

use super::{OrchestrateError, RestoreContext, etcd};
use crate::etcd::{EtcdPlan, NodeRole};
use crate::plan::{Mode, Plan, Target, admit_answer};

/// Largest number of nodes that are named in a line.
const NAMED: usize = 8;

/// Targets of a restore; see the module.
#[derive(Debug, Clone)]
pub struct RestoreTargets {
    /// Cluster that answers at the kubeconfig's address, or why none does.
    pub api: Result<Target, String>,
    /// Names of its nodes; `None` if they cannot be listed.
    pub nodes: Option<Vec<String>>,
    /// Nodes that get etcd.
    pub etcd: Option<EtcdPlan>,
}

impl RestoreTargets {
    /// Checks everything that `plan` is going to write to, and the nodes if `etcd` is still to come. Changes
    /// nothing.
    ///
    /// # Errors
    /// Fails when a cluster answers that the plan may not write into, or the nodes are not those of the plan.
    pub(super) async fn check(
        context: &RestoreContext,
        (plan, etcd): (&Plan, Option<&EtcdPlan>),
        target: Option<&KubeTarget>,
    ) -> Result<Self, OrchestrateError> {
        let mut targets = match target {
            Some(target) => Self::of(context, target).await?,
            None => Self {
                api: context.answer().await?,
                nodes: None,
                etcd: None,
            },
        };
        if let Ok(answer) = &targets.api {
            admit_answer(plan, answer)?;
        }
        if let Some(planned) = etcd {
            let now = etcd::now(context, planned, &plan.options.allow);
            targets.etcd = Some(context.setup.or_cancelled(now).await?);
        }
        Ok(targets)
    }

    /// Returns the cluster `target` with its nodes.
    ///
    /// # Errors
    /// Fails when the restore is cancelled.
    async fn of(context: &RestoreContext, target: &KubeTarget) -> Result<Self, OrchestrateError> {
        let mut names = Vec::new();
        let list = async {
            let kind = "nodes".into();
            let listed = target.each(&kind, |path, _| names.push(path.name)).await;
            Ok(listed.is_ok())
        };
        let listed = context.setup.or_cancelled(list).await?;
        Ok(Self {
            api: Ok(Target::from(target)),
            nodes: listed.then_some(names),
            etcd: None,
        })
    }

    /// Describes the present connections, and what the plan expects, a line each.
    #[must_use]
    pub fn describe(&self, plan: &Plan) -> String {
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
