//! State of the data in the tenants' DataStores, compared with a restore point.
//!
//! Nothing is written, and the only value read is each tenant's own namespace `kube-system`, which shows
//! whose data it is. A DataStore that cannot be read is reported as not checked, and never as good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::schemas::compare_schemas;
use backup_core::clock::Clock;
use backup_core::format::manifest::{EtcdFacts, Manifest};
use backup_core::source::SourceError;
use cluster_client::etcd::{EtcdOptions, SchemaKeys, schema_keys};
use cluster_client::kube::datastores::{Datastore, DatastoreAccess};

/// DataStores that are read at the same time.
const AT_ONCE: usize = 4;
/// Time limit of one call: a member counts keys within a second, or cannot be reached.
const PER_CALL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Time limit for all members of a DataStore, one after the other.
const PER_DATASTORE: Duration = Duration::from_secs(30);

/// Control plane whose data is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataQuery {
    /// `NAMESPACE/NAME` of the control plane.
    pub place: String,
    /// Name of its DataStore.
    pub datastore: String,
    /// Folder of its keys.
    pub schema: String,
    /// Whether it had data when the restore point was made.
    pub ran: bool,
    /// Earlier UID of its own namespace `kube-system`, if the restore point has it.
    pub kube_system_uid: Option<String>,
}

/// DataStore and the ways to reach it, the likeliest first.
#[derive(Debug, Clone)]
pub struct DatastoreRoutes {
    /// Name of the DataStore.
    pub name: String,
    /// Ways to reach it: as the cluster describes it, as the restore point does.
    pub ways: Vec<Datastore>,
}

/// Keys of each schema in each DataStore, or the reason why they are not known.
#[derive(Debug, Default)]
pub struct DatastoreSurvey(BTreeMap<String, Result<BTreeMap<String, SchemaKeys>, String>>);

/// State of a tenant's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataState {
    /// As far as keys show, the data is the tenant's own.
    Own {
        /// Number of keys.
        keys: u64,
        /// Earlier number of keys, if it is known.
        before: Option<u64>,
    },
    /// The data has less than half of its earlier keys.
    Fewer {
        /// Number of keys.
        keys: u64,
        /// Earlier number of keys.
        before: u64,
    },
    /// There is no data, and there was some.
    Gone {
        /// Earlier number of keys, if it is known.
        before: Option<u64>,
    },
    /// There is no data, and there was none.
    None,
    /// The data belongs to another cluster.
    Foreign {
        /// Evidence for that.
        why: String,
    },
    /// The data was not checked.
    NotChecked {
        /// Reason why it was not checked.
        why: String,
    },
}

/// Reads the data of `planes` in `homes`.
pub async fn survey_datastores(
    homes: &[DatastoreRoutes],
    planes: &[DataQuery],
    clock: &Arc<dyn Clock>,
) -> DatastoreSurvey {
    let mut looks = Vec::with_capacity(homes.len());
    for home in homes {
        let schemas = planes.iter().filter(|plane| plane.datastore == home.name);
        let schemas: BTreeSet<String> = schemas.map(|plane| plane.schema.clone()).collect();
        if !schemas.is_empty() {
            looks.push(one(home, schemas.into_iter().collect(), clock));
        }
    }
    let looks = futures::stream::iter(looks).buffer_unordered(AT_ONCE);
    DatastoreSurvey(looks.collect().await)
}

async fn one(
    home: &DatastoreRoutes,
    schemas: Vec<String>,
    clock: &Arc<dyn Clock>,
) -> (String, Result<BTreeMap<String, SchemaKeys>, String>) {
    let mut why: Vec<String> = Vec::new();
    let mut tried: Vec<&EtcdOptions> = Vec::new();
    for way in &home.ways {
        let options = match &way.access {
            DatastoreAccess::Etcd(options) => options,
            DatastoreAccess::NotCovered { driver } => {
                why.push(format!(
                    "it keeps its data in {driver}, which is not read here"
                ));
                continue;
            }
            DatastoreAccess::Broken { cause } => {
                why.push(format!("the way to it is broken: {cause}"));
                continue;
            }
        };
        if tried.iter().any(|before| same(before, options)) {
            continue;
        }
        tried.push(options);
        let hasty = EtcdOptions {
            connect_timeout: CONNECT,
            call_timeout: PER_CALL,
            ..options.as_ref().clone()
        };
        let asked = schema_keys(&hasty, clock, &schemas);
        match tokio::time::timeout(PER_DATASTORE, asked).await {
            Ok(Ok(found)) => return (home.name.clone(), Ok(found)),
            Ok(Err(error)) => why.push(error_text(&error)),
            Err(_) => why.push(format!("no answer within {} s", PER_DATASTORE.as_secs())),
        }
    }
    why.dedup();
    if why.is_empty() {
        why.push("there is no such DataStore".to_owned());
    }
    (home.name.clone(), Err(why.join("; ")))
}

/// Whether both use the same endpoints, the same certificates and the same user.
fn same(a: &EtcdOptions, b: &EtcdOptions) -> bool {
    let shown = |o: &EtcdOptions| o.tls.client.as_ref().map(|c| c.certificate.clone());
    let user = |o: &EtcdOptions| o.login.as_ref().map(|l| l.user.clone());
    a.endpoints == b.endpoints
        && a.tls.authority == b.tls.authority
        && shown(a) == shown(b)
        && user(a) == user(b)
}

pub(super) fn error_text(error: &SourceError) -> String {
    match &error.source {
        Some(cause) => format!("{} ({cause})", error.operation),
        None => error.operation.clone(),
    }
}

impl DatastoreSurvey {
    /// Returns what was found in the schema of `plane`.
    #[must_use]
    pub fn keys(&self, plane: &DataQuery) -> Option<&SchemaKeys> {
        self.0
            .get(&plane.datastore)?
            .as_ref()
            .ok()?
            .get(&plane.schema)
    }

    /// Compares the data of `plane` with the facts that `manifest` has of its DataStore.
    #[must_use]
    pub fn state(&self, plane: &DataQuery, manifest: &Manifest) -> DataState {
        self.judge(plane, manifest.datastore(&plane.datastore))
    }

    pub(crate) fn judge(&self, plane: &DataQuery, known: Option<&EtcdFacts>) -> DataState {
        let not = |why: &str| DataState::NotChecked {
            why: why.to_owned(),
        };
        let found = match self.0.get(&plane.datastore) {
            None => return not("there is no such DataStore"),
            Some(Err(why)) => return not(why),
            Some(Ok(found)) => match found.get(&plane.schema) {
                Some(found) => found,
                None => return not("it was not asked for"),
            },
        };
        let unknown = EtcdFacts::default();
        let live = BTreeMap::from([(plane.schema.clone(), found.clone())]);
        let differences = compare_schemas(known.unwrap_or(&unknown), &live);
        let difference = differences.first();
        // Without a difference there are as many keys as before.
        let before = difference.map_or(Some(found.keys), |d| d.backup);
        let uids = (&plane.kube_system_uid, &found.kube_system_uid);
        if let (Some(was), Some(is)) = uids
            && was != is
        {
            let why = format!("its namespace kube-system has UID {is}, the tenant's had {was}");
            return DataState::Foreign { why };
        }
        let same = matches!(uids, (Some(was), Some(is)) if was == is);
        match before {
            _ if found.keys == 0 && (before > Some(0) || (before.is_none() && plane.ran)) => {
                DataState::Gone { before }
            }
            _ if found.keys == 0 => DataState::None,
            _ if difference.is_some_and(super::SchemaDifference::is_foreign)
                && !same
                && plane.ran =>
            {
                let why = format!(
                    "it has {} keys, the first {}, and the restore point knew none",
                    found.keys,
                    found.first.as_deref().unwrap_or_default()
                );
                DataState::Foreign { why }
            }
            Some(before) if found.keys < before / 2 => DataState::Fewer {
                keys: found.keys,
                before,
            },
            before => DataState::Own {
                keys: found.keys,
                before,
            },
        }
    }
}

#[cfg(test)]
mod tests;
