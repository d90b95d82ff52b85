//! Tenants now against tenants as a restore point knew them: the last step of a restore, and a
//! check for every day.

mod data;
mod schemas;

#[cfg(test)]
mod tests;

pub use data::{DataState, Home, Looked, Wanted, look_into};
pub use schemas::{SchemaDifference, compare_schemas};

use crate::digest::Digest;
use crate::format::export::TenantFacts;
use crate::format::manifest::Severity;

/// One tenant, compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantCheck {
    /// `NAMESPACE/NAME` of the TenantCluster.
    pub tenant: String,
    /// Whether its API server answered and said that it is ready.
    pub connected: bool,
    /// Its API server's version, if it told.
    pub version: Option<String>,
    /// Worker nodes that are ready, if it told.
    pub nodes_ready: Option<u64>,
    /// What differs; empty if it is as it was.
    pub differences: Vec<Difference>,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How much it matters.
    pub severity: Severity,
    /// What was and what is.
    pub what: String,
    /// What it means for the tenant, and what to do.
    pub remedy: &'static str,
}

impl TenantCheck {
    /// The worst of the differences.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.differences.iter().map(|d| d.severity).max()
    }
}

/// Compares each tenant of `before` with its like of `now`; tenants that are new are told too. In
/// the order of their names.
#[must_use]
pub fn compare(before: &[TenantFacts], now: &[TenantFacts]) -> Vec<TenantCheck> {
    let like = |a: &TenantFacts, b: &TenantFacts| a.namespace == b.namespace && a.name == b.name;
    let mut checks: Vec<TenantCheck> = before
        .iter()
        .map(|old| match now.iter().find(|new| like(old, new)) {
            Some(new) => check(old, new),
            None => gone(old),
        })
        .collect();
    let new = now
        .iter()
        .filter(|new| !before.iter().any(|old| like(old, new)));
    checks.extend(new.map(added));
    checks.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    checks
}

fn named(tenant: &TenantFacts) -> String {
    format!("{}/{}", tenant.namespace, tenant.name)
}

fn gone(old: &TenantFacts) -> TenantCheck {
    TenantCheck {
        tenant: named(old),
        connected: false,
        version: None,
        nodes_ready: None,
        differences: vec![Difference {
            severity: Severity::Error,
            what: "its TenantCluster is not there".to_owned(),
            remedy: "bring it back from the restore point, with its status",
        }],
    }
}

fn added(new: &TenantFacts) -> TenantCheck {
    TenantCheck {
        differences: vec![Difference {
            severity: Severity::Info,
            what: "it is not in the restore point".to_owned(),
            remedy: "nothing, if it was made since then",
        }],
        ..answered(new)
    }
}

fn answered(now: &TenantFacts) -> TenantCheck {
    TenantCheck {
        tenant: named(now),
        connected: now.answer.ready == Some(true),
        version: now.answer.version.clone(),
        nodes_ready: now.answer.nodes_ready,
        differences: Vec::new(),
    }
}

fn check(old: &TenantFacts, new: &TenantFacts) -> TenantCheck {
    let mut check = answered(new);
    connection(old, new, &mut check.differences);
    identity(old, new, &mut check.differences);
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    let mut changed = |severity, what: &str, a: &Option<String>, b: &Option<String>, remedy| {
        if a.is_some() && a != b {
            check.differences.push(Difference {
                severity,
                what: format!("{what} was {} and is {}", told(a), told(b)),
                remedy,
            });
        }
    };
    changed(
        Severity::Warning,
        "the endpoint",
        &old.endpoint,
        &new.endpoint,
        "workers and kubeconfigs that know the old address lose their way: see the Service",
    );
    changed(
        Severity::Warning,
        "the phase",
        &old.phase,
        &new.phase,
        "see the TenantCluster's conditions",
    );
    let version = |t: &TenantFacts| t.answer.version.clone();
    if check.connected {
        changed(
            Severity::Warning,
            "the version of its API server",
            &version(old),
            &version(new),
            "nothing, if it was upgraded since then",
        );
    }
    if let (Some(was), Some(is)) = (old.answer.nodes_ready, new.answer.nodes_ready)
        && is < was
    {
        check.differences.push(Difference {
            severity: Severity::Warning,
            what: format!("{was} worker nodes were ready and {is} are"),
            remedy: "wait some minutes for kubelets to come back, then look at the Machines",
        });
    }
    check
}

/// Whether it can be reached as before.
fn connection(old: &TenantFacts, new: &TenantFacts, differences: &mut Vec<Difference>) {
    let (was, is) = (old.answer.ready, new.answer.ready);
    if is == Some(true) {
        return;
    }
    let why = new
        .answer
        .failure
        .as_deref()
        .unwrap_or("it says it is not ready");
    differences.push(if was == Some(true) {
        Difference {
            severity: Severity::Error,
            what: format!("it was connected and is not: {why}"),
            remedy: "see its control plane's Pods, its DataStore, and its kubeconfig Secret",
        }
    } else {
        Difference {
            severity: Severity::Info,
            what: format!("it is not connected, and was not before: {why}"),
            remedy: "nothing that this restore point could bring back",
        }
    });
}

/// Whether it is the same tenant: namespace, authority and data.
fn identity(old: &TenantFacts, new: &TenantFacts, differences: &mut Vec<Difference>) {
    let mut differs = |what: String, remedy| {
        differences.push(Difference {
            severity: Severity::Error,
            what,
            remedy,
        });
    };
    if let Some(was) = &old.tenant_namespace
        && old.tenant_namespace != new.tenant_namespace
    {
        let is = new.tenant_namespace.as_deref().unwrap_or("nothing");
        differs(
            format!("its namespace was {was} and is {is}"),
            "stop butler-controller now: it makes a second control plane; then restore the status",
        );
    }
    let authority = |t: &TenantFacts| -> Option<Digest> { t.kubeconfig.as_ref()?.ca_sha256 };
    if let (Some(was), Some(is)) = (authority(old), authority(new))
        && was != is
    {
        differs(
            format!("its authority was {was} and is {is}"),
            "every old kubeconfig, token and worker is refused: restore its Secret `…-ca`",
        );
    }
    let data = |t: &TenantFacts| {
        let plane = t.control_plane.as_ref()?;
        Some((plane.datastore.clone(), plane.schema.clone()))
    };
    if let (Some(was), Some(is)) = (data(old), data(new))
        && was != is
    {
        let text = |(store, schema): (Option<String>, String)| {
            format!(
                "{schema} in {}",
                store.as_deref().unwrap_or("the default DataStore")
            )
        };
        differs(
            format!("its data was {} and is {}", text(was), text(is)),
            "it looks at other data, empty or another tenant's: pause its TenantControlPlane and \
             restore the status",
        );
    }
}
