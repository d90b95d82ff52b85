//! Checks of Secrets: tenants' authorities, sealing keys, and which Secrets are restored.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use super::DangerChecker;
use crate::plan::Danger;
use crate::spool::Entry;
use backup_core::archive::ObjectPath;
use backup_core::format::manifest::Severity;

/// Remaining validity at which Steward makes a new authority.
const DEADLINE: SignedDuration = SignedDuration::from_hours(24);
/// Name of the only key in releases before 0.9.
const OLD_KEY: &str = "sealed-secrets-key";
pub(super) const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

impl DangerChecker {
    pub(super) fn secret(&mut self, entry: &Entry, object: &Value, now: Timestamp) {
        let namespace = entry.path.namespace.clone().unwrap_or_default();
        let key = (namespace, entry.path.name.clone());
        let data = |name: &str| {
            let held = object
                .get("data")
                .and_then(|d| d.get(name))
                .and_then(Value::as_str)?;
            STANDARD.decode(held).ok().map(Zeroizing::new)
        };
        if is_sealing_key(&entry.path, object)
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
                "leave it out with `restore-cli`'s --exclude-resources, or repair it in the \
                 cluster and take another restore point",
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
        // Steward reads only the first certificate; that certificate and its key are the authority.
        let certificate = data("ca.crt");
        let der = certificate.and_then(|pem| CertificateDer::from_pem_slice(&pem).ok());
        let ends = der.as_ref().and_then(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
        });
        match ends {
            None => say("its ca.crt is not a certificate".to_owned()),
            Some(ends) if ends.duration_since(now) <= DEADLINE => {
                say(format!("its certificate ends at {ends}"));
            }
            Some(_) => {}
        }
    }
}

/// Reports whether the sealed-secrets controller decrypts with the Secret. It selects Secrets by
/// their label, or by the name that its oldest releases used.
pub(super) fn is_sealing_key(path: &ObjectPath, object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels");
    let kind = object.get("type").and_then(Value::as_str);
    let old = path.name == OLD_KEY && kind == Some("kubernetes.io/tls");
    old || labels.is_some_and(|l| l.get(SEALING_KEY).is_some())
}

/// Reports whether Steward manages the Secret.
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
