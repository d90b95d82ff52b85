//! One tenant's kubeconfig, out of the archive of kubeconfigs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::RestoreError;
use super::fetch::folder_of;
use super::read::ObjectReader;
use crate::archive::{ArchiveError, StoredJson};
use crate::format::export::TenantFacts;
use crate::id::ComponentName;

/// The endings of the Secrets that a tenant's kubeconfig may be in, and the key in each, best
/// first: Steward's own opens the tenant from outside, the one of Cluster API is a copy.
const PLACES: [(&str, &str); 2] = [
    ("-admin-kubeconfig", "admin.conf"),
    ("-kubeconfig", "value"),
];

/// A tenant's kubeconfig. Does not print.
pub struct Kubeconfig {
    /// Where it was: `NAMESPACE/SECRET KEY`.
    pub origin: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Kubeconfig {
    /// The file's content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the kubeconfig of `tenant` is looked for, best first.
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

/// The part of a Secret that is read here. Base64 and the names of keys have nothing that JSON
/// escapes, so nothing is copied.
#[derive(Deserialize)]
struct Secret<'j> {
    #[serde(borrow, default)]
    data: Option<BTreeMap<&'j str, &'j str>>,
}

impl ObjectReader {
    /// The kubeconfig of `tenant`; `None` if component `kubeconfigs` has none.
    ///
    /// # Errors
    /// As [`RestoreError`] says.
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

/// The kubeconfig in `object`, if it is at one of the first `best` places; and at which.
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
        let data = object.parse::<Secret>()?.data.unwrap_or_default();
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

/// Writes `bytes` to `target`, mode 0600, whole or not at all. A file that is there is replaced
/// only if `replace` says so.
///
/// # Errors
/// [`RestoreError::File`]; `target` is then as it was.
pub fn write_private(target: &Path, bytes: &[u8], replace: bool) -> Result<(), RestoreError> {
    let failed = |operation| {
        move |source| RestoreError::File {
            operation,
            file: target.display().to_string(),
            source,
        }
    };
    let folder = folder_of(target);
    // Nobody else may read it, from its first byte on: temporary files have mode 0600.
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .suffix(".part")
        .tempfile_in(&folder)
        .map_err(failed("create"))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed("write"))?;
    let persisted = if replace {
        file.persist(target)
    } else {
        file.persist_noclobber(target)
    };
    persisted.map_err(|e| failed("create")(e.error))?;
    File::open(&folder)
        .and_then(|f| f.sync_all())
        .map_err(failed("sync the folder of"))
}
