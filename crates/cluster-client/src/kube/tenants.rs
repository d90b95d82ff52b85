//! Current state of the tenants, with which a restore is compared.
//!
//! A tenant that cannot be reached is a fact of the restore point, not an error of the run.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::StreamExt as _;
use serde::de::DeserializeOwned;

use super::export::KubeExport;
use super::failure::KubeError;
use super::kept_objects::KeptObjectsUse;
use super::kind::Kind;
use super::reader::KindReader;
use super::request::Api;
use backup_core::clock::Clock;
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::Finding;

mod check;
mod cluster;
mod credentials;
mod plane;
mod query;
mod state;

use cluster::{ControlPlane, TenantCluster};
use state::{ClusterViews, ListedCluster};

pub use plane::control_plane;
pub use state::{ClusterView, PlaneView, TenantState, UnmetCondition};

/// Tenants queried at the same time: each holds one connection and one page of nodes.
const PARALLEL: usize = 8;
/// Time limit for reading a tenant's Secrets, and again for its own API, the same as in Butler's check.
const PER_TENANT: Duration = Duration::from_secs(10);
/// Maximum number of tenants. A management cluster has hundreds; each takes 1 KiB in the manifest.
const MAX_TENANTS: usize = 5_000;

const TENANTS: &str = "tenantclusters.butler.butlerlabs.dev";
const CONTROL_PLANES: &str = "tenantcontrolplanes.steward.butlerlabs.dev";
const CLUSTERS: &str = "clusters.cluster.x-k8s.io";

/// Control planes by namespace.
type ControlPlanes = BTreeMap<String, Vec<ControlPlane>>;

impl KubeExport {
    /// Returns the tenants by namespace and name, each queried through its own kubeconfig, and the
    /// findings. Empty if the kind does not exist.
    pub async fn tenants(&self, clock: &dyn Clock) -> (Vec<TenantFacts>, Vec<Finding>) {
        let (tenants, findings) = baseline(self.api(), self.kept(), self.all_kinds(), clock).await;
        let facts = tenants.into_iter().map(|tenant| tenant.facts);
        (facts.collect(), findings)
    }

    /// Does the same as [`KubeExport::tenants`], and adds the state of control planes and Clusters, which no
    /// restore point contains.
    pub async fn tenant_states(&self, clock: &dyn Clock) -> (Vec<TenantState>, Vec<Finding>) {
        let (api, kept, kinds) = (self.api(), self.kept(), self.all_kinds());
        let (mut tenants, mut findings) = baseline(api, kept, kinds, clock).await;
        let (clusters, failed) = list::<ListedCluster>(api, kept, kinds, CLUSTERS).await;
        findings.extend(failed);
        let mut clusters: ClusterViews = clusters.into_iter().map(|c| (c.key, c.view)).collect();
        for tenant in &mut tenants {
            let facts = &tenant.facts;
            let namespace = facts.tenant_namespace.clone().unwrap_or_default();
            tenant.cluster = clusters.remove(&(namespace, facts.name.clone()));
        }
        (tenants, findings)
    }
}

async fn baseline(
    api: &Api,
    kept: Option<&KeptObjectsUse>,
    kinds: &[Kind],
    clock: &dyn Clock,
) -> (Vec<TenantState>, Vec<Finding>) {
    let mut findings = Vec::new();
    let (mut tenants, failed) = list::<TenantCluster>(api, kept, kinds, TENANTS).await;
    findings.extend(failed);
    if tenants.is_empty() {
        return (Vec::new(), findings);
    }
    let (planes, failed) = list::<ControlPlane>(api, kept, kinds, CONTROL_PLANES).await;
    findings.extend(failed);
    let mut by_namespace = ControlPlanes::new();
    for plane in planes {
        let namespace = plane.namespace.clone();
        by_namespace.entry(namespace).or_default().push(plane);
    }
    // A list that started again contains objects twice.
    tenants.sort_by(|a, b| a.metadata.key().cmp(&b.metadata.key()));
    tenants.dedup_by(|a, b| a.metadata.key() == b.metadata.key());

    // Secrets that cannot be read are also a result, and no reason to wait for a minute.
    let api = &api.with_short_retries();
    let (planes, now) = (&by_namespace, clock.now());
    let asked = tenants
        .into_iter()
        .map(|tenant| check::check(api, tenant, planes, now));
    let mut asked: Vec<(TenantState, Vec<Finding>)> = futures::stream::iter(asked)
        .buffer_unordered(PARALLEL)
        .collect()
        .await;
    let key = |tenant: &TenantState| (tenant.facts.namespace.clone(), tenant.facts.name.clone());
    asked.sort_by_key(|(tenant, _)| key(tenant));
    let mut found = Vec::new();
    for (tenant, error_line) in asked {
        found.push(tenant);
        findings.extend(error_line);
    }
    (found, findings)
}

/// Returns the objects of a kind, as far as `T` reads them, and a finding if some are missing.
async fn list<T: DeserializeOwned>(
    api: &Api,
    kept: Option<&KeptObjectsUse>,
    kinds: &[Kind],
    resource: &str,
) -> (Vec<T>, Option<Finding>) {
    let mut found = Vec::new();
    let Some(kind) = kinds.iter().find(|k| k.resource.to_string() == resource) else {
        return (found, None);
    };
    let mut unreadable = 0_usize;
    let mut reading = KindReader::begin(api, kind, None, kept).await;
    let failed = loop {
        match reading.next().await {
            Ok(Some(page)) => {
                for item in page.items {
                    match serde_json::from_slice(&item) {
                        Ok(object) => found.push(object),
                        Err(_) => unreadable = unreadable.saturating_add(1),
                    }
                }
                if found.len() > MAX_TENANTS {
                    found.truncate(MAX_TENANTS);
                    break Some(format!("only the first {MAX_TENANTS} were looked at"));
                }
            }
            Ok(None) => break None,
            Err(e) => break Some(format!("the list could not be read: {}", e.line())),
        }
    };
    unreadable = unreadable.saturating_add(reading.lost().len());
    let failed = failed.or_else(|| {
        (unreadable > 0).then(|| {
            format!("{unreadable} cannot be read, or do not have the fields of their kind")
        })
    });
    let finding = failed.map(|cause| {
        Finding::warning(
            resource,
            format!("the tenants' baseline is not complete: {cause}"),
            format!("check that `kubectl get {resource} -A` works"),
        )
    });
    (found, finding)
}

/// Shortens an error for a finding, since texts of another party's server may be long.
fn error_line(error: &KubeError) -> String {
    const MOST: usize = 400;
    let line = error.line();
    line.chars()
        .filter(|c| !c.is_control())
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests;
