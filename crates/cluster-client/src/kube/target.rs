//! Client of the cluster that a restore writes to.
//!
//! Objects are read as values, one page or one object at a time, and written one by one: a create is a
//! POST, never an apply, so that no object starts with another cluster's UID or in the state of being
//! deleted.

pub(super) mod place;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use self::place::{in_version, named, path_of, place};
pub use self::write::MANAGER;
use super::connect::KubeOptions;
use super::discover::discover;
use super::failure::KubeError;
use super::kind::Kind;
use super::list::Listing;
use super::server::ConnectedCluster;
use backup_core::archive::{ObjectPath, ResourceName};
use backup_core::format::manifest::Finding;

/// Largest object.
const MAX_OBJECT: usize = 16 << 20;

/// Kind as the target serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetKind {
    /// Plural and group.
    pub resource: ResourceName,
    /// Name of the kind, such as `Secret`.
    pub kind: String,
    /// Version in which it is read.
    pub version: String,
    /// All served versions, starting with `version`.
    pub served: Vec<String>,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether its status is written separately.
    pub has_status: bool,
    /// Whether a CustomResourceDefinition defines it.
    pub custom: bool,
}

/// Cluster that objects are written to.
pub struct KubeTarget {
    cluster: ConnectedCluster,
    kinds: BTreeMap<ResourceName, Kind>,
    /// Groups and kinds that could not be discovered.
    findings: Vec<Finding>,
}

impl KubeTarget {
    /// Connects, identifies the cluster, and discovers its kinds.
    ///
    /// # Errors
    /// When the API cannot be reached or rejects the credentials.
    pub async fn connect(options: &KubeOptions) -> Result<Self, KubeError> {
        let mut target = Self {
            cluster: ConnectedCluster::connect(options).await?,
            kinds: BTreeMap::new(),
            findings: Vec::new(),
        };
        target.discover().await?;
        Ok(target)
    }

    /// Discovers its kinds again.
    ///
    /// # Errors
    /// When the API cannot be reached.
    pub async fn discover(&mut self) -> Result<(), KubeError> {
        let found = discover(&self.cluster.api, None).await?;
        self.findings = found.findings;
        let kinds = found.kinds.into_iter();
        self.kinds = kinds.map(|kind| (kind.resource.clone(), kind)).collect();
        Ok(())
    }

    /// Returns the UID of the namespace `kube-system`.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.cluster.uid
    }

    /// Returns the API server's version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.cluster.version
    }

    /// Returns the API server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.cluster.api.server
    }

    /// Reports whether the server says that it is ready and serves a kind that every server has: one that
    /// has just started answers before it knows all its kinds.
    pub async fn is_ready(&self) -> bool {
        let leases = ResourceName::new("leases", "coordination.k8s.io");
        self.kinds.contains_key(&leases)
            && self.cluster.api.bytes("/readyz", MAX_OBJECT).await.is_ok()
    }

    /// Returns findings about groups and kinds that could not be discovered.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the kind of that name, if it is served.
    #[must_use]
    pub fn kind(&self, resource: &ResourceName) -> Option<TargetKind> {
        self.kinds.get(resource).map(TargetKind::of)
    }

    /// Returns the kind that objects name by `apiVersion` and `kind`.
    #[must_use]
    pub fn kind_of(&self, api_version: &str, kind: &str) -> Option<TargetKind> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let is = |k: &&Kind| k.kind == kind && k.resource.group() == group;
        self.kinds.values().find(is).map(TargetKind::of)
    }

    /// Returns all kinds that are served and can be listed.
    pub fn kinds(&self) -> impl Iterator<Item = TargetKind> {
        self.kinds
            .values()
            .filter(|kind| kind.can_list)
            .map(TargetKind::of)
    }

    /// Passes every object of a kind to `each`, a page at a time; none if the kind is not served.
    ///
    /// # Errors
    /// When the list cannot be read to its end.
    pub async fn each(
        &self,
        resource: &ResourceName,
        each: impl FnMut(ObjectPath, Value),
    ) -> Result<(), KubeError> {
        self.each_in(resource, None, each).await
    }

    /// Does the same as [`KubeTarget::each`], in the version that `api_version` names if it is served:
    /// objects of two versions cannot be compared.
    ///
    /// # Errors
    /// See [`KubeTarget::each`].
    pub async fn each_in(
        &self,
        resource: &ResourceName,
        api_version: Option<&str>,
        mut each: impl FnMut(ObjectPath, Value),
    ) -> Result<(), KubeError> {
        let Some(kind) = self.kinds.get(resource) else {
            return Ok(());
        };
        let kind = &in_version(kind, api_version);
        let mut listing = Listing::new(&self.cluster.api, kind, None);
        loop {
            let page = match listing.next().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                // Its definition was deleted since it was discovered.
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

    /// Does the same as [`KubeTarget::each_in`]. If the list cannot be read to its end because of an object
    /// in it, reads the remaining ones of `names` one by one, and passes each that cannot be read to
    /// `broken` with the reason. Returns the error of the list, if it failed: objects not in `names` are
    /// then unknown.
    ///
    /// # Errors
    /// When the whole API is out of reach.
    pub async fn each_or_named(
        &self,
        (resource, api_version): (&ResourceName, Option<&str>),
        names: impl IntoIterator<Item = ObjectPath>,
        mut each: impl FnMut(ObjectPath, Value),
        mut broken: impl FnMut(ObjectPath, KubeError),
    ) -> Result<Option<KubeError>, KubeError> {
        let mut left: BTreeSet<ObjectPath> = names.into_iter().collect();
        let listed = self.each_in(resource, api_version, |path, object| {
            left.remove(&path);
            each(path, object);
        });
        let why = match listed.await {
            Ok(()) => return Ok(None),
            Err(e) if self.is_of_the_server(&e).await => return Err(e),
            Err(e) => e,
        };
        for path in left {
            match self.get(&path, api_version).await {
                Ok(Some(object)) => each(path, object),
                Ok(None) => {}
                Err(e) if e.is_of_the_server() => return Err(e),
                Err(e) => broken(path, e),
            }
        }
        Ok(Some(why))
    }

    /// Reports whether an error concerns the whole server, rather than only the request.
    pub async fn is_of_the_server(&self, error: &KubeError) -> bool {
        error.is_of_the_server() || (error.is_of_the_answer() && !self.is_ready().await)
    }

    /// Returns the object at `path`, if it exists, in the version that `api_version` names if it is served.
    ///
    /// # Errors
    /// When the API cannot be reached or refuses.
    pub async fn get(
        &self,
        path: &ObjectPath,
        api_version: Option<&str>,
    ) -> Result<Option<Value>, KubeError> {
        let Some(kind) = self.kinds.get(&path.resource) else {
            return Ok(None);
        };
        let kind = in_version(kind, api_version);
        if TargetKind::of(&kind).is_listed_only() {
            return self.listed(&kind, path).await;
        }
        let place = place(&kind, path, "");
        match self.cluster.api.bytes(&place, MAX_OBJECT).await {
            Ok(bytes) => super::request::parse(&place, "object", &bytes).map(Some),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Returns the object at `path` from the list of its kind.
    async fn listed(&self, kind: &Kind, path: &ObjectPath) -> Result<Option<Value>, KubeError> {
        #[derive(Deserialize)]
        struct ObjectList {
            items: Vec<Value>,
        }
        let list = format!("{}?{}", kind.path(), named(&path.name));
        let bytes = match self.cluster.api.bytes(&list, MAX_OBJECT).await {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e),
        };
        let found: ObjectList = super::request::parse(&list, "list", &bytes)?;
        let mut found = found.items.into_iter();
        Ok(found.find(|item| path_of(&path.resource, item).as_ref() == Some(path)))
    }

    /// Waits until the kind is served and can be listed, which takes a moment after its definition was
    /// created.
    ///
    /// # Errors
    /// When it is not served within `limit`.
    pub async fn served_within(&self, list: &str, limit: Duration) -> Result<(), KubeError> {
        let began = tokio::time::Instant::now();
        loop {
            match self
                .cluster
                .api
                .bytes(&format!("{list}?limit=1"), MAX_OBJECT)
                .await
            {
                Ok(_) => return Ok(()),
                Err(e) if began.elapsed() >= limit || e.is_of_the_server() => return Err(e),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
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

    /// Reports whether objects of the kind can be listed but not read one by one: the API server takes a
    /// path that ends in `/namespaces/NAME` for one within a namespace.
    #[must_use]
    pub fn is_listed_only(&self) -> bool {
        let (plural, group) = (self.resource.plural(), self.resource.group());
        !self.namespaced && plural == "namespaces" && !group.is_empty()
    }

    /// Returns `group/version` or `version`, as objects contain it.
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
        write!(
            f,
            "KubeTarget({}, {})",
            self.cluster.api.server, self.cluster.uid
        )
    }
}
