//! Databases of the tenants' control planes, read from DataStore objects.
//!
//! Each object describes how its database is reached: endpoints, and certificates by content or by a
//! reference to a Secret. A reference that cannot be resolved affects only that DataStore, and is
//! reported.

mod leaf;
mod schemas;
mod secret;

use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::api::{Api, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use self::leaf::{LeafField, LeafReader};
pub use self::schemas::{TenantSchema, schemas};
use self::secret::ClusterSecrets;
pub use self::secret::{SecretSource, SecretValue};
use crate::etcd::{EtcdClientCertificate, EtcdLogin, EtcdOptions, EtcdTls};
use crate::grpc::status::printable;
use backup_core::causes;
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::shortlist::shorten;
use backup_core::source::SourceError;

/// DataStores per page; each is some kilobytes.
const PAGE: u32 = 100;
/// Maximum number of DataStores, more than any management cluster has; a longer list is a server fault.
const MOST: usize = 1024;
/// DataStores examined at once, a few small reads each.
const AT_ONCE: usize = 4;
/// Time limit for each call: an API server that is up answers within a second.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of tenants that a finding names.
const MAX_TENANTS_NAMED: usize = 20;

/// DataStore object.
#[derive(Debug, Clone)]
pub struct Datastore {
    /// Name of the DataStore.
    pub name: String,
    /// Tenant control planes that use it, according to its status: `NAMESPACE/NAME`.
    pub used_by: Vec<String>,
    /// Whether and how its data can be read.
    pub access: DatastoreAccess,
}

/// Result of resolving a DataStore: whether and how its data can be read. The debug output contains no
/// secret.
#[derive(Debug, Clone)]
pub enum DatastoreAccess {
    /// Its data is read from its etcd.
    Etcd(Box<EtcdOptions>),
    /// Its data cannot be read: the driver is not etcd.
    NotCovered {
        /// Name of the driver.
        driver: String,
    },
    /// It has an etcd, but the settings for the connection cannot be resolved.
    Broken {
        /// Reason, with the field or the Secret.
        cause: String,
    },
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DatastoreSpec {
    driver: String,
    endpoints: Vec<String>,
    basic_auth: Option<BasicAuth>,
    tls_config: Option<TlsConfig>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct BasicAuth {
    username: LeafField,
    password: LeafField,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct TlsConfig {
    certificate_authority: CertificatePair,
    client_certificate: Option<CertificatePair>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct CertificatePair {
    certificate: LeafField,
    private_key: LeafField,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DatastoreStatus {
    used_by: Vec<String>,
}

/// Returns all DataStores, by name; none if the kind does not exist. `now` is used to check their
/// certificates.
///
/// # Errors
/// When they cannot be listed. A problem of one of them is in its [`DatastoreAccess`].
pub async fn datastores(
    client: &kube::Client,
    now: Timestamp,
) -> Result<Vec<Datastore>, SourceError> {
    let objects = list(client).await?;
    let secrets = ClusterSecrets(client);
    let looks = objects.into_iter().map(|object| {
        let name = object.metadata.name.unwrap_or_default();
        look(name, object.data, &secrets, now)
    });
    let looks: Vec<_> = looks.collect();
    let mut found: Vec<_> = futures::stream::iter(looks)
        .buffered(AT_ONCE)
        .collect()
        .await;
    found.sort_by(|a: &Datastore, b: &Datastore| a.name.cmp(&b.name));
    Ok(found)
}

async fn list(client: &kube::Client) -> Result<Vec<DynamicObject>, SourceError> {
    let kind = GroupVersionKind::gvk("steward.butlerlabs.dev", "v1alpha1", "DataStore");
    let kind = ApiResource::from_gvk_with_plural(&kind, "datastores");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &kind);
    let mut objects = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let listed = tokio::time::timeout(CALL_TIMEOUT, api.list(&page)).await;
        let listed = match listed {
            Ok(Ok(listed)) => listed,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 && objects.is_empty() => {
                return Ok(objects);
            }
            Ok(Err(error)) => return Err(list_error(error_text(&error))),
            Err(_) => return Err(list_error(timeout_text())),
        };
        objects.extend(listed.items);
        if objects.len() > MOST {
            return Err(list_error(format!("there are more than {MOST}")));
        }
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

fn list_error(why: String) -> SourceError {
    SourceError {
        operation: "list datastores.steward.butlerlabs.dev, which the ClusterRole must allow"
            .to_owned(),
        try_other_member: false,
        source: Some(why.into()),
    }
}

fn timeout_text() -> String {
    format!("no answer within {} s", CALL_TIMEOUT.as_secs())
}

/// Returns the error text of the API server or the transport.
fn error_text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => printable(&status.message),
        other => {
            let mut text = other.to_string();
            for cause in causes::below(other) {
                let cause = cause.to_string();
                // The upper layers repeat the texts of those below.
                if !text.contains(&cause) {
                    text = format!("{text}: {cause}");
                }
            }
            printable(&text)
        }
    }
}

/// Resolves the DataStore `name` from its object `data`, with referenced Secrets from `secrets`.
pub async fn look(
    name: String,
    mut data: Value,
    secrets: &dyn SecretSource,
    now: Timestamp,
) -> Datastore {
    let leaves = &LeafReader::new(secrets);
    let mut part = |field: &str| data.get_mut(field).map(serde_json::Value::take);
    let status =
        part("status").and_then(|status| serde_json::from_value::<DatastoreStatus>(status).ok());
    let spec = part("spec").unwrap_or_default();
    // The parser's message is left out: it may quote the value.
    let spec = serde_path_to_error::deserialize::<_, DatastoreSpec>(spec)
        .map_err(|error| format!("`spec.{}` has the wrong type", error.path()));
    let access = match spec {
        Ok(spec) if spec.driver == "etcd" => match options(&name, spec, leaves).await {
            Ok(options) => match options.check(now) {
                Ok(()) => DatastoreAccess::Etcd(Box::new(options)),
                Err(error) => DatastoreAccess::Broken {
                    cause: error.to_string(),
                },
            },
            Err(cause) => DatastoreAccess::Broken { cause },
        },
        Ok(spec) => DatastoreAccess::NotCovered {
            driver: spec.driver,
        },
        Err(cause) => DatastoreAccess::Broken { cause },
    };
    Datastore {
        name,
        used_by: status.unwrap_or_default().used_by,
        access,
    }
}

async fn options(
    name: &str,
    spec: DatastoreSpec,
    leaves: &LeafReader<'_>,
) -> Result<EtcdOptions, String> {
    let Some(tls) = spec.tls_config else {
        return Err(
            "`tlsConfig` is missing: etcd accepts no client without a certificate".to_owned(),
        );
    };
    let pair = tls.certificate_authority;
    let authority = leaves
        .text(
            "tlsConfig.certificateAuthority.certificate",
            &pair.certificate,
        )
        .await?;
    let client = match tls.client_certificate {
        None => None,
        Some(pair) => {
            let field = "tlsConfig.clientCertificate.certificate";
            let certificate = leaves.text(field, &pair.certificate).await?;
            let field = "tlsConfig.clientCertificate.privateKey";
            let key = leaves.secret(field, &pair.private_key).await?;
            Some(EtcdClientCertificate { certificate, key })
        }
    };
    let login = match spec.basic_auth {
        None => None,
        Some(auth) => {
            let user = leaves.text("basicAuth.username", &auth.username).await?;
            let password: SecretString =
                leaves.secret("basicAuth.password", &auth.password).await?;
            Some(EtcdLogin { user, password })
        }
    };
    let tls = EtcdTls { authority, client };
    let whose = format!("DataStore `{name}`");
    Ok(EtcdOptions {
        login,
        ..EtcdOptions::new(whose, spec.endpoints, tls)
    })
}

/// Returns findings for DataStores that cannot be taken.
#[must_use]
pub fn unmet(datastores: &[Datastore]) -> Vec<Finding> {
    datastores.iter().filter_map(finding).collect()
}

fn finding(store: &Datastore) -> Option<Finding> {
    let object = format!("{}{}", ComponentName::DATASTORE, store.name);
    match &store.access {
        DatastoreAccess::Etcd(_) => None,
        DatastoreAccess::NotCovered { driver } => Some(Finding::warning(
            object,
            format!(
                "not covered: it keeps its data in {}, and only etcd is backed up; {}",
                printable(driver),
                tenants(&store.used_by)
            ),
            "back up that database with its own tools, one schema at a time, at about the time of the \
             restore points",
        )),
        DatastoreAccess::Broken { cause } => Some(Finding::error(
            object.clone(),
            format!(
                "the connection settings of its etcd are broken: {cause}; {}",
                tenants(&store.used_by)
            ),
            format!(
                "correct the DataStore or the Secret, then `backupd snapshot --component {object}`"
            ),
        )),
    }
}

/// Lists the tenants whose data is missing.
fn tenants(used_by: &[String]) -> String {
    if used_by.is_empty() {
        return "no tenant is known to use it".to_owned();
    }
    let named = shorten(used_by.iter().map(|t| printable(t)), MAX_TENANTS_NAMED);
    format!("restore points have no data of {named}")
}

#[cfg(test)]
mod tests;
