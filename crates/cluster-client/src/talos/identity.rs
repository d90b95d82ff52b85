//! Client certificate, checked before dialling because a server that refuses it gives few details.
//!
//! With TLS 1.3 the handshake ends before the server has checked the certificate, so a refusal arrives
//! as a broken pipe as often as with its reason.

use std::collections::BTreeSet;

use crate::pem::{NO_CERTIFICATE, authorities, certificates, private_key, unusable_key};
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::config::{TalosConfigError, TalosContext};

/// Shortest lifetime of a certificate that a person renews, who needs an early warning.
const LONG_LIVED: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Remaining time at which a long-lived certificate gets a warning.
const LONG_NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// Remaining time at which a short-lived certificate gets a warning. In a cluster, certificates of 6
/// hours are renewed an hour before their end, and the file follows within minutes: less time than this
/// means that the renewal does not work.
const SHORT_NOTICE: SignedDuration = SignedDuration::from_mins(45);

/// Roles that may take a snapshot.
pub(super) const SNAPSHOT_ROLES: [&str; 3] = ["os:etcd:backup", "os:operator", ADMIN];
/// Role that may do everything.
pub(super) const ADMIN: &str = "os:admin";

/// Client certificate and trusted authorities of a connection.
///
/// Not `Debug`: it holds a private key.
pub(super) struct TalosCredentials {
    /// Accepted authorities; at least one.
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// Client's certificate and the chain that is sent along.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// Private key of the client.
    pub(super) key: PrivateKeyDer<'static>,
    /// Time at which the certificate expires.
    pub(super) not_after: Timestamp,
    /// Roles in the certificate, in order.
    pub(super) roles: BTreeSet<String>,
    /// Warnings about the certificate.
    pub(super) warnings: Vec<String>,
}

impl TalosCredentials {
    /// Extracts the certificates and the key from `context`, and checks them at the time `now`.
    ///
    /// # Errors
    /// When something cannot be read, when the certificate is not valid now, or when no server would
    /// accept it from a client.
    pub(super) fn check(context: &TalosContext, now: Timestamp) -> Result<Self, TalosConfigError> {
        let bad = |field, problem: String| TalosConfigError::Field {
            file: context.file.clone(),
            context: context.name.clone(),
            field,
            problem,
        };
        let authorities = authorities(&context.ca).map_err(|problem| bad("ca", problem))?;
        let chain = certificates(&context.crt).map_err(|problem| bad("crt", problem))?;
        let key = private_key(&context.key).map_err(|problem| bad("key", problem))?;
        let leaf = chain
            .first()
            .ok_or_else(|| bad("crt", NO_CERTIFICATE.to_owned()))?;
        if let Some(problem) = unusable_key(leaf) {
            return Err(bad("crt", problem.to_owned()));
        }
        let facts = examine(leaf, now).map_err(|problem| bad("crt", problem))?;
        Ok(Self {
            authorities,
            roles: facts.roles,
            not_after: facts.not_after,
            warnings: facts
                .warnings
                .into_iter()
                .map(|warning| {
                    format!(
                        "the client certificate in {}, context {:?}, {warning}",
                        context.file, context.name
                    )
                })
                .collect(),
            chain,
            key,
        })
    }
}

const RENEW: &str = "make a new one with `talosctl config new --roles os:etcd:backup`; in a cluster \
                     see the events of its ServiceAccount (`kubectl describe tsa`)";

struct CertificateFacts {
    roles: BTreeSet<String>,
    not_after: Timestamp,
    warnings: Vec<String>,
}

/// Checks a client certificate on its own.
fn examine(leaf: &CertificateDer<'_>, now: Timestamp) -> Result<CertificateFacts, String> {
    let (_, certificate) = X509Certificate::from_der(leaf)
        .map_err(|_| "does not hold a certificate that can be read".to_owned())?;
    let mut warnings = Vec::new();

    let date = |seconds| {
        Timestamp::from_second(seconds).map_err(|_| "has dates that cannot be read".to_owned())
    };
    let not_before = date(certificate.validity().not_before.timestamp())?;
    let not_after = date(certificate.validity().not_after.timestamp())?;
    if now < not_before {
        return Err(format!(
            "the certificate is not valid before {not_before}, and it is now {now}: check this machine's \
             clock"
        ));
    }
    if now > not_after {
        return Err(format!("the certificate expired on {not_after}: {RENEW}"));
    }
    let notice = if not_after.duration_since(not_before) >= LONG_LIVED {
        LONG_NOTICE
    } else {
        SHORT_NOTICE
    };
    if not_after.duration_since(now) < notice {
        warnings.push(format!("expires soon, on {not_after}: {RENEW}"));
    }

    let usage = certificate
        .extended_key_usage()
        .map_err(|_| "has an extended key usage that cannot be read".to_owned())?;
    match usage.map(|usage| usage.value) {
        None => warnings.push(format!(
            "names no extended key usage; Talos 1.12 and later accept clientAuth only: {RENEW}"
        )),
        Some(usage) if !usage.client_auth && !usage.any => {
            return Err(format!(
                "the certificate's extended key usage lacks clientAuth, so every server refuses \
                 it: {RENEW}"
            ));
        }
        Some(usage)
            if usage.any
                || usage.server_auth
                || usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing
                || !usage.other.is_empty() =>
        {
            warnings.push(format!(
                "has more extended key usages than clientAuth; Talos 1.12 and later refuse it as \
                 a bad certificate: {RENEW}"
            ));
        }
        Some(_) => {}
    }

    let roles: BTreeSet<String> = certificate
        .subject()
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect();
    if !SNAPSHOT_ROLES.iter().any(|role| roles.contains(*role)) {
        warnings.push(format!(
            "carries {}; a snapshot needs one of {}",
            describe_roles(&roles),
            SNAPSHOT_ROLES.join(", ")
        ));
    }
    Ok(CertificateFacts {
        roles,
        not_after,
        warnings,
    })
}

/// Describes the roles of a certificate for a sentence.
pub(super) fn describe_roles(roles: &BTreeSet<String>) -> String {
    if roles.is_empty() {
        "no role".to_owned()
    } else {
        let names: Vec<&str> = roles.iter().map(String::as_str).collect();
        format!("the roles {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests;
