//! Kubeconfig of one tenant, from the archive of kubeconfigs.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::RestoreError;
use super::archive::ObjectReader;
use crate::archive::{ArchiveError, StoredJson};
use crate::format::export::TenantFacts;
use crate::id::ComponentName;

/// Name endings of the Secrets that may hold a tenant's kubeconfig, and the key in each, best first:
/// Steward's own opens the tenant from outside, and that of Cluster API is a copy.
const PLACES: [(&str, &str); 2] = [
    ("-admin-kubeconfig", "admin.conf"),
    ("-kubeconfig", "value"),
];

/// Kubeconfig of a tenant. Its debug output omits the content.
pub struct Kubeconfig {
    /// Origin: `NAMESPACE/SECRET KEY`.
    pub origin: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Kubeconfig {
    /// Returns the content of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the places where the kubeconfig of `tenant` may be, best first.
    #[must_use]
    pub fn places(tenant: &TenantFacts) -> Vec<String> {
        let namespace = tenant.tenant_namespace.as_ref();
        let namespace = namespace.unwrap_or(&tenant.namespace);
        let places = PLACES.iter();
        let places =
            places.map(|(ending, key)| format!("{namespace}/{}{ending} {key}", tenant.name));
        places.collect()
    }
}

impl std::fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kubeconfig({})", self.origin)
    }
}

/// Part of a Secret that is read here. Base64 and the names of keys need no JSON escapes, so nothing is
/// copied.
#[derive(Deserialize)]
struct KubeconfigSecret<'j> {
    #[serde(borrow, default)]
    data: Option<BTreeMap<&'j str, &'j str>>,
}

impl ObjectReader {
    /// Returns the kubeconfig of `tenant`; `None` if component `kubeconfigs` has none.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub async fn kubeconfig(
        &self,
        tenant: &TenantFacts,
    ) -> Result<Option<Kubeconfig>, RestoreError> {
        let name = ComponentName::kubeconfigs();
        let places = Kubeconfig::places(tenant);
        let best = places.len();
        let found = self.fold(&name, Ok((best, None)), move |found, object| {
            match better(
                &places,
                found.as_ref().map_or(0, |(best, _)| *best),
                &object,
            ) {
                Ok(None) => ControlFlow::Continue(()),
                Ok(Some((at, kubeconfig))) => {
                    *found = Ok((at, Some(kubeconfig)));
                    ControlFlow::Continue(())
                }
                Err(e) => {
                    *found = Err(e);
                    ControlFlow::Break(())
                }
            }
        });
        match found.await? {
            Ok((_, kubeconfig)) => Ok(kubeconfig),
            Err(source) => Err(RestoreError::Archive {
                component: name,
                source,
            }),
        }
    }
}

/// Returns the kubeconfig in `object`, and its place, if it is at one of the first `best` places.
fn better(
    places: &[String],
    best: usize,
    object: &StoredJson,
) -> Result<Option<(usize, Kubeconfig)>, ArchiveError> {
    if object.path.resource.as_str() != "secrets" {
        return Ok(None);
    }
    let secret = object.path.object();
    for (at, origin) in places.iter().enumerate().take(best) {
        let Some((_, key)) = origin.split_once(' ').filter(|(place, _)| *place == secret) else {
            continue;
        };
        let data = object.parse::<KubeconfigSecret>()?.data.unwrap_or_default();
        let bytes = data.get(key).and_then(|value| STANDARD.decode(value).ok());
        if let Some(bytes) = bytes.filter(|b| !b.is_empty()) {
            let kubeconfig = Kubeconfig {
                origin: origin.clone(),
                bytes: Zeroizing::new(bytes),
            };
            return Ok(Some((at, kubeconfig)));
        }
    }
    Ok(None)
}
