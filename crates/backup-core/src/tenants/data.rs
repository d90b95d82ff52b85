//! What tenants' DataStores hold now, beside what a restore point knew of them.
//!
//! Nothing is written, and no value is read but that of each tenant's own namespace `kube-system`,
//! which tells whose data it is. What cannot be looked into is not checked; it is never called good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use super::schemas::compare_schemas;
use crate::clock::Clock;
use crate::format::manifest::{EtcdFacts, Manifest};
use crate::source::SourceError;
use crate::source::etcd::{EtcdOptions, SchemaKeys, schema_keys};
use crate::source::kube::datastores::{Datastore, Reach};

/// DataStores looked into at the same time.
const AT_ONCE: usize = 4;
/// One member answers a count of keys within a second, or is not there.
const PER_CALL: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// For all members of a DataStore, one after the other.
const PER_DATASTORE: Duration = Duration::from_secs(30);

/// A control plane whose data is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// `NAMESPACE/NAME`.
    pub place: String,
    /// Its DataStore.
    pub datastore: String,
    /// The folder of its keys.
    pub schema: String,
    /// Whether it had data when the restore point was made.
    pub ran: bool,
    /// The UID of its own namespace `kube-system` then, if the restore point knows it.
    pub kube_system_uid: Option<String>,
}

/// A DataStore and the ways to it, the likeliest first.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its name.
    pub name: String,
    /// As the cluster has it, as the restore point has it.
    pub ways: Vec<Datastore>,
}

/// What each DataStore holds of each schema, or why that is not known.
#[derive(Debug, Default)]
pub struct Looked(BTreeMap<String, Result<BTreeMap<String, SchemaKeys>, String>>);

/// How a tenant's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataState {
    /// As far as keys tell, it is the tenant's own.
    Own {
        /// How many keys.
        keys: u64,
        /// How many there were, if that is known.
        before: Option<u64>,
    },
    /// It has less than half of the keys that it had.
    Fewer {
        /// How many keys.
        keys: u64,
        /// How many there were.
        before: u64,
    },
    /// There is none, and there was some.
    Gone {
        /// How many keys there were, if that is known.
        before: Option<u64>,
    },
    /// There is none, and there was none.
    None,
    /// It is that of another cluster.
    Foreign {
        /// By what that is known.
        why: String,
    },
    /// It was not looked at.
    NotChecked {
        /// Why not.
        why: String,
    },
}

/// Looks for the data of `planes` in `homes`.
pub async fn look_into(homes: &[Home], planes: &[Wanted], clock: &Arc<dyn Clock>) -> Looked {
    let mut looks = Vec::with_capacity(homes.len());
    for home in homes {
        let schemas = planes.iter().filter(|plane| plane.datastore == home.name);
        let schemas: BTreeSet<String> = schemas.map(|plane| plane.schema.clone()).collect();
        if !schemas.is_empty() {
            looks.push(one(home, schemas.into_iter().collect(), clock));
        }
    }
    let looks = futures::stream::iter(looks).buffer_unordered(AT_ONCE);
    Looked(looks.collect().await)
}

async fn one(
    home: &Home,
    schemas: Vec<String>,
    clock: &Arc<dyn Clock>,
) -> (String, Result<BTreeMap<String, SchemaKeys>, String>) {
    let mut why: Vec<String> = Vec::new();
    let mut tried: Vec<&EtcdOptions> = Vec::new();
    for way in &home.ways {
        let options = match &way.reach {
            Reach::Etcd(options) => options,
            Reach::NotCovered { driver } => {
                why.push(format!(
                    "it keeps its data in {driver}, which is not read here"
                ));
                continue;
            }
            Reach::Broken { cause } => {
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
            Ok(Err(error)) => why.push(told(&error)),
            Err(_) => why.push(format!("no answer within {} s", PER_DATASTORE.as_secs())),
        }
    }
    why.dedup();
    if why.is_empty() {
        why.push("there is no such DataStore".to_owned());
    }
    (home.name.clone(), Err(why.join("; ")))
}

/// Whether both lead to the same with the same certificates.
fn same(a: &EtcdOptions, b: &EtcdOptions) -> bool {
    let shown = |o: &EtcdOptions| o.tls.client.as_ref().map(|c| c.certificate.clone());
    let user = |o: &EtcdOptions| o.login.as_ref().map(|l| l.user.clone());
    a.endpoints == b.endpoints
        && a.tls.authority == b.tls.authority
        && shown(a) == shown(b)
        && user(a) == user(b)
}

pub(super) fn told(error: &SourceError) -> String {
    match &error.source {
        Some(cause) => format!("{} ({cause})", error.operation),
        None => error.operation.clone(),
    }
}

impl Looked {
    /// What was found in the schema of `plane`.
    #[must_use]
    pub fn keys(&self, plane: &Wanted) -> Option<&SchemaKeys> {
        self.0
            .get(&plane.datastore)?
            .as_ref()
            .ok()?
            .get(&plane.schema)
    }

    /// How the data of `plane` is, beside what `manifest` knew of its DataStore.
    #[must_use]
    pub fn state(&self, plane: &Wanted, manifest: &Manifest) -> DataState {
        self.judge(plane, manifest.datastore(&plane.datastore))
    }

    pub(crate) fn judge(&self, plane: &Wanted, known: Option<&EtcdFacts>) -> DataState {
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
        // Without a difference there are as many as there were.
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
