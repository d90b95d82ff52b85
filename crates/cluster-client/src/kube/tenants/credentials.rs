//! Secrets of a tenant in the management cluster: its kubeconfig, its authority.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::super::failure::KubeError;
use super::super::request::Api;
use super::cluster::{ObjectIdentity, TenantCluster};
use crate::kube::kubeconfig::{self, KubeconfigReport};
use backup_core::digest::Digest;

/// Keys of a kubeconfig Secret, those that work from outside the cluster first.
const KEYS: [&str; 5] = [
    "admin.conf",
    "value",
    "kubeconfig",
    "admin.svc",
    "super-admin.conf",
];
/// Key with the address of the Service, instead of that in `status.controlPlaneEndpoint`.
pub(super) const IN_CLUSTER: &str = "admin.svc";

#[derive(Deserialize)]
struct TenantSecret {
    #[serde(default, deserialize_with = "hidden")]
    data: BTreeMap<String, Zeroizing<String>>,
}

fn hidden<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Zeroizing<String>>, D::Error> {
    let plain = Option::<BTreeMap<String, String>>::deserialize(from)?.unwrap_or_default();
    let wrapped = plain
        .into_iter()
        .map(|(key, text)| (key, Zeroizing::new(text)));
    Ok(wrapped.collect())
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct NamespaceList {
    items: Vec<Namespace>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Namespace {
    metadata: ObjectIdentity,
}

/// Finds the tenant's namespace by labels, for a status that does not name it.
pub(super) async fn namespace(
    api: &Api,
    tenant: &TenantCluster,
) -> Result<Option<String>, KubeError> {
    let (namespace, name) = tenant.metadata.key();
    let selector = format!(
        "butler.butlerlabs.dev/source-namespace={namespace},butler.butlerlabs.dev/source-name={name}"
    );
    let selector: String = url::form_urlencoded::byte_serialize(selector.as_bytes()).collect();
    let path = format!("/api/v1/namespaces?limit=2&labelSelector={selector}");
    let found: NamespaceList = api.get(&path, "list of namespaces").await?;
    Ok(match found.items.as_slice() {
        [one] => Some(one.metadata.name.clone()),
        // With two of them the choice would be a guess.
        _ => None,
    })
}

/// Returns the kubeconfig of a tenant whose objects are in `namespace`, and its key in the Secret.
pub(super) async fn kubeconfig(
    api: &Api,
    tenant: &TenantCluster,
    namespace: &str,
) -> Result<Option<(KubeconfigReport, &'static str)>, KubeError> {
    let name = &tenant.metadata.name;
    let mut secrets = vec![
        format!("{name}-admin-kubeconfig"),
        format!("{name}-kubeconfig"),
    ];
    if let Some(named) = &tenant.status.kubeconfig_secret_ref
        && !secrets.contains(&named.name)
    {
        secrets.push(named.name.clone());
    }
    for name in secrets {
        let Some(secret) = secret(api, namespace, &name).await? else {
            continue;
        };
        for key in KEYS {
            if let Some(text) = secret.data.get(key) {
                let origin = format!("{namespace}/{name} {key}");
                let bytes = STANDARD.decode(text.as_bytes()).map(Zeroizing::new);
                let bytes = bytes.unwrap_or_default();
                return Ok(Some((kubeconfig::examine(&origin, &bytes), key)));
            }
        }
    }
    Ok(None)
}

/// Returns the SHA-256 of each certificate of the authority of control plane `plane`; reads only the
/// public half. Empty if there is no authority.
pub(super) async fn authority(
    api: &Api,
    namespace: &str,
    plane: &str,
) -> Result<Vec<Digest>, KubeError> {
    let secret = secret(api, namespace, &format!("{plane}-ca")).await?;
    let pem = secret.and_then(|secret| {
        let text = secret
            .data
            .get("ca.crt")
            .or_else(|| secret.data.get("tls.crt"))?;
        STANDARD.decode(text.as_bytes()).ok()
    });
    Ok(pem.map_or_else(Vec::new, |pem| kubeconfig::pem_sha256(&pem)))
}

async fn secret(api: &Api, namespace: &str, name: &str) -> Result<Option<TenantSecret>, KubeError> {
    // Both may come from a status, which anyone with the right may write.
    if !is_name(namespace) || !is_name(name) {
        return Ok(None);
    }
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    match api.get(&path, "Secret").await {
        Ok(secret) => Ok(Some(secret)),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reports whether the name is valid for an object, so that it is one segment of a path.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (1..=253).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}
