//! Discovery of the served kinds, from all groups and all CustomResourceDefinitions.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{APIGroup, APIGroupList, APIResourceList};

use super::failure::KubeError;
use super::kept_objects::KeptObjectsUse;
use super::kind::Kind;
use super::object::Object;
use super::reader::KindReader;
use super::request::{Api, parse};
use super::scope::{CRDS, noise};
use backup_core::archive::ResourceName;
use backup_core::format::export::{Lack, LeftOut};
use backup_core::format::manifest::{Finding, Severity};

mod definition;
mod schema;

use definition::{Crd, add_definition};

/// Groups queried at the same time: hides round trips.
const AT_ONCE: usize = 4;
/// CustomResourceDefinitions per page: the largest have a megabyte.
const CRDS_A_PAGE: usize = 8;

/// Result of a discovery.
#[derive(Debug, Default)]
pub(super) struct Discovery {
    /// Kinds in the order of their names.
    pub(super) kinds: Vec<Kind>,
    /// Kinds that could not be discovered, for the manifest.
    pub(super) left_out: Vec<LeftOut>,
    pub(super) findings: Vec<Finding>,
    /// Kinds, or groups as `*.GROUP`, of which objects may be missing.
    pub(super) lacks: Vec<Lack>,
    /// Name of the chart in Butler's definitions.
    pub(super) crd_chart: Option<String>,
}

/// Queries all groups and definitions; those in `kept` are not queried again.
pub(super) async fn discover(
    api: &Api,
    kept: Option<&KeptObjectsUse>,
) -> Result<Discovery, KubeError> {
    let mut found = Discovery::default();
    let mut kinds: BTreeMap<ResourceName, Kind> = BTreeMap::new();
    let core: APIResourceList = api.get("/api/v1", "list of kinds").await?;
    add(&mut kinds, "", "v1", core);
    let groups: APIGroupList = api.get("/apis", "list of groups").await?;
    let versions = groups.groups.iter().flat_map(in_order);
    let soon = api.with_short_retries();
    let mut lists = stream::iter(versions)
        .map(|(group, version)| {
            let soon = &soon;
            async move {
                let path = format!("/apis/{group}/{version}");
                let list = soon.get::<APIResourceList>(&path, "list of kinds").await;
                (group, version, list)
            }
        })
        .buffered(AT_ONCE);
    while let Some((group, version, list)) = lists.next().await {
        match list {
            Ok(list) => add(&mut kinds, &group, &version, list),
            Err(e) if e.is_of_the_server() => return Err(e),
            Err(e) if e.is_not_found() && !is_served(api, &group, &version).await => {}
            Err(e) => found.add_failure(&group, &version, &e),
        }
    }
    drop(lists);
    definitions(api, kept, &mut found, &mut kinds).await?;
    found.kinds = kinds.into_values().collect();
    Ok(found)
}

/// Reports whether a group's version is still registered. A version that was removed between two queries
/// is not a fault; one that is registered and that its server does not know is.
async fn is_served(api: &Api, group: &str, version: &str) -> bool {
    let path = format!("/apis/{group}");
    match api.get::<APIGroup>(&path, "group").await {
        Ok(group) => group.versions.iter().any(|v| v.version == version),
        Err(e) => !e.is_not_found(),
    }
}

/// Returns a group's versions, with the one that the server prefers first.
fn in_order(group: &APIGroup) -> Vec<(String, String)> {
    let preferred = group.preferred_version.as_ref().map(|v| &v.version);
    let others = group.versions.iter().map(|v| &v.version);
    let others = others.filter(|v| Some(*v) != preferred);
    let versions = preferred.into_iter().chain(others);
    versions.map(|v| (group.name.clone(), v.clone())).collect()
}

fn add(
    kinds: &mut BTreeMap<ResourceName, Kind>,
    group: &str,
    version: &str,
    list: APIResourceList,
) {
    let with_status: BTreeSet<String> = list
        .resources
        .iter()
        .filter_map(|r| r.name.strip_suffix("/status").map(str::to_owned))
        .collect();
    for resource in list.resources {
        // A subresource is a part of its kind.
        if resource.name.contains('/') {
            continue;
        }
        let name = ResourceName::new(&resource.name, group);
        if let Some(known) = kinds.get_mut(&name) {
            known.also_served.push(version.to_owned());
            continue;
        }
        let kind = Kind {
            resource: name.clone(),
            kind: resource.kind,
            version: version.to_owned(),
            namespaced: resource.namespaced,
            custom: false,
            // Until a definition says otherwise: the server's own groups end like this, or have no dot.
            aggregated: group.contains('.') && !group.ends_with(".k8s.io"),
            can_list: resource.verbs.iter().any(|verb| verb == "list"),
            has_status: with_status.contains(&resource.name),
            also_served: Vec::new(),
            stored_version: None,
            converted: false,
        };
        kinds.insert(name, kind);
    }
}

/// Adds the facts from the definitions, and kinds that were defined a moment ago.
async fn definitions(
    api: &Api,
    kept: Option<&KeptObjectsUse>,
    found: &mut Discovery,
    kinds: &mut BTreeMap<ResourceName, Kind>,
) -> Result<(), KubeError> {
    let name = ResourceName::from(CRDS);
    let Some(kind) = kinds.get(&name).cloned() else {
        return Ok(());
    };
    let path = kind.path();
    let reading = KindReader::begin(api, &kind, None, kept).await;
    let mut reading = reading.with_limit(CRDS_A_PAGE).record();
    let mut recorder = reading.recorder();
    loop {
        let page = match reading.next().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            // Without this right, custom resources cannot be distinguished from those of extension APIs.
            Err(e @ KubeError::Forbidden { .. }) => {
                found.lacks.push(Lack {
                    what: CRDS.to_owned(),
                    cause: format!(
                        "it is not known which kinds are custom resources: {}",
                        e.line()
                    ),
                });
                found.findings.push(Finding::error(
                    CRDS,
                    e.line(),
                    "apply deploy/rbac.yaml, or grant the right that is named",
                ));
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        for item in page.items {
            let crd: Crd<'_> = parse(&path, "definition", &item)?;
            add_definition(&crd, found, kinds);
            if let Some(recorder) = &mut recorder {
                let object = Object::read(&kind, item)?;
                recorder.object(
                    &object.path.object(),
                    &object.meta.resource_version,
                    &object.json,
                );
            }
        }
        if let Some(recorder) = &mut recorder {
            recorder.flush().await;
        }
    }
    for lost in reading.lost() {
        // Still served as it was before it became unreadable.
        if let Some(defined) = kinds.get_mut(&ResourceName::from(lost.name.as_str())) {
            defined.custom = true;
            defined.aggregated = false;
        } else {
            found.lacks.push(Lack {
                what: lost.name.clone(),
                cause: format!("its definition cannot be read: {}", lost.cause),
            });
        }
    }
    if let (Some(kept), Some(recorder), None) = (kept, recorder, reading.list_failed()) {
        kept.recorded(&kind, recorder).await;
    }
    Ok(())
}

impl Discovery {
    /// Records that a kind is not read for `reason`, and the consequence.
    fn exclude(
        &mut self,
        severity: Severity,
        kind: &ResourceName,
        (reason, so): (String, &str),
        remedy: &str,
    ) {
        self.findings.push(Finding::new(
            severity,
            kind.to_string(),
            format!("{reason}, so {so}"),
            remedy,
        ));
        self.left_out.push(LeftOut {
            resource: kind.to_string(),
            reason,
        });
    }

    fn add_failure(&mut self, group: &str, version: &str, error: &KubeError) {
        let resource = format!("*.{group}");
        let known = noise(&format!("x.{group}"));
        let reason = match known {
            Some(reason) => format!("noise: {reason}"),
            None => format!("{version} cannot be discovered: {}", error.line()),
        };
        if known.is_none() {
            self.lacks.push(Lack {
                what: resource.clone(),
                cause: format!("its kinds could not be discovered: {}", error.line()),
            });
            self.findings.push(Finding::error(
                resource.clone(),
                format!("its kinds could not be discovered: {}", error.line()),
                "check that the server behind it runs: `kubectl get apiservices`",
            ));
        }
        self.left_out.push(LeftOut { resource, reason });
    }
}
