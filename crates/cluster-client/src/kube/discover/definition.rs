//! Facts about a kind from its CustomResourceDefinition.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::scope::is_butlers_group;
use super::schema::missing_fields;
use super::{Discovery, Kind};
use backup_core::archive::ResourceName;
use backup_core::format::manifest::{Finding, Severity};

/// CustomResourceDefinition, reduced to the fields in use.
#[derive(Debug, Deserialize)]
pub(super) struct Crd<'a> {
    metadata: CrdMeta,
    #[serde(borrow)]
    spec: CrdSpec<'a>,
    #[serde(default)]
    status: CrdStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CrdMeta {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CrdSpec<'a> {
    group: String,
    names: CrdNames,
    scope: String,
    #[serde(borrow)]
    versions: Vec<CrdVersion<'a>>,
    #[serde(default)]
    conversion: Option<CrdConversion>,
    /// Whether unknown fields are never pruned, whatever the schemas say.
    #[serde(default)]
    preserve_unknown_fields: bool,
}

#[derive(Debug, Deserialize)]
struct CrdConversion {
    strategy: String,
}

#[derive(Debug, Deserialize)]
struct CrdNames {
    plural: String,
    kind: String,
}

#[derive(Debug, Deserialize)]
struct CrdVersion<'a> {
    name: String,
    served: bool,
    storage: bool,
    #[serde(default)]
    subresources: Option<CrdSubresources>,
    /// Schema, parsed only when versions are compared: it may have a megabyte.
    #[serde(borrow, default)]
    schema: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct CrdSubresources {
    /// Empty map if the subresource exists; its content has no meaning.
    #[serde(default)]
    status: Option<serde_json::Value>,
}

impl CrdVersion<'_> {
    fn has_status(&self) -> bool {
        let parts = self.subresources.as_ref();
        parts.is_some_and(|parts| parts.status.is_some())
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CrdStatus {
    #[serde(deserialize_with = "nullable")]
    stored_versions: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<CrdCondition>,
}

/// Reads a list that the API server writes as `null` while it is empty, as in a new definition.
fn nullable<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CrdCondition {
    #[serde(rename = "type")]
    of: String,
    status: String,
    message: String,
}

impl Crd<'_> {
    /// Returns why its names were refused, if they were never accepted. A new definition has no conditions
    /// yet, and one that was served before keeps its earlier names.
    fn names_refused(&self) -> Option<&str> {
        let conditions = &self.status.conditions;
        let condition = |of: &str| conditions.iter().find(|c| c.of == of);
        let served = condition("Established").is_some_and(|c| c.status == "True");
        let names = condition("NamesAccepted").filter(|c| c.status == "False" && !served)?;
        Some(&names.message)
    }

    fn version(&self, name: &str) -> Option<&CrdVersion<'_>> {
        self.spec.versions.iter().find(|v| v.name == name)
    }

    fn resource(&self) -> ResourceName {
        ResourceName::new(&self.spec.names.plural, &self.spec.group)
    }
}

/// Adds or corrects the kind that a definition creates, and records findings about it.
pub(super) fn add_definition(
    crd: &Crd<'_>,
    found: &mut Discovery,
    kinds: &mut BTreeMap<ResourceName, Kind>,
) {
    let name = crd.resource();
    if let Some(message) = crd.names_refused() {
        found.exclude(
            Severity::Warning,
            &name,
            (
                format!("its definition's names were never accepted ({message})"),
                "it has no objects",
            ),
            "give it names that no other kind of its group has, or delete the definition",
        );
        return;
    }
    let stored = crd.spec.versions.iter().find(|v| v.storage);
    let served = |v: &&CrdVersion<'_>| v.served;
    let Some(first) = crd.spec.versions.iter().find(served) else {
        found.exclude(
            Severity::Error,
            &name,
            (
                "its definition serves no version".to_owned(),
                "its objects cannot be read",
            ),
            "set `served: true` for a version in the CustomResourceDefinition; until then they are \
             only in the etcd snapshot",
        );
        return;
    };
    let known = |v: &&String| crd.version(v).is_some();
    let lost: Vec<&str> = crd
        .status
        .stored_versions
        .iter()
        .filter(|v| !known(v))
        .map(String::as_str)
        .collect();
    if !lost.is_empty() {
        found.findings.push(Finding::warning(
            name.to_string(),
            format!(
                "objects were once stored as {}, which the definition no longer has",
                lost.join(", ")
            ),
            "check that all of them were converted: every one that was read is in the restore point",
        ));
    }
    if is_butlers_group(&crd.spec.group) && found.crd_chart.is_none() {
        let chart = crd.metadata.labels.get("helm.sh/chart");
        let chart = chart.or_else(|| crd.metadata.annotations.get("helm.sh/chart"));
        found.crd_chart = chart.cloned();
    }
    tracing::trace!(definition = crd.metadata.name, "found");
    let preferred = stored.filter(|v| v.served).unwrap_or(first);
    let kind = kinds.entry(name.clone()).or_insert_with(|| Kind {
        resource: name,
        kind: crd.spec.names.kind.clone(),
        version: preferred.name.clone(),
        namespaced: crd.spec.scope == "Namespaced",
        custom: true,
        aggregated: false,
        can_list: true,
        // The list of kinds follows its definition a moment later: objects written in between would
        // lose their status.
        has_status: preferred.has_status(),
        also_served: Vec::new(),
        stored_version: None,
        converted: false,
    });
    kind.custom = true;
    kind.aggregated = false;
    // An object that is read in its stored version needs no conversion, which drops fields that another
    // version lacks, and which a webhook may refuse. If the stored version is not served, the server's own
    // choice is kept.
    if let Some(stored) = stored.filter(|v| v.served) {
        kind.version.clone_from(&stored.name);
        kind.has_status = stored.has_status();
    }
    let others = crd.spec.versions.iter().filter(served);
    let others = others.filter(|v| v.name != kind.version);
    kind.also_served = others.map(|v| v.name.clone()).collect();
    let conversion = crd.spec.conversion.as_ref();
    let same = |v: &String| *v == kind.version;
    let webhook = conversion.is_some_and(|c| c.strategy == "Webhook");
    kind.converted = webhook && !crd.status.stored_versions.iter().all(same);
    kind.stored_version = stored.map(|v| v.name.clone());
    found.findings.extend(converted(crd, kind, webhook));
}

/// Returns a finding about data that is lost when objects are not read in their stored version.
fn converted(crd: &Crd<'_>, kind: &Kind, webhook: bool) -> Option<Finding> {
    let finding = |severity, cause, remedy: &str| {
        Some(Finding::new(
            severity,
            kind.resource.to_string(),
            cause,
            remedy,
        ))
    };
    let read = kind.version.as_str();
    let stored = crd.status.stored_versions.iter().map(String::as_str);
    let stored = stored.chain(kind.stored_version.as_deref());
    let mut stored: Vec<&str> = stored.filter(|v| *v != read).collect();
    stored.sort_unstable();
    stored.dedup();
    let unserved = kind.stored_version.as_deref().filter(|v| *v != read);
    // The effect of a webhook on an object cannot be determined here.
    if !webhook && !crd.spec.preserve_unknown_fields {
        let reading = crd.version(read)?;
        let lacks = |version: &str| {
            let fields = missing_fields(reading.schema?, crd.version(version)?.schema?);
            (!fields.is_empty()).then(|| (version.to_owned(), fields))
        };
        if let Some((version, fields)) = stored.iter().find_map(|v| lacks(v)) {
            let fields = fields.join(", ");
            return finding(
                Severity::Warning,
                format!(
                    "objects may be stored as {version} and are read as {read}, which lacks some of its \
                     fields: {fields} are not in the restore point"
                ),
                if unserved.is_some() {
                    "set `served: true` for the version that is stored, or store the one that is \
                     served; until then these fields are only in the etcd snapshot"
                } else {
                    "write every object of the kind again, so that it is stored in the new version, and \
                     remove the old version from `status.storedVersions`"
                },
            );
        }
    }
    let version = unserved?;
    let by = if webhook {
        "a webhook converts them"
    } else {
        "no field is lost"
    };
    finding(
        Severity::Info,
        format!(
            "objects are stored as {version}, which is not served, and are read as {read}: {by}"
        ),
        "nothing to do if this is intended",
    )
}

#[cfg(test)]
mod tests;
