//! Facts about a cluster's restore points, read from the store, so that a restart forgets nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_core::catalog::{Catalog, CatalogError, is_future};
use backup_core::crypt::{SigningKey, Trust};
use backup_core::format::manifest::{Manifest, Severity};
use backup_core::id::{ClusterName, ComponentName, RestorePointId};
use backup_core::num::to_u64;
use backup_core::store::{Store, StoreError};
use jiff::Timestamp;
use serde::Serialize;

/// Number of restore points that are searched, newest first, for the newest of each component.
const LOOK_BACK: usize = 200;
/// Largest number of reported gaps of a component.
const GAPS: usize = 100;
/// Largest number of reported certificates; a fleet of tenants has two each.
const CERTIFICATES: usize = 1_000;

/// Facts about the restore points of a cluster.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoreFacts {
    pub(crate) count: usize,
    pub(crate) newest: Option<String>,
    pub(crate) newest_at: Option<Timestamp>,
    pub(crate) seconds: f64,
    pub(crate) read_bytes: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) chunks: u64,
    pub(crate) new_chunks: u64,
    pub(crate) errors: usize,
    pub(crate) warnings: usize,
    /// Newest whole backup of each component.
    pub(crate) components: BTreeMap<ComponentName, ComponentFacts>,
    /// Gaps of each component in the newest restore point that should contain it.
    pub(crate) gaps: BTreeMap<ComponentName, Vec<String>>,
    /// Time when all DataStores were last taken.
    #[serde(skip)]
    pub(crate) datastores_at: Option<Timestamp>,
    pub(crate) certificates: Vec<Certificate>,
    /// Number of all objects below the prefix and their bytes, at the last count.
    pub(crate) objects: Option<(u64, u64)>,
}

/// Newest whole backup of one component.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComponentFacts {
    pub(crate) restore_point: String,
    pub(crate) at: Timestamp,
    pub(crate) bytes: u64,
    pub(crate) objects: Option<u64>,
}

/// Certificate that a restore point reports.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificate {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) valid_until: Timestamp,
}

impl StoreFacts {
    /// Adds a restore point that is newer than all before.
    pub(crate) fn newer(&mut self, id: &RestorePointId, manifest: &Manifest) {
        self.newest = Some(id.to_string());
        self.newest_at = Some(manifest.ended);
        self.seconds = manifest.ended.duration_since(manifest.began).as_secs_f64();
        let cost = &manifest.cost;
        (self.read_bytes, self.stored_bytes) = (cost.read_bytes, cost.stored_bytes);
        (self.chunks, self.new_chunks) = (cost.chunks, cost.new_chunks);
        let of = |severity| {
            manifest
                .findings
                .iter()
                .filter(|f| f.severity == severity)
                .count()
        };
        (self.errors, self.warnings) = (of(Severity::Error), of(Severity::Warning));
        self.components.extend(components(id, manifest));
        self.record_gaps(manifest);
        if manifest.kubernetes.is_some() {
            self.certificates = certificates(manifest);
        }
    }

    /// Records the gaps of each component that the restore point should contain.
    fn record_gaps(&mut self, manifest: &Manifest) {
        let own = manifest
            .components
            .iter()
            .filter(|c| c.carried_from.is_none());
        for name in own.map(|c| &c.name).chain(&manifest.missing) {
            let gaps = manifest.gaps_of(name);
            if gaps.is_empty() {
                self.gaps.remove(name);
            } else {
                let gaps = gaps.iter().take(GAPS).map(ToString::to_string).collect();
                self.gaps.insert(name.clone(), gaps);
            }
        }
        let all = ComponentName::datastores();
        let mut names = manifest.components.iter().map(|c| &c.name);
        if manifest.gaps_of(&all).is_empty() {
            self.gaps.remove(&all);
            if names.any(|name| name.datastore_name().is_some()) {
                self.datastores_at = Some(manifest.ended);
            }
        }
    }

    /// Returns the time when `component` was last taken whole.
    pub(crate) fn last(&self, component: &ComponentName) -> Option<Timestamp> {
        if *component == ComponentName::datastores() {
            return self.datastores_at;
        }
        self.components.get(component).map(|facts| facts.at)
    }
}

/// Reports whether `component`, as a schedule names it, was taken whole.
pub(crate) fn holds(manifest: &Manifest, component: &ComponentName) -> bool {
    if *component == ComponentName::datastores() {
        return manifest.kubernetes.is_some() && manifest.gaps_of(component).is_empty();
    }
    manifest
        .component(component)
        .is_some_and(|c| c.carried_from.is_none())
        && manifest.is_whole(component)
}

fn components<'m>(
    id: &'m RestorePointId,
    manifest: &'m Manifest,
) -> impl Iterator<Item = (ComponentName, ComponentFacts)> + 'm {
    let own = manifest
        .components
        .iter()
        .filter(|c| c.carried_from.is_none() && manifest.is_whole(&c.name));
    own.map(move |component| {
        let facts = ComponentFacts {
            restore_point: id.to_string(),
            at: manifest.ended,
            bytes: component.plain_bytes,
            objects: match (&component.etcd, &component.archive) {
                (Some(etcd), _) => etcd.total_keys,
                (None, archive) => archive.as_ref().map(|archive| archive.objects),
            },
        };
        (component.name.clone(), facts)
    })
}

fn certificates(manifest: &Manifest) -> Vec<Certificate> {
    let Some(kubernetes) = &manifest.kubernetes else {
        return Vec::new();
    };
    let files = kubernetes
        .kubeconfigs
        .iter()
        .map(|file| ("kubeconfig", file.origin.clone(), file));
    let tenants = kubernetes.tenants.iter().filter_map(|tenant| {
        let name = format!("{}/{}", tenant.namespace, tenant.name);
        Some(("tenant", name, tenant.kubeconfig.as_ref()?))
    });
    let dates = files.chain(tenants).filter_map(|(kind, name, facts)| {
        let dates = [facts.client_not_after, facts.ca_not_after];
        Some(Certificate {
            kind,
            name,
            valid_until: dates.into_iter().flatten().min()?,
        })
    });
    dates.take(CERTIFICATES).collect()
}

/// Reads the restore points in the store. `known` is the earlier result: manifests up to its newest are not
/// read again. `names` are the components whose newest restore point is searched. Only restore points that
/// `key` signed for `cluster` count, and no id that lies in the future.
pub(crate) async fn read_facts(
    store: &Arc<dyn Store>,
    cluster: &ClusterName,
    key: &SigningKey,
    known: Option<StoreFacts>,
    names: &[ComponentName],
    now: Timestamp,
) -> Result<StoreFacts, CatalogError> {
    let trust = Trust::Keys(vec![key.public().clone()]);
    let catalog = Catalog::new(Arc::clone(store));
    let mut entries = catalog.list().await?;
    let now = catalog.time(&entries, now).await;
    entries.retain(|entry| !is_future(&entry.id, now));
    let count = entries.len();
    let mut facts = known.unwrap_or_default();
    let seen = facts.newest.clone();
    entries.reverse();
    let mut found = Vec::new();
    let mut wanting = names.to_vec();
    let mut looked = 0_usize;
    for entry in &entries {
        if seen.as_deref() == Some(entry.id.as_str())
            || wanting.is_empty() && !found.is_empty()
            || looked >= LOOK_BACK
        {
            break;
        }
        // A restore point that is damaged, or not signed by this key, is left to an audit; others may be
        // sound.
        let Ok(point) = catalog.trusted(entry, &trust).await else {
            continue;
        };
        looked = looked.saturating_add(1);
        if point.manifest.cluster == *cluster {
            wanting.retain(|name| !holds(&point.manifest, name));
            found.push(point);
        }
    }
    for point in found.into_iter().rev() {
        facts.newer(&point.entry.id, &point.manifest);
    }
    facts.count = count;
    Ok(facts)
}

/// Counts the objects below the prefix, and their bytes.
pub(crate) async fn count(store: &Arc<dyn Store>) -> Result<(u64, u64), StoreError> {
    let (mut objects, mut bytes) = (0_u64, 0_u64);
    let mut from = None;
    loop {
        let page = store.list("", from).await?;
        objects = objects.saturating_add(to_u64(page.objects.len()));
        bytes = page
            .objects
            .iter()
            .map(|o| o.size)
            .fold(bytes, u64::saturating_add);
        from = page.next;
        if from.is_none() {
            return Ok((objects, bytes));
        }
    }
}

#[cfg(test)]
mod tests;
