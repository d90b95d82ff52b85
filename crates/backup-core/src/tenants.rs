//! Tenants now against tenants as a restore point knew them: the last step of a restore, and a
//! check for every day.
//!
//! Each tenant is looked at from several sides. What cannot be looked at is not checked, with the
//! reason; it is never called good.

mod compare;
mod data;
mod schemas;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::compare::compare;
pub use self::data::{DataState, Home, Looked, Wanted, look_into};
pub use self::schemas::{SchemaDifference, compare_schemas};
use crate::clock::Clock;
use crate::format::export::TenantFacts;
use crate::format::manifest::{Manifest, Severity};
use crate::source::kube::datastores::{Datastore, datastores};
use crate::source::kube::{KubeExport, TenantNow};

/// The DataStore of control planes that name none, as Steward's chart calls it.
pub(crate) const DEFAULT_DATASTORE: &str = "default";

/// A side that a tenant is looked at from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Its TenantCluster, and the namespace that it names.
    Tenant,
    /// Its kubeconfig is there and can be used.
    Kubeconfig,
    /// The authority in its kubeconfig.
    Authority,
    /// How long certificates in its kubeconfig are valid.
    Certificate,
    /// The address of its API server.
    Endpoint,
    /// What its API server says of itself.
    Readyz,
    /// Its API server's version.
    Version,
    /// Its workers.
    Nodes,
    /// Its TenantControlPlane.
    ControlPlane,
    /// Its Cluster API Cluster.
    Cluster,
    /// Its DataStore is there and can be looked into.
    Datastore,
    /// Its own data in the DataStore.
    Data,
}

impl Aspect {
    /// All, in the order in which a restore brings them back.
    pub const ALL: [Self; 12] = [
        Self::Tenant,
        Self::Kubeconfig,
        Self::Authority,
        Self::Certificate,
        Self::Endpoint,
        Self::Readyz,
        Self::Version,
        Self::Nodes,
        Self::ControlPlane,
        Self::Cluster,
        Self::Datastore,
        Self::Data,
    ];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::Kubeconfig => "kubeconfig",
            Self::Authority => "authority",
            Self::Certificate => "certificate",
            Self::Endpoint => "endpoint",
            Self::Readyz => "readyz",
            Self::Version => "version",
            Self::Nodes => "nodes",
            Self::ControlPlane => "control-plane",
            Self::Cluster => "cluster",
            Self::Datastore => "datastore",
            Self::Data => "data",
        }
    }
}

/// The step of a restore that a difference most likely comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The objects: `restore resources`.
    Resources,
    /// The DataStore's etcd: `restore datastore`.
    Datastore,
    /// None: time, or what runs outside of the management cluster.
    Elsewhere,
}

impl From {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Datastore => "datastore",
            Self::Elsewhere => "none",
        }
    }
}

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
    /// Keys of its own data, if they were counted.
    pub keys: Option<u64>,
    /// What differs; empty if it is as it was.
    pub differences: Vec<Difference>,
    /// What was not looked at, and why.
    pub not_checked: BTreeMap<Aspect, String>,
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// How much it matters.
    pub severity: Severity,
    /// From which side it was seen.
    pub aspect: Aspect,
    /// What was and what is.
    pub what: String,
    /// What it means for the tenant, and what to do.
    pub remedy: String,
    /// Where it most likely comes from.
    pub from: From,
}

/// What a look from one side gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it was.
    Ok,
    /// Something is worth a word.
    Told,
    /// It differs and wants a look.
    Differs,
    /// It is not as it must be.
    Failed,
    /// It was not looked at.
    NotChecked,
}

impl TenantCheck {
    /// The worst of the differences.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.differences.iter().map(|d| d.severity).max()
    }

    /// What the look from one side gave.
    #[must_use]
    pub fn outcome(&self, aspect: Aspect) -> Outcome {
        let of = self.differences.iter().filter(|d| d.aspect == aspect);
        match of.map(|d| d.severity).max() {
            Some(Severity::Error) => Outcome::Failed,
            Some(Severity::Warning) => Outcome::Differs,
            _ if self.not_checked.contains_key(&aspect) => Outcome::NotChecked,
            Some(Severity::Info) => Outcome::Told,
            None => Outcome::Ok,
        }
    }
}

/// A tenant's data now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantData {
    /// Whether there is such a DataStore; absent if that is not known.
    pub datastore: Option<bool>,
    /// Its data.
    pub state: DataState,
}

/// Asks every tenant and its DataStore, and compares with what `manifest` knew.
pub async fn check(
    export: &KubeExport,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> Vec<TenantCheck> {
    let before = manifest.kubernetes.as_ref();
    let before = before.map(|k| k.tenants.as_slice()).unwrap_or_default();
    let ((now, _), stores) = tokio::join!(
        export.tenants_now(clock.as_ref()),
        datastores(export.client(), clock.now()),
    );
    let stores = stores.map_err(|error| data::told(&error));
    let data = data_of(before, &now, stores, manifest, clock).await;
    compare(before, &now, &data, clock.now())
}

/// The data of each tenant that has a control plane, by `NAMESPACE/NAME`.
async fn data_of(
    before: &[TenantFacts],
    now: &[TenantNow],
    stores: Result<Vec<Datastore>, String>,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> BTreeMap<String, TenantData> {
    let planes = now.iter().filter_map(|tenant| {
        let facts = &tenant.facts;
        let old = before.iter().find(|old| named(old) == named(facts));
        Some((named(facts), wanted(old, facts)?))
    });
    let planes: Vec<(String, Wanted)> = planes.collect();
    let stores = match stores {
        Ok(stores) => stores,
        Err(why) => {
            let unknown = planes.into_iter().map(|(tenant, _)| {
                let state = DataState::NotChecked { why: why.clone() };
                let datastore = None;
                (tenant, TenantData { datastore, state })
            });
            return unknown.collect();
        }
    };
    let homes = stores.into_iter().map(|store| Home {
        name: store.name.clone(),
        ways: vec![store],
    });
    let homes: Vec<Home> = homes.collect();
    let looked_for: Vec<Wanted> = planes.iter().map(|(_, plane)| plane.clone()).collect();
    let looked = look_into(&homes, &looked_for, clock).await;
    let judged = planes.into_iter().map(|(tenant, plane)| {
        let data = TenantData {
            datastore: Some(homes.iter().any(|home| home.name == plane.datastore)),
            state: looked.state(&plane, manifest),
        };
        (tenant, data)
    });
    judged.collect()
}

/// Where the data of a tenant is, if it has a control plane.
fn wanted(old: Option<&TenantFacts>, new: &TenantFacts) -> Option<Wanted> {
    let plane = new.control_plane.as_ref()?;
    let namespace = new.tenant_namespace.as_deref().unwrap_or_default();
    let store = plane.datastore.as_deref().unwrap_or(DEFAULT_DATASTORE);
    let ran = |old: &TenantFacts| {
        let status = old.control_plane.as_ref().and_then(|p| p.status.as_ref());
        old.answer.ready == Some(true) || status.is_some()
    };
    Some(Wanted {
        place: format!("{namespace}/{}", plane.name),
        datastore: store.to_owned(),
        schema: plane.schema.clone(),
        ran: old.is_some_and(ran),
        kube_system_uid: old.and_then(|old| old.answer.kube_system_uid.clone()),
    })
}

fn named(tenant: &TenantFacts) -> String {
    format!("{}/{}", tenant.namespace, tenant.name)
}
