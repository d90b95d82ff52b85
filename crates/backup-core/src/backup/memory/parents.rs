//! Which earlier restore points a run can build upon.

use std::sync::Arc;

use super::super::claim::Claimed;
use super::super::{BackupError, Run};
use crate::catalog::{Catalog, CatalogError, RestorePoint};
use crate::crypt::{Trust, Verdict};
use crate::format::manifest::{Finding, Severity};
use crate::id::ComponentName;
use crate::store::StoreError;

/// How many restore points are looked at, newest first, for one that can be built upon.
const LOOK_BACK: usize = 50;

/// How many sound restore points are looked at for a kit. Each names the kit of the one before, so
/// the newest mostly decides; one whose run began before the kit was added may lie between.
const KIT_LOOK_BACK: usize = 5;

/// What was found among earlier restore points.
pub(super) struct Found {
    /// See [`find_parents`].
    pub(super) parents: Vec<RestorePoint>,
    /// The newest of all that are sound.
    pub(super) newest: Option<RestorePoint>,
    /// The newest with a kit.
    pub(super) kit: Option<RestorePoint>,
}

/// The newest restore points that together have all components that any has; newest first.
pub(super) async fn find_parents(
    run: &Run,
    claimed: &Claimed,
    components: &[&ComponentName],
    findings: &mut Vec<Finding>,
) -> Result<Found, BackupError> {
    let mut wanted = components.to_vec();
    let mut parents = Vec::new();
    let mut newest = None;
    let mut kit = None;
    let mut sound = 0_usize;
    let takes_kit = components.contains(&&ComponentName::kit());
    let catalog = Catalog::new(Arc::clone(&run.store));
    let trust = match &run.signing_key {
        Some(key) => Trust::Keys(vec![key.public().clone()]),
        None => Trust::Anyone,
    };
    let unreadable = |e: CatalogError| match e {
        CatalogError::Store { source, .. } => BackupError::Read {
            what: "the catalogue",
            source,
        },
        other => BackupError::Read {
            what: "the catalogue",
            source: StoreError::Other {
                store: run.store.describe(),
                operation: "read a manifest".to_owned(),
                source: Box::new(other),
            },
        },
    };
    let entries = catalog.list().await.map_err(unreadable)?;
    for entry in entries.iter().rev().take(LOOK_BACK) {
        let point = match catalog.load(entry, &trust).await {
            Ok(point) => point,
            Err(CatalogError::Store {
                source: source @ StoreError::Archived { .. },
                ..
            }) => {
                run.finding(findings, archived(entry.id.as_str(), &source));
                continue;
            }
            Err(e @ CatalogError::Store { .. }) => return Err(unreadable(e)),
            Err(e) => {
                run.finding(findings, distrusted(entry.id.as_str(), e.to_string()));
                continue;
            }
        };
        match point.verdict {
            Verdict::Trusted | Verdict::NotChecked => {}
            verdict => {
                let cause = format!("the manifest is {verdict}, so nothing is built upon it");
                run.finding(findings, distrusted(entry.id.as_str(), cause));
                continue;
            }
        }
        // One signing key may serve two clusters, and somebody may have mixed their prefixes.
        if point.manifest.claim != claimed.digest {
            let cause = "it was not made for this prefix's claim, so nothing is built upon it";
            run.finding(findings, distrusted(entry.id.as_str(), cause.to_owned()));
            continue;
        }
        sound = sound.saturating_add(1);
        if newest.is_none() {
            newest = Some(point.clone());
        }
        let seek_kit = !takes_kit && kit.is_none() && sound <= KIT_LOOK_BACK;
        if seek_kit && point.manifest.component(&ComponentName::kit()).is_some() {
            kit = Some(point.clone());
        }
        let before = wanted.len();
        wanted.retain(|name| point.manifest.component(name).is_none());
        if wanted.len() < before {
            parents.push(point);
        }
        if wanted.is_empty() && (takes_kit || kit.is_some() || sound >= KIT_LOOK_BACK) {
            break;
        }
    }
    Ok(Found {
        parents,
        newest,
        kit,
    })
}

fn archived(id: &str, source: &StoreError) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: format!("restore point {id}"),
        cause: format!("nothing is built upon it: {source}"),
        remedy: "end the lifecycle rule that archives what lies below this prefix".to_owned(),
    }
}

fn distrusted(id: &str, cause: String) -> Finding {
    Finding {
        severity: Severity::Warning,
        object: format!("restore point {id}"),
        cause,
        remedy: "find out who wrote or changed it: `restore-cli audit`".to_owned(),
    }
}
