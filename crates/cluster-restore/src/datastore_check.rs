//! Check that the DataStores contain the data of the restored tenants, before Steward uses them.
//!
//! An empty etcd raises no error in Steward: a control plane whose keys are gone, or belong to another
//! tenant, becomes Ready on them. So this check counts the keys below each schema, with the certificates of
//! the cluster or else those of the restore point. A DataStore that cannot be reached is reported and does
//! not stop a restore: it may lie inside the lost cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::dangers::{CONTROL_PLANES, ControlPlane, DATASTORES};
use super::plan::{Danger, Mode, Step};
use super::planner::Request;
use super::spool::ObjectSpool;
use crate::tenants::{
    DEFAULT_DATASTORE, DataQuery, DataState, DatastoreRoutes, DatastoreSurvey, survey_datastores,
};
use backup_core::archive::ObjectPath;
use backup_core::clock::{Clock, FixedClock};
use backup_core::format::manifest::{Finding, Severity};
use backup_core::shortlist::shorten;
use cluster_client::kube::datastores::{self, Datastore, SecretSource, SecretValue};
use cluster_client::kube::target::KubeTarget;

/// Largest number of names in one finding.
const MAX_NAMES: usize = 10;

/// Findings about a tenant's data, each with the danger that allows it all the same.
type DataFindings = Vec<(Option<Danger>, Finding)>;

/// Checks the data of `planes`. Reads only.
pub(super) async fn check(
    request: &Request,
    planes: &[ControlPlane],
    spool: &ObjectSpool,
    target: Option<&KubeTarget>,
) -> DataFindings {
    let comes_back = |step: &Step| matches!(step, Step::Resources | Step::Etcd);
    if !request.steps.iter().any(comes_back) {
        return DataFindings::new();
    }
    let wanted: Vec<DataQuery> = planes.iter().map(|plane| of(request, plane)).collect();
    let names: BTreeSet<&str> = wanted.iter().map(|w| w.datastore.as_str()).collect();
    let mut homes = Vec::new();
    for name in names {
        homes.push(home(request, name, spool, target).await);
    }
    let clock: Arc<dyn Clock> = Arc::new(FixedClock::new(request.now));
    let looked = survey_datastores(&homes, &wanted, &clock).await;
    judge(request, &wanted, &looked)
}

fn of(request: &Request, plane: &ControlPlane) -> DataQuery {
    let tenant = request.tenants.iter().find(|tenant| {
        let named = tenant.control_plane.as_ref();
        tenant.tenant_namespace.as_ref() == Some(&plane.namespace)
            && named.is_some_and(|named| named.name == plane.facts.name)
    });
    let datastore = match plane.datastore() {
        "" => DEFAULT_DATASTORE,
        named => named,
    };
    DataQuery {
        place: plane.place(),
        datastore: datastore.to_owned(),
        schema: plane.facts.schema.clone(),
        ran: plane.ran,
        kube_system_uid: tenant.and_then(|tenant| tenant.answer.kube_system_uid.clone()),
    }
}

/// Returns the ways to reach a DataStore: as the cluster describes it, and as the restore point does.
async fn home(
    request: &Request,
    name: &str,
    spool: &ObjectSpool,
    target: Option<&KubeTarget>,
) -> DatastoreRoutes {
    let path = ObjectPath {
        resource: DATASTORES.into(),
        namespace: None,
        name: name.to_owned(),
    };
    let mut ways: Vec<Datastore> = Vec::new();
    if let Some(target) = target
        && let Ok(Some(object)) = target.get(&path, None).await
    {
        let secrets = ClusterSecrets(target);
        ways.push(datastores::look(name.to_owned(), object, &secrets, request.now).await);
    }
    let kept = spool.by_path(&path).and_then(|at| spool.entry(at));
    if let Some(object) = kept.and_then(|entry| spool.value(entry).ok()) {
        let secrets = ArchiveSecrets(spool);
        ways.push(datastores::look(name.to_owned(), object, &secrets, request.now).await);
    }
    DatastoreRoutes {
        name: name.to_owned(),
        ways,
    }
}

fn judge(request: &Request, wanted: &[DataQuery], looked: &DatastoreSurvey) -> DataFindings {
    let mut found = DataFindings::new();
    let mut unseen: BTreeMap<(&str, String), Vec<&DataQuery>> = BTreeMap::new();
    let mut at_work: BTreeMap<&str, Vec<&DataQuery>> = BTreeMap::new();
    for plane in wanted {
        let store = plane.datastore.as_str();
        let of_cluster = looked.keys(plane).is_some_and(|keys| keys.api_servers > 0);
        if of_cluster && request.mode == Mode::Rebuild {
            at_work.entry(store).or_default().push(plane);
        }
        let state = looked.judge(plane, request.datastores.get(store));
        if let DataState::NotChecked { why } = state {
            unseen.entry((store, why)).or_default().push(plane);
        } else {
            found.extend(data_findings(request, plane, &state));
        }
    }
    found.extend(unseen.into_iter().map(|((store, why), planes)| {
        let cause = format!(
            "whether it holds the data of {} was not checked: {why}",
            named(&planes)
        );
        let remedy = format!(
            "plan from a machine that can reach it; or, before Steward runs again, compare by \
             hand: {}",
            by_hand(request, &planes)
        );
        note(
            Severity::Warning,
            format!("{DATASTORES} {store}"),
            cause,
            remedy,
        )
    }));
    found.extend(at_work.into_iter().map(|(store, planes)| {
        let cause = format!(
            "API servers of {} are using it now, so another management cluster may manage these \
             tenants: a delete in one of the clusters empties both",
            named(&planes)
        );
        let remedy = "for a drill restore the DataStore elsewhere first; after a disaster see that \
                      the old management cluster stays off";
        note(
            Severity::Warning,
            format!("{DATASTORES} {store}"),
            cause,
            remedy.to_owned(),
        )
    }));
    found
}

/// Returns the finding for one tenant's data.
fn data_findings(request: &Request, plane: &DataQuery, state: &DataState) -> DataFindings {
    let (store, schema) = (&plane.datastore, &plane.schema);
    let point = &request.restore_point.id;
    let bring_back = format!(
        "bring the DataStore's data back first: `restore-cli restore datastore {store} {point}`, then \
         plan again"
    );
    let (severity, cause, remedy) = match state {
        DataState::Gone { before } => {
            let had = match before {
                Some(before) => format!("which had {before} keys in the restore point"),
                None => "though the tenant ran when it was captured".to_owned(),
            };
            let cause = format!(
                "its schema {schema} in DataStore {store} is empty, {had}: the tenant would come \
                 up without data and still be Ready"
            );
            (Severity::Error, cause, bring_back)
        }
        DataState::Foreign { why } => {
            let cause = format!(
                "its schema {schema} in DataStore {store} holds the data of another cluster: {why}"
            );
            let remedy = "see which tenant has this schema in `status.storage.setup` of its \
                          TenantControlPlane; never let two have the same";
            (Severity::Error, cause, remedy.to_owned())
        }
        DataState::Fewer { keys, before } => {
            let cause = format!(
                "its schema {schema} in DataStore {store} has {keys} keys, and had {before} in the \
                 restore point"
            );
            (
                Severity::Warning,
                cause,
                format!("if that is not meant, {bring_back}"),
            )
        }
        DataState::Own { .. } | DataState::None | DataState::NotChecked { .. } => {
            return DataFindings::new();
        }
    };
    let danger = (severity == Severity::Error).then_some(Danger::TenantData);
    let allow = danger.map(|d| format!("; `--allow {}` continues anyway", d.name()));
    let remedy = format!("{remedy}{}", allow.unwrap_or_default());
    let finding = Finding::new(
        severity,
        format!("{CONTROL_PLANES} {}", plane.place),
        cause,
        remedy,
    );
    vec![(danger, finding)]
}

fn note(
    severity: Severity,
    object: String,
    cause: String,
    remedy: String,
) -> (Option<Danger>, Finding) {
    let finding = Finding::new(severity, object, cause, remedy);
    (None, finding)
}

fn named(planes: &[&DataQuery]) -> String {
    shorten(planes.iter().map(|plane| plane.place.clone()), MAX_NAMES)
}

/// Lists commands that count the keys by hand, with the numbers of the restore point.
fn by_hand(request: &Request, planes: &[&DataQuery]) -> String {
    let counts = planes.iter().map(|plane| {
        let known = request.datastores.get(&plane.datastore);
        let had = known.and_then(|known| known.prefixes.get(&plane.schema));
        let had = had.map_or("some".to_owned(), u64::to_string);
        format!(
            "`etcdctl get /{}/ --prefix --count-only` (had {had})",
            plane.schema
        )
    });
    shorten(counts, MAX_NAMES)
}

/// Source of Secrets in the cluster that is written to.
struct ClusterSecrets<'t>(&'t KubeTarget);

/// Source of Secrets among the objects of the restore.
struct ArchiveSecrets<'s>(&'s ObjectSpool);

fn secret(namespace: &str, name: &str) -> ObjectPath {
    ObjectPath {
        resource: "secrets".into(),
        namespace: Some(namespace.to_owned()),
        name: name.to_owned(),
    }
}

fn at(object: Option<Value>, key: &str) -> SecretValue {
    object.map_or(SecretValue::NoSecret, |object| {
        SecretValue::of(&object, key)
    })
}

#[async_trait]
impl SecretSource for ClusterSecrets<'_> {
    async fn value(&self, namespace: &str, name: &str, key: &str) -> Result<SecretValue, String> {
        let got = self.0.get(&secret(namespace, name), None).await;
        Ok(at(got.map_err(|error| error.line())?, key))
    }
}

#[async_trait]
impl SecretSource for ArchiveSecrets<'_> {
    async fn value(&self, namespace: &str, name: &str, key: &str) -> Result<SecretValue, String> {
        let position = self.0.by_path(&secret(namespace, name));
        let entry = position.and_then(|position| self.0.entry(position));
        let object = entry.map(|entry| self.0.value(entry)).transpose();
        Ok(at(object.map_err(|error| error.to_string())?, key))
    }
}
