//! Check of tenants against a restore point: the last step of a restore, and a check for every day.
//!
//! Each tenant is checked in several aspects. An aspect that cannot be checked is reported as not checked,
//! with the reason, and never as good.

mod compare;
mod data;
mod schemas;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::compare::compare;
pub use self::data::{DataQuery, DataState, DatastoreRoutes, DatastoreSurvey, survey_datastores};
pub use self::schemas::{SchemaDifference, compare_schemas};
use backup_core::clock::Clock;
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::{Manifest, Severity};
use cluster_client::kube::datastores::{Datastore, datastores};
use cluster_client::kube::{KubeExport, TenantState};

/// DataStore of control planes that name none, as Steward's chart calls it.
pub(crate) const DEFAULT_DATASTORE: &str = "default";

/// Aspect of a tenant that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// TenantCluster, and the namespace that it names.
    Tenant,
    /// Whether the kubeconfig exists and can be used.
    Kubeconfig,
    /// Certificate authority in the kubeconfig.
    Authority,
    /// Validity of the certificates in the kubeconfig.
    Certificate,
    /// Address of the API server.
    Endpoint,
    /// Readiness that the API server reports.
    Readyz,
    /// Version of the API server.
    Version,
    /// Worker nodes.
    Nodes,
    /// TenantControlPlane.
    ControlPlane,
    /// Cluster of Cluster API.
    Cluster,
    /// Whether the DataStore exists and can be read.
    Datastore,
    /// The tenant's own data in the DataStore.
    Data,
}

impl Aspect {
    /// All aspects, in the order in which a restore brings them back.
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

    /// Returns the word for the aspect.
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

/// Step of a restore that most likely causes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceCause {
    /// The objects: `restore resources`.
    Resources,
    /// The DataStore's etcd: `restore datastore`.
    Datastore,
    /// No step: time, or something outside of the management cluster.
    Elsewhere,
}

impl DifferenceCause {
    /// Returns the word for the step.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resources => "resources",
            Self::Datastore => "datastore",
            Self::Elsewhere => "none",
        }
    }
}

/// Result of comparing one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantCheck {
    /// `NAMESPACE/NAME` of the TenantCluster.
    pub tenant: String,
    /// Whether its API server answered and reported that it is ready.
    pub connected: bool,
    /// Version of its API server, if the server reported it.
    pub version: Option<String>,
    /// Number of ready worker nodes, if the API server reported it.
    pub nodes_ready: Option<u64>,
    /// Number of keys of its own data, if they were counted.
    pub keys: Option<u64>,
    /// Differences; empty if the tenant is as it was.
    pub differences: Vec<Difference>,
    /// Aspects that were not checked, and why.
    pub not_checked: BTreeMap<Aspect, String>,
}

/// Difference between a tenant and the restore point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Severity.
    pub severity: Severity,
    /// Aspect in which it was found.
    pub aspect: Aspect,
    /// Earlier and current state.
    pub what: String,
    /// Consequence for the tenant, and what to do.
    pub remedy: String,
    /// Most likely cause.
    pub from: DifferenceCause,
}

/// Result of the check of one aspect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AspectOutcome {
    /// It is as it was.
    Ok,
    /// There is a difference for information only.
    Info,
    /// It differs and should be checked.
    Differs,
    /// It is not as it must be.
    Failed,
    /// It was not checked.
    NotChecked,
}

impl TenantCheck {
    /// Returns the severity of the worst difference.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.differences.iter().map(|d| d.severity).max()
    }

    /// Returns the result for one aspect.
    #[must_use]
    pub fn outcome(&self, aspect: Aspect) -> AspectOutcome {
        let of = self.differences.iter().filter(|d| d.aspect == aspect);
        match of.map(|d| d.severity).max() {
            Some(Severity::Error) => AspectOutcome::Failed,
            Some(Severity::Warning) => AspectOutcome::Differs,
            _ if self.not_checked.contains_key(&aspect) => AspectOutcome::NotChecked,
            Some(Severity::Info) => AspectOutcome::Info,
            None => AspectOutcome::Ok,
        }
    }
}

/// Current data of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantData {
    /// Whether its DataStore exists; absent if that is not known.
    pub datastore: Option<bool>,
    /// State of the data.
    pub state: DataState,
}

/// Queries every tenant and its DataStore, and compares them with `manifest`.
pub async fn check(
    export: &KubeExport,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> Vec<TenantCheck> {
    let before = manifest.kubernetes.as_ref();
    let before = before.map(|k| k.tenants.as_slice()).unwrap_or_default();
    let ((now, _), stores) = tokio::join!(
        export.tenant_states(clock.as_ref()),
        datastores(export.client(), clock.now()),
    );
    let stores = stores.map_err(|error| data::error_text(&error));
    let data = data_of(before, &now, stores, manifest, clock).await;
    compare(before, &now, &data, clock.now())
}

/// Returns the data of each tenant that has a control plane, by `NAMESPACE/NAME`.
async fn data_of(
    before: &[TenantFacts],
    now: &[TenantState],
    stores: Result<Vec<Datastore>, String>,
    manifest: &Manifest,
    clock: &Arc<dyn Clock>,
) -> BTreeMap<String, TenantData> {
    let planes = now.iter().filter_map(|tenant| {
        let facts = &tenant.facts;
        let old = before.iter().find(|old| named(old) == named(facts));
        Some((named(facts), wanted(old, facts)?))
    });
    let planes: Vec<(String, DataQuery)> = planes.collect();
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
    let homes = stores.into_iter().map(|store| DatastoreRoutes {
        name: store.name.clone(),
        ways: vec![store],
    });
    let homes: Vec<DatastoreRoutes> = homes.collect();
    let looked_for: Vec<DataQuery> = planes.iter().map(|(_, plane)| plane.clone()).collect();
    let looked = survey_datastores(&homes, &looked_for, clock).await;
    let judged = planes.into_iter().map(|(tenant, plane)| {
        let data = TenantData {
            datastore: Some(homes.iter().any(|home| home.name == plane.datastore)),
            state: looked.state(&plane, manifest),
        };
        (tenant, data)
    });
    judged.collect()
}

/// Returns where the data of a tenant is, if the tenant has a control plane.
fn wanted(old: Option<&TenantFacts>, new: &TenantFacts) -> Option<DataQuery> {
    let plane = new.control_plane.as_ref()?;
    let namespace = new.tenant_namespace.as_deref().unwrap_or_default();
    let store = plane.datastore.as_deref().unwrap_or(DEFAULT_DATASTORE);
    let ran = |old: &TenantFacts| {
        let status = old.control_plane.as_ref().and_then(|p| p.status.as_ref());
        old.answer.ready == Some(true) || status.is_some()
    };
    Some(DataQuery {
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
