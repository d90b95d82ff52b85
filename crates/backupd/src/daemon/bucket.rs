//! What the store tells of a cluster's restore points, so that nothing is forgotten by a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_core::catalog::{Catalog, CatalogError, is_future};
use backup_core::crypt::{SigningKey, Trust};
use backup_core::format::manifest::{Manifest, Severity};
use backup_core::id::{ClusterName, ComponentName, RestorePointId};
use backup_core::store::{Store, StoreError};
use jiff::Timestamp;
use serde::Serialize;

/// How many restore points are looked at, newest first, for the newest of each component.
const LOOK_BACK: usize = 200;
/// Gaps of a component that are told of.
const GAPS: usize = 100;
/// Certificates that are told of; a fleet of tenants has two each.
const CERTIFICATES: usize = 1_000;

/// What there is.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Facts {
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
    /// The newest of each component that is whole.
    pub(crate) components: BTreeMap<ComponentName, ComponentFacts>,
    /// What the newest restore point that was to have a component lacks of it.
    pub(crate) gaps: BTreeMap<ComponentName, Vec<String>>,
    /// When all DataStores were last taken.
    #[serde(skip)]
    pub(crate) datastores_at: Option<Timestamp>,
    pub(crate) certificates: Vec<Certificate>,
    /// All objects below the prefix and their bytes, when they were last counted.
    pub(crate) objects: Option<(u64, u64)>,
}

/// The newest of one component that is whole.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComponentFacts {
    pub(crate) restore_point: String,
    pub(crate) at: Timestamp,
    pub(crate) bytes: u64,
    pub(crate) objects: Option<u64>,
}

/// A certificate that a restore point told of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Certificate {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) valid_until: Timestamp,
}

impl Facts {
    /// Takes in a restore point that is newer than all before.
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
        self.judge(manifest);
        if manifest.kubernetes.is_some() {
            self.certificates = certificates(manifest);
        }
    }

    /// Notes what the restore point lacks of each component that it was to have.
    fn judge(&mut self, manifest: &Manifest) {
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

    /// When `component` was last taken whole.
    pub(crate) fn last(&self, component: &ComponentName) -> Option<Timestamp> {
        if *component == ComponentName::datastores() {
            return self.datastores_at;
        }
        self.components.get(component).map(|facts| facts.at)
    }
}

/// Whether `component`, as a schedule names it, was taken whole.
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

/// Looks at the store. `known` is what was found before: manifests up to its newest are not read
/// again. `names` are the components whose newest is looked for. Only what `key` signed for `cluster`
/// counts, and no name of the future.
pub(crate) async fn look(
    store: &Arc<dyn Store>,
    cluster: &ClusterName,
    key: &SigningKey,
    known: Option<Facts>,
    names: &[ComponentName],
    now: Timestamp,
) -> Result<Facts, CatalogError> {
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
        // One that is damaged, or not signed by this key, is for an audit; others may be sound.
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
        objects = objects.saturating_add(u64::try_from(page.objects.len()).unwrap_or(u64::MAX));
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
