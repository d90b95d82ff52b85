//! Client certificate and trusted authorities of an etcd, checked before any connection.

use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::EtcdConfigError;
use crate::pem::{NO_CERTIFICATE, authorities, certificates, private_key, unusable_key};

/// Certificates of both sides, as PEM.
#[derive(Debug, Clone)]
pub struct EtcdTls {
    /// Certificates of the accepted authorities.
    pub authority: String,
    /// Certificate that the client presents, if any.
    pub client: Option<EtcdClientCertificate>,
}

/// Client certificate and its key.
#[derive(Debug, Clone)]
pub struct EtcdClientCertificate {
    /// Certificate as PEM. Its common name is the user, where etcd's auth is on.
    pub certificate: String,
    /// Private key as PEM.
    pub key: SecretString,
}

/// Parsed form of [`EtcdTls`]. Not `Debug`: it holds a private key.
pub(super) struct EtcdCredentials {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// Common name of the client certificate, which etcd takes as the user.
    pub(super) user: Option<String>,
}

impl EtcdCredentials {
    /// Parses `tls`, and checks that the client certificate is valid at `now`.
    pub(super) fn check(tls: &EtcdTls, now: Timestamp) -> Result<Self, EtcdConfigError> {
        let bad = |field| move |problem| EtcdConfigError::Field { field, problem };
        let authorities = authorities(&tls.authority).map_err(bad("certificateAuthority"))?;
        let Some(client) = &tls.client else {
            return Ok(Self {
                authorities,
                own: None,
                user: None,
            });
        };
        let chain =
            certificates(&client.certificate).map_err(bad("clientCertificate.certificate"))?;
        let key =
            private_key(client.key.expose_secret()).map_err(bad("clientCertificate.privateKey"))?;
        let user = examine(&chain, now).map_err(bad("clientCertificate.certificate"))?;
        Ok(Self {
            authorities,
            own: Some((chain, key)),
            user,
        })
    }
}

/// Returns the common name of a client certificate that is valid at `now`.
fn examine(chain: &[CertificateDer<'static>], now: Timestamp) -> Result<Option<String>, String> {
    let leaf = chain.first().ok_or(NO_CERTIFICATE)?;
    if let Some(problem) = unusable_key(leaf) {
        return Err(problem.to_owned());
    }
    let (_, leaf) = X509Certificate::from_der(leaf)
        .map_err(|_| "does not hold a certificate that can be read".to_owned())?;
    let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
    if now.as_second() < from.timestamp() {
        return Err(format!(
            "is not valid before {from}, and it is now {now:.0}: check this machine's clock"
        ));
    }
    if now.as_second() > until.timestamp() {
        return Err(format!("expired on {until}: put a new one in its place"));
    }
    let name = leaf.subject().iter_common_name().next();
    Ok(name.and_then(|name| name.as_str().ok().map(str::to_owned)))
}
