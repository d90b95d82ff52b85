//! Counters of one kind while its pages pass, and selection of the objects that are taken.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::super::kept_objects::ListRecorder;
use super::super::kind::Kind;
use super::super::object::Object;
use super::super::reader::KindReader;
use super::super::references::{ReferenceTarget, Referrer};
use super::super::scope::{CONFIG_MAPS, SECRETS, is_butlers, is_butlers_group};
use super::super::sealed::SealingKeyTrial;
use super::super::secrets::{SecretDestination, destination};
use super::admission::AdmissionCheck;
use super::{KubeArchive, KubeExport, SEALED_SECRETS, findings};
use backup_core::archive::{ObjectPath, is_too_deep, read_json};
use backup_core::digest::Digest;
use backup_core::format::export::{CompleteIn, KindFacts, Lost, Skipped};
use backup_core::num::to_u64;

/// Maximum number of recorded names of left-out objects, for reasons where each name matters.
const MAX_NAMES: usize = 100;

/// Maximum number of namespaces whose left-out objects are counted, for reasons where an object may be
/// missed.
const MAX_NAMESPACES: usize = 1000;
/// Reason for a Secret or ConfigMap that nothing seems to need.
const NOT_REFERRED: &str = "not in Butler's namespaces, and nothing refers to it";
/// Reason for an object in a namespace that is not included.
const ELSEWHERE: &str = "its namespace is not included";

/// Reason why an object is not taken.
struct SkipReason {
    reason: &'static str,
    by_name: bool,
}

/// Objects that are not taken for one reason.
#[derive(Default)]
struct SkippedObjects {
    objects: u64,
    names: Vec<String>,
    namespaces: BTreeMap<String, u64>,
}

/// Counters of a kind so far.
pub(super) struct KindTally {
    kind: Kind,
    sha256: Sha256,
    pub(super) objects: u64,
    /// Objects that are nested too deeply to be restored: the name of the first, and their number.
    pub(super) deep: Option<(String, u64)>,
    /// Number of objects that could not be read.
    pub(super) unreadable: u64,
    bytes: u64,
    /// Objects that are not taken, by reason.
    skipped: BTreeMap<&'static str, SkippedObjects>,
    managed_by: BTreeMap<String, u64>,
    /// Objects that the kind's definition does not admit.
    pub(super) admission: AdmissionCheck,
    /// Greatest `NAMESPACE/NAME` so far: a list that started again continues after it.
    last: String,
}

/// Object that is taken.
pub(super) struct TakenObject {
    pub(super) path: ObjectPath,
    pub(super) json: Bytes,
}

impl KindTally {
    pub(super) fn new(kind: &Kind, admission: AdmissionCheck) -> Self {
        Self {
            kind: kind.clone(),
            sha256: Sha256::new(),
            objects: 0,
            deep: None,
            unreadable: 0,
            bytes: 0,
            skipped: BTreeMap::new(),
            managed_by: BTreeMap::new(),
            admission,
            last: String::new(),
        }
    }

    /// Processes the objects of one page; returns those that are taken, in order.
    pub(super) fn page(
        &mut self,
        export: &KubeExport,
        archive: KubeArchive,
        items: Vec<Bytes>,
        restarted: bool,
        mut recorder: Option<&mut Box<dyn ListRecorder>>,
    ) -> Vec<TakenObject> {
        let mut objects = Vec::with_capacity(items.len());
        for item in items {
            match Object::read(&self.kind, item) {
                Ok(object) => objects.push((object.path.object(), object)),
                Err(e) => {
                    tracing::warn!(kind = %self.kind.resource, error = %e, "an object cannot be read");
                    self.unreadable = self.unreadable.saturating_add(1);
                    self.skip("it cannot be read", None);
                }
            }
        }
        // The order of etcd; only extension APIs may return another one.
        objects.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut taken = Vec::with_capacity(objects.len());
        for (place, object) in objects {
            if restarted && place <= self.last {
                continue;
            }
            if let Some(recorder) = recorder.as_deref_mut() {
                recorder.object(&place, &object.meta.resource_version, &object.json);
            }
            let value = value_of(archive, &object);
            if let Some(value) = &value {
                collect_facts(export, &object, value);
            }
            match skip(export, archive, &object) {
                Some(SkipReason { reason, by_name }) => {
                    let left = self.skip(reason, by_name.then_some(&place));
                    if reason == NOT_REFERRED {
                        left.count(object.path.namespace.as_deref().unwrap_or_default());
                    }
                }
                None => {
                    try_keys(export, archive, &object);
                    if let Some(value) = &value {
                        self.admission.judge(&object.path, value);
                    }
                    taken.push(self.take(object));
                }
            }
            self.last = place;
        }
        taken
    }

    fn take(&mut self, object: Object) -> TakenObject {
        if is_too_deep(&object.json) {
            let first = || (object.path.object(), 0);
            let (_, count) = self.deep.get_or_insert_with(first);
            *count = count.saturating_add(1);
        }
        if let Some(tool) = object.managed_by() {
            let count = self.managed_by.entry(tool.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
        self.sha256.update(&object.json);
        self.objects = self.objects.saturating_add(1);
        let size = to_u64(object.json.len());
        self.bytes = self.bytes.saturating_add(size);
        TakenObject {
            path: object.path,
            json: object.json,
        }
    }

    fn skip(&mut self, reason: &'static str, name: Option<&str>) -> &mut SkippedObjects {
        let left = self.skipped.entry(reason).or_default();
        left.objects = left.objects.saturating_add(1);
        if let Some(name) = name.filter(|_| left.names.len() < MAX_NAMES) {
            left.names.push(name.to_owned());
        }
        left
    }

    /// Returns the manifest's facts about the kind.
    pub(super) fn facts(
        self,
        reading: &KindReader<'_>,
        scope: Option<CompleteIn>,
        lost: Vec<Lost>,
        failed: Option<String>,
    ) -> KindFacts {
        let whole = self.skipped.keys().all(|reason| *reason == ELSEWHERE);
        let whole = whole && failed.is_none() && self.unreadable == 0 && reading.lost().is_empty();
        let failed = failed.or_else(|| not_whole(self.unreadable, &lost));
        let kind = self.kind;
        let skipped = self.skipped.into_iter();
        let skipped = skipped.map(|(reason, left)| Skipped {
            reason: reason.to_owned(),
            objects: left.objects,
            names: left.names,
            namespaces: left.namespaces,
        });
        KindFacts {
            resource: kind.resource.to_string(),
            stored_version: kind.stored_version.filter(|v| *v != kind.version),
            kind: kind.kind,
            version: kind.version,
            namespaced: kind.namespaced,
            also_served: kind.also_served,
            resource_version: reading.resource_version(),
            consistency: reading.consistency(),
            watched: reading.watched(),
            listed_because: reading.listed_because(),
            objects: self.objects,
            bytes: self.bytes,
            sha256: Digest::from_bytes(self.sha256.finalize().into()),
            skipped: skipped.collect(),
            managed_by: self.managed_by,
            complete: scope.filter(|_| whole),
            failed,
            lost,
            list_failed: reading.list_failed(),
        }
    }
}

impl SkippedObjects {
    fn count(&mut self, namespace: &str) {
        let known = self.namespaces.contains_key(namespace);
        if known || self.namespaces.len() < MAX_NAMESPACES {
            let count = self.namespaces.entry(namespace.to_owned()).or_default();
            *count = count.saturating_add(1);
        }
    }
}

/// Returns the objects that could not be read and belong in `archive`, as far as their names show it.
pub(super) fn lost(
    export: &KubeExport,
    archive: KubeArchive,
    reading: &KindReader<'_>,
) -> Vec<Lost> {
    let always = matches!(archive, KubeArchive::Crds | KubeArchive::SealedSecrets);
    let namespaced = reading.kind().namespaced;
    let wanted = |lost: &&Lost| {
        let place = lost.name.rsplit(' ').next().unwrap_or_default();
        let namespace = place.split_once('/').map(|(namespace, _)| namespace);
        let namespace = namespace.filter(|_| namespaced && !always);
        namespace.is_none_or(|namespace| export.selection.wants_namespace(namespace))
    };
    reading.lost().iter().filter(wanted).cloned().collect()
}

/// Returns why not all objects of a complete list are taken.
fn not_whole(unreadable: u64, lost: &[Lost]) -> Option<String> {
    let odd = (unreadable > 0).then(|| {
        format!("{unreadable} of its objects have no name or cannot be read, and were left out")
    });
    let lost = (!lost.is_empty()).then(|| findings::lost_of(lost));
    let all: Vec<String> = odd.into_iter().chain(lost).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Parses a resource; returns `None` for other archives, or if it cannot be parsed.
fn value_of(archive: KubeArchive, object: &Object) -> Option<serde_json::Value> {
    let is_resource = archive == KubeArchive::Resources;
    is_resource.then(|| read_json(&object.json).ok())?
}

/// Records the facts that an object contains about others.
fn collect_facts(export: &KubeExport, object: &Object, value: &serde_json::Value) {
    let resource = &object.path.resource;
    let namespace = object.path.namespace.as_deref();
    let mut collected = export.collected();
    let by = Referrer {
        resource: resource.as_str(),
        namespace,
        name: &object.meta.name,
    };
    // References of an object that is not taken do not matter.
    if namespace.is_none_or(|namespace| export.selection.wants_namespace(namespace)) {
        collected.references.collect(by, value);
    }
    if resource.as_str() == "namespaces" {
        if is_butlers(&object.meta.name, object.meta.labels.keys()) {
            collected.butlers.insert(object.meta.name.clone());
        }
    } else if is_butlers_group(resource.group()) {
        let tenant = value.pointer("/status/tenantNamespace");
        let tenant = tenant.and_then(serde_json::Value::as_str);
        let names = namespace.into_iter().chain(tenant);
        collected.butlers.extend(names.map(ToOwned::to_owned));
    }
}

/// Tries the sealing keys of the restore point on its SealedSecrets.
fn try_keys(export: &KubeExport, archive: KubeArchive, object: &Object) {
    match archive {
        KubeArchive::SealedSecrets => {
            let mut collected = export.collected();
            collected
                .trial
                .get_or_insert_with(SealingKeyTrial::new)
                .key(&object.json);
        }
        KubeArchive::Resources if object.path.resource.as_str() == SEALED_SECRETS => {
            let mut collected = export.collected();
            let trial = collected.trial.get_or_insert_with(SealingKeyTrial::new);
            trial.sealed_secret(&object.json);
        }
        _ => {}
    }
}

/// Returns why an object is not taken into `archive`; `None` if it is taken.
fn skip(export: &KubeExport, archive: KubeArchive, object: &Object) -> Option<SkipReason> {
    let plain = |reason| {
        Some(SkipReason {
            reason,
            by_name: false,
        })
    };
    let destination = match object.path.resource.as_str() {
        SECRETS | CONFIG_MAPS => Some(destination(object)),
        _ => None,
    };
    match (archive, destination) {
        (KubeArchive::SealedSecrets, Some(SecretDestination::SealedSecrets))
        | (KubeArchive::Kubeconfigs, Some(SecretDestination::Kubeconfigs))
        | (KubeArchive::Crds | KubeArchive::Resources, None) => {}
        (KubeArchive::Secrets, Some(destination)) => {
            // Called first: it records that the object exists.
            let reason = exclusion_reason(export, object, destination);
            let namespace = object.path.namespace.as_deref().unwrap_or_default();
            // In a namespace that is not included, no object can be missed.
            let outside = !export.selection.wants_namespace(namespace);
            if let Some(reason) = reason.filter(|reason| !(outside && *reason == NOT_REFERRED)) {
                return plain(reason);
            }
        }
        _ => return plain("it belongs to another component"),
    }
    let always = matches!(archive, KubeArchive::Crds | KubeArchive::SealedSecrets);
    let namespace = match object.path.resource.as_str() {
        "namespaces" => Some(object.meta.name.as_str()),
        _ => object.path.namespace.as_deref(),
    };
    if let Some(namespace) = namespace.filter(|_| !always)
        && !export.selection.wants_namespace(namespace)
    {
        return plain(ELSEWHERE);
    }
    object.meta.deletion_timestamp.as_ref().map(|_| SkipReason {
        reason: "it is being deleted",
        by_name: true,
    })
}

/// Returns why a Secret or ConfigMap does not belong in the component of Secrets; records that it exists.
fn exclusion_reason(
    export: &KubeExport,
    object: &Object,
    destination: SecretDestination,
) -> Option<&'static str> {
    let kind = object.path.resource.as_str();
    let namespace = object.path.namespace.as_deref().unwrap_or_default();
    let target = if kind == SECRETS {
        ReferenceTarget::Secret
    } else {
        ReferenceTarget::ConfigMap
    };
    let mut collected = export.collected();
    let referred = collected
        .references
        .mark_present(target, namespace, &object.meta.name);
    match destination {
        SecretDestination::Nowhere(reason) => Some(reason),
        SecretDestination::SealedSecrets | SecretDestination::Kubeconfigs => {
            Some("it belongs to another component")
        }
        SecretDestination::Secrets { always } => {
            let wanted = always
                || referred
                || collected.butlers.contains(namespace)
                || is_butlers(namespace, [])
                || export.by_name();
            (!wanted).then_some(NOT_REFERRED)
        }
    }
}
