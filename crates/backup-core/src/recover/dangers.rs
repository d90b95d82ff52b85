//! What could hurt a tenant, seen in the objects before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::plan::{Danger, Mode, Options};
use super::spool::Entry;
use crate::format::manifest::{Finding, Severity};
use crate::source::kube::sealed::Keyring;

/// Steward makes a new authority when this is left, or less.
const DEADLINE: SignedDuration = SignedDuration::from_hours(24);
const CONTROL_PLANES: &str = "tenantcontrolplanes.steward.butlerlabs.dev";
const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// Findings of one kind that are told one by one.
const MOST: usize = 50;

/// Looks at objects one by one and tells at the end. Holds no secret.
#[derive(Default)]
pub(super) struct Dangers {
    found: Vec<(Option<Danger>, Finding)>,
    planes: Vec<ControlPlane>,
    /// Secrets that are there: namespace and name.
    secrets: BTreeSet<(String, String)>,
    /// The schema in each `…-datastore-config`.
    schemas: BTreeMap<(String, String), String>,
    datastores: BTreeSet<String>,
    keyring: Keyring,
}

/// What matters of a control plane.
#[derive(Debug, Clone)]
struct ControlPlane {
    namespace: String,
    name: String,
    datastore: String,
    schema: String,
    talos: bool,
    /// Whether it ever had an authority.
    ran: bool,
}

impl Dangers {
    /// Looks at an object that is going to be written.
    pub(super) fn look(&mut self, entry: &Entry, object: &Value, mode: Mode, now: Timestamp) {
        match entry.path.resource.as_str() {
            CONTROL_PLANES => self.control_plane(entry, object),
            "secrets" => self.secret(entry, object, now),
            "datastores.steward.butlerlabs.dev" => {
                self.datastores.insert(entry.path.name.clone());
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
                    format!("it carries {annotation}, which may begin a rotation again"),
                    "look at it before Butler's controllers go on",
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

    fn control_plane(&mut self, entry: &Entry, object: &Value) {
        let text = |pointer: &str| {
            let held = object.pointer(pointer).and_then(Value::as_str);
            held.filter(|t| !t.is_empty()).map(str::to_owned)
        };
        let place = || entry.path.to_string();
        let wanted = text("/spec/kubernetes/version");
        let has = text("/status/kubernetesResources/version/version");
        let phase = text("/status/kubernetesResources/version/status");
        if has.is_some() && has != wanted && phase.as_deref() != Some("Upgrading") {
            self.say(
                Some(Danger::ControlPlaneUpgrade),
                Severity::Error,
                place(),
                format!(
                    "it was captured as an upgrade began: its status says {} and its spec {}; \
                     Steward would wait for nodes of a control plane that it does not make",
                    has.as_deref().unwrap_or_default(),
                    wanted.as_deref().unwrap_or("nothing")
                ),
                "`--allow control-plane-upgrade` leaves that version out, and Steward brings the \
                 control plane to the spec's",
            );
        }
        let spec = text("/spec/dataStore");
        let status = text("/status/storage/dataStoreName");
        if let (Some(spec), Some(status)) = (&spec, &status)
            && spec != status
        {
            self.say(
                Some(Danger::DatastoreMigration),
                Severity::Error,
                place(),
                format!("its spec names DataStore {spec} and its status {status}: Steward would migrate it at once"),
                "see that both DataStores are restored and up, then `--allow datastore-migration`",
            );
        }
        let namespace = entry.path.namespace.clone().unwrap_or_default();
        let schema = text("/status/storage/setup/schema").or_else(|| text("/spec/dataStoreSchema"));
        self.planes.push(ControlPlane {
            datastore: status.or(spec).unwrap_or_default(),
            schema: schema
                .unwrap_or_else(|| format!("{namespace}_{}", entry.path.name).replace('-', "_")),
            talos: object.pointer("/spec/addons/talos").is_some()
                || object.pointer("/spec/workerBootstrap").is_some(),
            ran: object.pointer("/status/certificates/ca").is_some(),
            name: entry.path.name.clone(),
            namespace,
        });
    }

    fn secret(&mut self, entry: &Entry, object: &Value, now: Timestamp) {
        let namespace = entry.path.namespace.clone().unwrap_or_default();
        let key = (namespace, entry.path.name.clone());
        let data = |name: &str| {
            let held = object
                .get("data")
                .and_then(|d| d.get(name))
                .and_then(Value::as_str)?;
            STANDARD.decode(held).ok().map(Zeroizing::new)
        };
        let labels = object.pointer("/metadata/labels");
        if labels.is_some_and(|l| l.get(SEALING_KEY).is_some())
            && let Ok(text) = serde_json::to_vec(object).map(Zeroizing::new)
            && let Err(problem) = self.keyring.add(&text)
        {
            let finding = problem.finding();
            let cause = format!("{}: its controller would not start", finding.cause);
            self.say(
                Some(Danger::SealingKey),
                Severity::Error,
                entry.path.to_string(),
                cause,
                "leave it out with `restore-cli`'s --exclude-resources, or mend it in the cluster \
                 and take another restore point",
            );
        }
        if let Some(schema) = entry.path.name.strip_suffix("-datastore-config")
            && let Some(held) = data("DB_SCHEMA")
        {
            let held = String::from_utf8_lossy(&held).into_owned();
            self.schemas
                .insert((key.0.clone(), schema.to_owned()), held);
        }
        if entry.path.name.ends_with("-ca") && is_stewards(object) {
            self.authority(entry, &data, now);
        }
        self.secrets.insert(key);
    }

    fn authority(
        &mut self,
        entry: &Entry,
        data: &impl Fn(&str) -> Option<Zeroizing<Vec<u8>>>,
        now: Timestamp,
    ) {
        let mut say = |cause: String| {
            self.say(
                Some(Danger::TenantAuthority),
                Severity::Error,
                entry.path.to_string(),
                format!("{cause}: Steward would make a new authority, and every kubeconfig, token and node of the tenant would be refused"),
                "take the Secret from a restore point that has it whole; with `--allow \
                 tenant-authority` the tenant gets a new authority",
            );
        };
        let lacking: Vec<&str> = ["ca.crt", "ca.key"]
            .into_iter()
            .filter(|name| data(name).is_none_or(|d| d.is_empty()))
            .collect();
        if !lacking.is_empty() {
            return say(format!("it has no {}", lacking.join(" and ")));
        }
        let certificate = data("ca.crt");
        let der = certificate.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
        let ends = der.as_ref().and_then(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
        });
        match ends {
            None => say("its ca.crt is no certificate".to_owned()),
            Some(ends) if ends.duration_since(now) <= DEADLINE => {
                say(format!("its certificate ends at {ends}"));
            }
            Some(_) => {}
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
        let finding = Finding {
            severity,
            object,
            cause,
            remedy: remedy.to_owned(),
        };
        self.found.push((danger, finding));
    }

    /// Judges what only all objects together tell. `live` are control planes of the cluster that are
    /// not being restored: namespace, name, DataStore and schema of each.
    pub(super) fn finish(
        mut self,
        options: &Options,
        mode: Mode,
        live: &[(String, String, String, String)],
        has_datastore: impl Fn(&str) -> bool,
    ) -> Vec<Finding> {
        let planes = std::mem::take(&mut self.planes);
        if mode == Mode::Rebuild {
            for plane in &planes {
                self.needs(plane, &has_datastore);
            }
        }
        self.shared(&planes, live);
        let mut findings = Vec::new();
        let mut counts: BTreeMap<Option<Danger>, usize> = BTreeMap::new();
        for (danger, mut finding) in self.found {
            let count = counts.entry(danger).or_default();
            *count = count.saturating_add(1);
            if danger.is_some_and(|d| options.allow.contains(&d)) {
                finding.severity = Severity::Warning;
                finding.remedy = format!("allowed: {}", finding.remedy);
            }
            if *count <= MOST || finding.severity == Severity::Error {
                findings.push(finding);
            }
        }
        findings
    }

    fn needs(&mut self, plane: &ControlPlane, has_datastore: &impl Fn(&str) -> bool) {
        let ControlPlane {
            namespace, name, ..
        } = plane;
        let place = format!("{CONTROL_PLANES} {namespace}/{name}");
        let mut must = vec!["ca", "front-proxy-ca-certificate", "sa-certificate"];
        if plane.datastore.is_empty()
            || has_datastore(&plane.datastore)
            || self.datastores.contains(&plane.datastore)
        {
            must.push("datastore-config");
        }
        if plane.talos {
            must.push("trustd-creds");
        }
        let has = |part: &&str| {
            self.secrets
                .contains(&(namespace.clone(), format!("{name}-{part}")))
        };
        let lacking: Vec<String> = must
            .iter()
            .filter(|part| !has(part))
            .map(|part| format!("{name}-{part}"))
            .collect();
        // A control plane that never ran has none of them, and loses nothing.
        if !lacking.is_empty() && (plane.ran || lacking.len() < must.len()) {
            self.say(
                Some(Danger::MissingSecret),
                Severity::Error,
                place.clone(),
                format!("its Secrets {} are not restored with it: Steward would make new ones, and the tenant's nodes, tokens and kubeconfigs would be refused", lacking.join(", ")),
                "restore from a restore point that has component `secrets`, without a selection that \
                 leaves them out",
            );
        }
        let datastore = &plane.datastore;
        if !datastore.is_empty()
            && !self.datastores.contains(datastore)
            && !has_datastore(datastore)
        {
            self.say(
                None,
                Severity::Error,
                place.clone(),
                format!("its DataStore {datastore} is neither restored nor in the cluster"),
                "restore DataStores and their Secrets too",
            );
        }
        let named = self.schemas.get(&(namespace.clone(), name.clone()));
        if let Some(named) = named.filter(|named| **named != plane.schema) {
            let cause = format!(
                "its Secret {name}-datastore-config names schema {named} and the control plane {}: \
                 a delete would empty the other tenant",
                plane.schema
            );
            self.say(
                Some(Danger::SharedSchema),
                Severity::Error,
                place,
                cause,
                "mend the Secret in the cluster that was captured and take another restore point",
            );
        }
    }

    /// Control planes that keep their keys in the same place.
    fn shared(&mut self, planes: &[ControlPlane], live: &[(String, String, String, String)]) {
        let restored: BTreeSet<(&str, &str)> = planes
            .iter()
            .map(|p| (p.namespace.as_str(), p.name.as_str()))
            .collect();
        let mut held: BTreeMap<(String, String), String> = BTreeMap::new();
        for (namespace, name, datastore, schema) in live {
            if !restored.contains(&(namespace.as_str(), name.as_str())) {
                held.insert(
                    (datastore.clone(), schema.clone()),
                    format!("{namespace}/{name}"),
                );
            }
        }
        for plane in planes {
            let place = format!("{}/{}", plane.namespace, plane.name);
            let key = (plane.datastore.clone(), plane.schema.clone());
            if let Some(other) = held.insert(key, place.clone()) {
                self.say(
                    Some(Danger::SharedSchema),
                    Severity::Error,
                    format!("{CONTROL_PLANES} {place}"),
                    format!(
                        "it keeps its keys where {other} does, in schema {} of DataStore {}: \
                         deleting one empties the other",
                        plane.schema, plane.datastore
                    ),
                    "never restore a copy of a control plane beside it; for a drill restore its \
                     DataStore elsewhere too",
                );
            }
        }
    }
}

/// Whether Steward looks after the Secret.
fn is_stewards(object: &Value) -> bool {
    let label = object.pointer("/metadata/labels/steward.butlerlabs.dev~1project");
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let owned = owners
        .into_iter()
        .flatten()
        .any(|o| o.get("kind").and_then(Value::as_str) == Some("TenantControlPlane"));
    label.is_some() || owned
}

impl std::fmt::Debug for Dangers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dangers({} found)", self.found.len())
    }
}

#[cfg(test)]
mod tests;
