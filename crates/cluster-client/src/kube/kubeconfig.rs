//! Reader of a kubeconfig from an untrusted source: nothing that it names is run, opened or followed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::pem::unusable_key;
use crate::yaml::{self, YamlFlaw, or_default};
use backup_core::digest::Digest;
use backup_core::format::export::{AuthorityFacts, KubeconfigFacts};
use backup_core::proxy::Proxy;
use backup_core::text;

mod access;

pub use access::KubeconfigAccess;
pub(super) use access::anchors;

/// Largest kubeconfig. They have 6 KiB; a Secret has at most 1 MiB.
const MAX_BYTES: usize = 1 << 20;
/// Maximum number of authority certificates. An authority that is being replaced has two, at times three.
const MAX_AUTHORITIES: usize = 32;

/// Result of examining a kubeconfig.
#[derive(Debug)]
pub struct KubeconfigReport {
    /// Facts that are not secret.
    pub facts: KubeconfigFacts,
    /// Data needed to connect; `None` if `facts.unusable` gives the reason.
    pub client: Option<KubeconfigAccess>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawKubeconfig {
    #[serde(default)]
    current_context: Option<String>,
    #[serde(default)]
    clusters: Option<Vec<NamedCluster>>,
    #[serde(default)]
    users: Option<Vec<NamedUser>>,
    #[serde(default)]
    contexts: Option<Vec<NamedContext>>,
}

#[derive(Deserialize)]
struct NamedCluster {
    #[serde(deserialize_with = "or_default")]
    name: String,
    cluster: Option<ClusterFields>,
}

#[derive(Deserialize)]
struct NamedUser {
    #[serde(deserialize_with = "or_default")]
    name: String,
    user: Option<UserFields>,
}

#[derive(Deserialize)]
struct NamedContext {
    #[serde(deserialize_with = "or_default")]
    name: String,
    context: Option<ContextFields>,
}

#[derive(Deserialize)]
struct ContextFields {
    #[serde(default, deserialize_with = "or_default")]
    cluster: String,
    #[serde(default, deserialize_with = "or_default")]
    user: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct ClusterFields {
    server: Option<String>,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: Option<bool>,
    proxy_url: Option<String>,
    tls_server_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct UserFields {
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    #[serde(deserialize_with = "hidden")]
    client_key_data: Option<SecretString>,
    #[serde(deserialize_with = "hidden")]
    token: Option<SecretString>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    #[serde(rename = "as")]
    impersonated: Option<String>,
    username: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
    exec: Option<serde::de::IgnoredAny>,
}

/// Deserializes a text that is wiped when it is dropped.
fn hidden<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
    Ok(Option::<String>::deserialize(from)?.map(SecretString::from))
}

/// Examines a kubeconfig's current context; `origin` is the place where it was found.
#[must_use]
pub fn examine(origin: &str, bytes: &[u8]) -> KubeconfigReport {
    let mut facts = KubeconfigFacts {
        origin: origin.to_owned(),
        ..KubeconfigFacts::default()
    };
    match judge(&mut facts, bytes) {
        Ok(client) => KubeconfigReport {
            facts,
            client: Some(client),
        },
        Err(why) => {
            facts.unusable = Some(why);
            KubeconfigReport {
                facts,
                client: None,
            }
        }
    }
}

fn judge(facts: &mut KubeconfigFacts, bytes: &[u8]) -> Result<KubeconfigAccess, String> {
    let (cluster, user) = current(parse(bytes)?)?;
    // First collect all facts that are not secret, then check whether it can be used.
    let server = server(cluster.server.as_deref());
    if let Ok(server) = &server {
        facts.server = Some(server.clone());
    }
    let authority = cluster.certificate_authority_data.as_deref();
    let authority = authority
        .filter(|text| !text.is_empty())
        .map(|text| authorities("certificate-authority-data", text))
        .transpose();
    if let Ok(Some(ders)) = &authority {
        facts.ca_sha256 = ders.first().map(|first| Digest::of(first));
        facts.ca_not_after = ders.iter().filter_map(not_after).max();
        if ders.len() > 1 {
            let each = ders.iter().map(|der| AuthorityFacts {
                sha256: Digest::of(der),
                not_after: not_after(der),
            });
            facts.authorities = each.take(MAX_AUTHORITIES).collect();
        }
    }
    let certificate = user.client_certificate_data.filter(|t| !t.is_empty());
    let client = certificate
        .as_deref()
        .map(|text| certificates("client-certificate-data", text))
        .transpose();
    if let Ok(Some(ders)) = &client {
        facts.client_not_after = ders.first().and_then(not_after);
    }

    if user.exec.is_some() {
        return Err("it runs a program (exec), which is not supported".to_owned());
    }
    if user.auth_provider.is_some() {
        return Err("it runs a plugin (auth-provider), which is not supported".to_owned());
    }
    let files = [
        ("certificate-authority", &cluster.certificate_authority),
        ("client-certificate", &user.client_certificate),
        ("client-key", &user.client_key),
        ("tokenFile", &user.token_file),
    ];
    let files = files.into_iter().filter(|(_, path)| set(path.as_ref()));
    let files: Vec<&str> = files.map(|(field, _)| field).collect();
    if !files.is_empty() {
        return Err(format!(
            "it names files ({}), which are never opened: write their contents into it with \
             `kubectl config view --flatten --raw`",
            files.join(", ")
        ));
    }
    if cluster.insecure_skip_tls_verify == Some(true) {
        return Err(
            "insecure-skip-tls-verify is set: credentials would go to any server that answers"
                .to_owned(),
        );
    }
    let proxy = cluster.proxy_url.filter(|url| !url.trim().is_empty());
    let proxy = proxy.map(|url| Proxy::read("proxy-url", &url)).transpose();
    let proxy = proxy.map_err(|error| error.to_string())?;
    if set(user.impersonated.as_ref()) {
        return Err("it acts as another user (as), which is not supported".to_owned());
    }
    let server = server?;
    let authorities = authority?.ok_or("certificate-authority-data is missing")?;
    let shown = client?;
    if let Some(problem) = shown.as_ref().and_then(|c| unusable_key(c.first()?)) {
        return Err(format!("client-certificate-data {problem}"));
    }
    let identity = match (certificate, user.client_key_data) {
        (Some(certificate), Some(key)) => {
            let key = compact(key.expose_secret());
            Some((compact(&certificate), SecretString::from(key)))
        }
        (None, None) => None,
        (Some(_), None) => return Err("client-key-data is missing".to_owned()),
        (None, Some(_)) => return Err("client-certificate-data is missing".to_owned()),
    };
    if identity.is_none() && user.token.is_none() {
        let why = if user.username.is_some() {
            "it has a password only, which no API server has accepted since 1.19"
        } else {
            "it has neither a client certificate nor a token"
        };
        return Err(why.to_owned());
    }
    Ok(KubeconfigAccess {
        server,
        authorities: authorities.into_iter().map(|der| der.to_vec()).collect(),
        identity,
        token: user.token.map(|token| token.expose_secret().trim().into()),
        tls_server_name: cluster.tls_server_name.filter(|name| !name.is_empty()),
        proxy,
    })
}

fn parse(bytes: &[u8]) -> Result<RawKubeconfig, String> {
    if bytes.len() > MAX_BYTES {
        return Err(format!("it is larger than {MAX_BYTES} bytes"));
    }
    let text = text::decode(bytes).map_err(|_| "it is not text".to_owned())?;
    yaml::read(&text).map_err(|YamlFlaw { at, field }| match at {
        Some((line, column)) => {
            format!("it is not a kubeconfig: line {line}, column {column} ({field})")
        }
        None => format!("it is not a kubeconfig ({field})"),
    })
}

/// Returns the cluster and the user of the current context. Errors contain their names, which are not
/// secret.
fn current(raw: RawKubeconfig) -> Result<(ClusterFields, UserFields), String> {
    let name = raw.current_context.filter(|name| !name.is_empty());
    let name = name.ok_or("current-context is not set")?;
    let contexts = raw.contexts.unwrap_or_default();
    let context = contexts.into_iter().find(|c| c.name == name);
    let context = context
        .and_then(|c| c.context)
        .ok_or_else(|| format!("its current context {name:?} is not there"))?;
    let clusters = raw.clusters.unwrap_or_default();
    let cluster = clusters.into_iter().find(|c| c.name == context.cluster);
    let cluster = cluster
        .and_then(|c| c.cluster)
        .ok_or_else(|| format!("its cluster {:?} is not there", context.cluster))?;
    let users = raw.users.unwrap_or_default();
    let user = users.into_iter().find(|u| u.name == context.user);
    let user = user
        .ok_or_else(|| format!("its user {:?} is not there", context.user))?
        .user
        .unwrap_or_default();
    Ok((cluster, user))
}

/// Returns the server's address, if it contains no password and can be used.
fn server(text: Option<&str>) -> Result<String, String> {
    let text = text.map(str::trim).filter(|t| !t.is_empty());
    let text = text.ok_or("server is missing")?;
    let url = url::Url::parse(text).map_err(|_| "server is not an address")?;
    let hidden = !url.username().is_empty() || url.password().is_some() || url.query().is_some();
    if hidden {
        return Err("server holds more than an address, and may hold a password".to_owned());
    }
    if url.scheme() != "https" {
        return Err("server is not https: credentials would be sent unencrypted".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Removes the white space that YAML or an editor put into base64.
pub(super) fn compact(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

/// Decodes the PEM text of a field in base64.
fn pem_of(field: &str, text: &str) -> Result<Vec<u8>, String> {
    let pem = STANDARD.decode(compact(text));
    pem.map_err(|_| format!("{field} is not base64"))
}

/// Returns the readable certificates of authorities, at least one: clients skip the others.
fn authorities(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = pem_of(field, text)?;
    let readable = trusted(&pem);
    if !readable.is_empty() {
        return Ok(readable);
    }
    match CertificateDer::pem_slice_iter(&pem).next() {
        Some(Ok(_)) => Err(format!("{field} holds no readable X.509 certificate")),
        Some(Err(_)) => Err(format!("{field} is not PEM")),
        None => Err(format!("{field} holds no certificate")),
    }
}

/// Returns the readable certificates of a PEM text.
fn trusted(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    found
        .filter(|der| X509Certificate::from_der(der).is_ok())
        .collect()
}

/// Returns a certificate and its chain, from base64 of PEM; the first one is readable.
fn certificates(field: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = pem_of(field, text)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|_| format!("{field} is not PEM"))?;
    match found.first() {
        Some(first) if X509Certificate::from_der(first).is_ok() => Ok(found),
        Some(_) => Err(format!("{field} holds no readable X.509 certificate")),
        None => Err(format!("{field} holds no certificate")),
    }
}

/// Returns the time at which a certificate expires.
fn not_after(der: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(der).ok()?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).ok()
}

/// Returns the SHA-256 of every readable certificate of a PEM text.
pub(super) fn pem_sha256(pem: &[u8]) -> Vec<Digest> {
    let certificates = trusted(pem).into_iter();
    certificates.map(|der| Digest::of(&der)).collect()
}

fn set(field: Option<&String>) -> bool {
    field.is_some_and(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
