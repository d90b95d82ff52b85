//! A cluster that a restore writes to: the same API in the other direction.
//!
//! Objects are read as values, one page or one object at a time, and written by themselves: a
//! create is a POST, never an apply, so that nothing is born with another cluster's UID or being
//! deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::connect::KubeOptions;
use super::discover::{Kind, discover};
use super::failure::KubeError;
use super::list::Listing;
use super::request::{Api, Write, WriteError};
use crate::archive::{ObjectPath, ResourceName};
use crate::format::manifest::Finding;

/// Who is said to have written a field.
pub const MANAGER: &str = "butler-restore";
/// One object is at most this large.
const MAX_OBJECT: usize = 16 << 20;

/// The kind of a merge patch.
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// A server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// A kind as the target serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetKind {
    /// Plural and group.
    pub resource: ResourceName,
    /// Its name, such as `Secret`.
    pub kind: String,
    /// The version that is written: the one that the server prefers.
    pub version: String,
    /// All versions that are served, that one first.
    pub served: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether its status is written by itself.
    pub has_status: bool,
    /// Whether a CustomResourceDefinition makes it.
    pub custom: bool,
}

/// A cluster that objects are written to.
pub struct KubeTarget {
    api: Api,
    uid: String,
    version: String,
    kinds: BTreeMap<ResourceName, Kind>,
    /// What could not be discovered.
    findings: Vec<Finding>,
}

#[derive(Deserialize)]
struct Version {
    #[serde(rename = "gitVersion")]
    git_version: String,
}

#[derive(Deserialize)]
struct Identified {
    metadata: Identity,
}

#[derive(Deserialize)]
struct Identity {
    uid: String,
}

impl KubeTarget {
    /// Connects, learns which cluster it is, and discovers its kinds.
    ///
    /// # Errors
    /// When the API cannot be reached or does not let us in.
    pub async fn connect(options: &KubeOptions) -> Result<Self, KubeError> {
        let api = Api::connect(options).await?;
        let version: Version = api.get("/version", "version").await?;
        let path = "/api/v1/namespaces/kube-system";
        let system: Identified = api.get(path, "namespace").await?;
        let mut target = Self {
            api,
            uid: system.metadata.uid,
            version: version.git_version,
            kinds: BTreeMap::new(),
            findings: Vec::new(),
        };
        target.discover().await?;
        Ok(target)
    }

    /// Discovers its kinds anew.
    ///
    /// # Errors
    /// When the API cannot be reached.
    pub async fn discover(&mut self) -> Result<(), KubeError> {
        let found = discover(&self.api).await?;
        self.findings = found.findings;
        let kinds = found.kinds.into_iter();
        self.kinds = kinds.map(|kind| (kind.resource.clone(), kind)).collect();
        Ok(())
    }

    /// The UID of the namespace `kube-system`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The API server's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.api.server
    }

    /// Whether the server says that it is ready, and serves what every server does: one that has
    /// just started answers before it knows all its kinds.
    pub async fn is_ready(&self) -> bool {
        let leases = ResourceName::new("leases", "coordination.k8s.io");
        self.kinds.contains_key(&leases) && self.api.bytes("/readyz", MAX_OBJECT).await.is_ok()
    }

    /// What could not be discovered.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The kind of that name, if it is served.
    #[must_use]
    pub fn kind(&self, resource: &ResourceName) -> Option<TargetKind> {
        self.kinds.get(resource).map(TargetKind::of)
    }

    /// The kind that objects name by `apiVersion` and `kind`.
    #[must_use]
    pub fn kind_of(&self, api_version: &str, kind: &str) -> Option<TargetKind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is = |k: &&Kind| k.kind == kind && k.resource.group() == group;
        self.kinds.values().find(is).map(TargetKind::of)
    }

    /// All kinds that are served and can be listed.
    pub fn kinds(&self) -> impl Iterator<Item = TargetKind> {
        self.kinds
            .values()
            .filter(|kind| kind.can_list)
            .map(TargetKind::of)
    }

    /// Gives every object of a kind to `each`, a page at a time; nothing if the kind is not served.
    ///
    /// # Errors
    /// When the list cannot be read to its end.
    pub async fn each(
        &self,
        resource: &ResourceName,
        mut each: impl FnMut(ObjectPath, Value),
    ) -> Result<(), KubeError> {
        let Some(kind) = self.kinds.get(resource) else {
            return Ok(());
        };
        let mut listing = Listing::new(&self.api, kind, None);
        loop {
            let page = match listing.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                // Its definition was taken away since it was discovered.
                Err(e) if e.is_not_found() => return Ok(()),
                Err(e) => return Err(e),
            };
            for item in page.items {
                let path = kind.path();
                let mut value: Value = super::request::parse(&path, "object", &item)?;
                if let Some(fields) = value.as_object_mut() {
                    fields.insert("apiVersion".to_owned(), json!(kind.api_version()));
                    fields.insert("kind".to_owned(), json!(kind.kind));
                }
                if let Some(path) = path_of(resource, &value) {
                    each(path, value);
                }
            }
        }
    }

    /// The object at `path`, if it is there, in the version that `api_version` names if that is
    /// served.
    ///
    /// # Errors
    /// When the API cannot be reached or does not let us.
    pub async fn get(
        &self,
        path: &ObjectPath,
        api_version: Option<&str>,
    ) -> Result<Option<Value>, KubeError> {
        let Some(kind) = self.kinds.get(&path.resource) else {
            return Ok(None);
        };
        let place = place(&in_version(kind, api_version), path, "");
        match self.api.bytes(&place, MAX_OBJECT).await {
            Ok(bytes) => super::request::parse(&place, "object", &bytes).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates `body` at `path`.
    ///
    /// # Errors
    /// As [`WriteError`] says; `AlreadyExists` may also mean that the answer to this very create
    /// was lost.
    pub async fn create(
        &self,
        path: &ObjectPath,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let kind = &self.served(path, body)?;
        let list = match &path.namespace {
            Some(namespace) => list_in(kind, namespace),
            None => kind.path(),
        };
        self.write(Method::POST, list, JSON, body, dry_run).await
    }

    /// Puts `body`, the whole object, in the place of its status.
    ///
    /// # Errors
    /// As [`WriteError`] says; `Conflict` when its `resourceVersion` is an old one.
    pub async fn put_status(&self, path: &ObjectPath, body: &Value) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "/status");
        self.write(Method::PUT, place, JSON, body, false).await
    }

    /// Applies `body` under our own name, over whoever else set its fields. It must not carry what
    /// belongs to another cluster: an apply that creates keeps all of it.
    ///
    /// # Errors
    /// As [`WriteError`] says.
    pub async fn apply(&self, path: &ObjectPath, body: &Value) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "");
        let write = Write {
            method: Method::PATCH,
            path: format!("{place}?fieldManager={MANAGER}&force=true"),
            content_type: APPLY,
            body,
        };
        self.api.write(&write).await
    }

    /// Merges `patch` into the object.
    ///
    /// # Errors
    /// As [`WriteError`] says; `Conflict` when the patch names an old `resourceVersion`.
    pub async fn patch(
        &self,
        path: &ObjectPath,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, patch)?, path, "");
        self.write(Method::PATCH, place, MERGE, patch, dry_run)
            .await
    }

    /// Merges `patch` into the object's status or another part of it that has a place of its own.
    ///
    /// # Errors
    /// As [`WriteError`] says.
    pub async fn patch_part(
        &self,
        path: &ObjectPath,
        part: &'static str,
        patch: &Value,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, patch)?, path, part);
        self.write(Method::PATCH, place, MERGE, patch, false).await
    }

    /// Deletes the object; only pruning does, and only what nobody else wrote since it was read.
    ///
    /// # Errors
    /// As [`WriteError`] says.
    pub async fn delete(
        &self,
        path: &ObjectPath,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), WriteError> {
        let kind = &self.served(path, &Value::Null)?;
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": uid, "resourceVersion": resource_version },
        });
        let write = Write {
            method: Method::DELETE,
            path: place(kind, path, ""),
            content_type: JSON,
            body: &body,
        };
        self.api.write(&write).await.map(drop)
    }

    /// Waits until the kind is served and can be listed, which takes a moment after its definition
    /// was made.
    ///
    /// # Errors
    /// When it is not within `limit`.
    pub async fn served_within(&self, list: &str, limit: Duration) -> Result<(), KubeError> {
        let began = tokio::time::Instant::now();
        loop {
            match self.api.bytes(&format!("{list}?limit=1"), MAX_OBJECT).await {
                Ok(_) => return Ok(()),
                Err(e) if began.elapsed() >= limit || e.is_of_the_server() => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The kind at `path`, in the version that `body` names if that is served.
    fn served(&self, path: &ObjectPath, body: &Value) -> Result<Kind, WriteError> {
        let Some(kind) = self.kinds.get(&path.resource) else {
            return Err(WriteError::Refused {
                request: format!("write of {path}"),
                status: http::StatusCode::NOT_FOUND,
                reason: "NotFound".to_owned(),
                message: format!("the cluster does not serve {}", path.resource),
                retry_after: None,
            });
        };
        let named = body.get("apiVersion").and_then(Value::as_str);
        Ok(in_version(kind, named))
    }

    async fn write(
        &self,
        method: Method,
        place: String,
        content_type: &'static str,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let write = Write {
            method,
            path: format!("{place}?fieldManager={MANAGER}{dry}"),
            content_type,
            body,
        };
        self.api.write(&write).await
    }
}

impl TargetKind {
    fn of(kind: &Kind) -> Self {
        let served = std::iter::once(&kind.version).chain(&kind.also_served);
        Self {
            resource: kind.resource.clone(),
            kind: kind.kind.clone(),
            version: kind.version.clone(),
            served: served.cloned().collect(),
            namespaced: kind.namespaced,
            has_status: kind.has_status,
            custom: kind.custom,
        }
    }

    /// `group/version` or `version`, as objects have it.
    #[must_use]
    pub fn api_version(&self, version: &str) -> String {
        match self.resource.group() {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }
}

impl std::fmt::Debug for KubeTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KubeTarget({}, {})", self.api.server, self.uid)
    }
}

/// The kind as it is in the version that `api_version` names, if that is served.
fn in_version(kind: &Kind, api_version: Option<&str>) -> Kind {
    let mut kind = kind.clone();
    let version = api_version.and_then(|v| v.rsplit('/').next());
    if let Some(version) = version.filter(|v| kind.also_served.iter().any(|s| s == v)) {
        version.clone_into(&mut kind.version);
    }
    kind
}

fn list_in(kind: &Kind, namespace: &str) -> String {
    let list = kind.path();
    let plural = kind.resource.plural();
    let root = list.strip_suffix(plural).unwrap_or(&list);
    format!("{root}namespaces/{}/{plural}", encoded(namespace))
}

/// The path of one object, or of a part of it such as `/status`.
fn place(kind: &Kind, path: &ObjectPath, part: &str) -> String {
    let list = match &path.namespace {
        Some(namespace) => list_in(kind, namespace),
        None => kind.path(),
    };
    format!("{list}/{}{part}", encoded(&path.name))
}

/// A name as a part of a path: RBAC names hold colons and more.
fn encoded(name: &str) -> String {
    let text: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
    text.replace('+', "%20")
}

/// Where an object that was listed is.
fn path_of(resource: &ResourceName, object: &Value) -> Option<ObjectPath> {
    let text = |pointer: &str| Some(object.pointer(pointer)?.as_str()?.to_owned());
    Some(ObjectPath {
        resource: resource.clone(),
        namespace: text("/metadata/namespace").filter(|n| !n.is_empty()),
        name: text("/metadata/name")?,
    })
}
