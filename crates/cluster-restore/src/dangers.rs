//! Checks for what could hurt a tenant, made on the objects before anything is written.

mod planes;
mod sealed;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;
use zeroize::Zeroizing;

use super::plan::{Danger, Mode, Options};
use super::spool::Entry;
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::{Finding, Severity};
use cluster_client::kube::sealed::Keyring;

pub(super) use self::planes::{CONTROL_PLANES, ControlPlane};
pub(super) use self::sealed::SEALED_SECRETS;

pub(super) const DATASTORES: &str = "datastores.steward.butlerlabs.dev";
/// Largest number of findings of one kind that are listed one by one.
const MAX_FINDINGS: usize = 50;

/// Checker that inspects objects one by one and reports at the end. It holds no secret.
#[derive(Default)]
pub(super) struct DangerChecker {
    found: Vec<(Option<Danger>, Finding)>,
    planes: Vec<ControlPlane>,
    /// Secrets that are restored, as namespace and name.
    secrets: BTreeSet<(String, String)>,
    /// Schema in each `…-datastore-config`.
    schemas: BTreeMap<(String, String), String>,
    /// Endpoints of each DataStore.
    datastores: BTreeMap<String, String>,
    keyring: Keyring,
    /// SealedSecrets that no key opens, and how many were tried.
    sealed: sealed::SealedSecretCount,
}

/// Objects that the cluster already has.
#[derive(Debug, Default)]
pub(super) struct LiveObjects {
    /// Control planes.
    pub(super) planes: Vec<ControlPlane>,
    /// DataStores with their endpoints.
    pub(super) stores: BTreeMap<String, String>,
    /// Secrets, as namespace and name.
    pub(super) secrets: BTreeSet<(String, String)>,
    /// Sealing keys.
    pub(super) keyring: Keyring,
    /// Whether the cluster is assumed to have everything that is needed. It is not read, because
    /// etcd is restored first.
    pub(super) assumed: bool,
}

impl LiveObjects {
    fn has(&self, datastore: &str) -> bool {
        self.assumed || self.stores.contains_key(datastore)
    }

    fn has_secret(&self, key: &(String, String)) -> bool {
        self.assumed || self.secrets.contains(key)
    }

    /// Records a Secret of the cluster. Its values are dropped, except those of sealing keys.
    pub(super) fn secret(&mut self, path: &ObjectPath, object: &Value) {
        let namespace = path.namespace.clone().unwrap_or_default();
        if secrets::is_sealing_key(path, object)
            && let Ok(text) = serde_json::to_vec(object).map(Zeroizing::new)
        {
            // A key that its controller cannot read opens nothing.
            self.keyring.add(&text).ok();
        }
        self.secrets.insert((namespace, path.name.clone()));
    }
}

/// Returns the endpoints of a DataStore in one form, independent of their order.
pub(super) fn endpoints(object: &Value) -> String {
    let listed = object.pointer("/spec/endpoints").and_then(Value::as_array);
    let mut listed: Vec<&str> = listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    listed.sort_unstable();
    listed.join(",")
}

impl DangerChecker {
    /// Inspects an object that will be written.
    pub(super) fn inspect(&mut self, entry: &Entry, object: &Value, mode: Mode, now: Timestamp) {
        match entry.path.resource.as_str() {
            CONTROL_PLANES => self.control_plane(entry, object),
            "secrets" => self.secret(entry, object, now),
            DATASTORES => {
                self.datastores
                    .insert(entry.path.name.clone(), endpoints(object));
            }
            "tenantclusters.butler.butlerlabs.dev" if mode == Mode::Rebuild => {
                self.identity(
                    entry,
                    object,
                    "/status/tenantNamespace",
                    "a second tenant, with machines of its own, is made",
                );
            }
            "ipallocations.butler.butlerlabs.dev" if mode == Mode::Rebuild => {
                let pinned = object.pointer("/spec/pinnedRange").is_some();
                if !pinned {
                    self.identity(
                        entry,
                        object,
                        "/status/phase",
                        "its addresses are given to somebody else",
                    );
                }
            }
            _ => {}
        }
        if let Some(annotations) = object
            .pointer("/metadata/annotations")
            .and_then(Value::as_object)
        {
            let rotates = annotations
                .keys()
                .find(|k| k.starts_with("butler.butlerlabs.dev/rotation-"));
            if let Some(annotation) = rotates {
                self.say(
                    None,
                    Severity::Warning,
                    entry.path.to_string(),
                    format!("it has annotation {annotation}, which may start a rotation again"),
                    "look at it before Butler's controllers run again",
                );
            }
        }
    }

    fn identity(&mut self, entry: &Entry, object: &Value, pointer: &str, harm: &str) {
        let held = object.pointer(pointer).and_then(Value::as_str);
        if held.is_none_or(str::is_empty) && object.pointer("/metadata/deletionTimestamp").is_none()
        {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            self.say(
                Some(Danger::LostStatus),
                Severity::Error,
                entry.path.to_string(),
                format!("it has no {field}: without it {harm}"),
                "restore from an archive that has its status, or leave it out with \
                 --exclude-resources",
            );
        }
    }

    fn say(
        &mut self,
        danger: Option<Danger>,
        severity: Severity,
        object: String,
        cause: String,
        remedy: &str,
    ) {
        let finding = Finding::new(severity, object, cause, remedy);
        self.found.push((danger, finding));
    }

    /// Adds findings that other checks made about the inspected objects.
    pub(super) fn add(&mut self, found: Vec<(Option<Danger>, Finding)>) {
        self.found.extend(found);
    }

    /// Returns the control planes that will be written.
    pub(super) fn planes(&self) -> &[ControlPlane] {
        &self.planes
    }

    /// Makes the checks that need all objects and the cluster's objects, and returns the findings.
    pub(super) fn finish(
        mut self,
        options: &Options,
        mode: Mode,
        live: &LiveObjects,
    ) -> Vec<Finding> {
        let planes = std::mem::take(&mut self.planes);
        // A restore cannot take from an existing control plane what it already lacks.
        let there: BTreeSet<String> = live.planes.iter().map(ControlPlane::place).collect();
        for plane in &planes {
            if mode == Mode::Rebuild || !there.contains(&plane.place()) {
                self.needs(plane, live);
            }
        }
        self.shared(&planes, live);
        self.unopened();
        let mut findings = Vec::new();
        let mut counts: BTreeMap<Option<Danger>, usize> = BTreeMap::new();
        for (danger, mut finding) in self.found {
            let count = counts.entry(danger).or_default();
            *count = count.saturating_add(1);
            if danger.is_some_and(|d| options.allow.contains(&d)) {
                finding.severity = Severity::Warning;
                finding.remedy = format!("allowed: {}", finding.remedy);
            } else if let Some(danger) = danger.filter(|_| finding.severity == Severity::Error)
                && !finding.remedy.contains("--allow ")
            {
                let name = danger.name();
                finding.remedy = format!("{}; `--allow {name}` continues anyway", finding.remedy);
            }
            if *count <= MAX_FINDINGS || finding.severity == Severity::Error {
                findings.push(finding);
            }
        }
        findings
    }
}

impl std::fmt::Debug for DangerChecker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DangerChecker({} found)", self.found.len())
    }
}

#[cfg(test)]
mod tests;
