//! Export of one run: discovered kinds, their selection, and facts collected from the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use super::connect::KubeOptions;
use super::datastores::{TenantSchema, schemas};
use super::discover::{Discovery, discover};
use super::kept_objects::KeptObjectsUse;
use super::kind::Kind;
use super::list::check_selector;
use super::references::References;
use super::request::Api;
use super::scope::SECRETS;
use super::sealed::SealingKeyTrial;
use super::select::{KindDestination, KindScope, Selection};
use super::server::ConnectedCluster;
use backup_core::archive::ResourceName;
use backup_core::clock::Clock;
use backup_core::format::export::{
    KubeconfigFacts, KubernetesFacts, Lack, LeftOut, SealedFacts, TenantFacts,
};
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::source::{ClusterSource, ComponentReport, SourceError};

mod admission;
mod archive;
mod files;
mod findings;
mod kinds;
mod source;
mod visit;

pub use archive::KubeArchive;
pub use source::KubeSource;

/// Kind from which sealed-secrets creates Secrets.
const SEALED_SECRETS: &str = "sealedsecrets.bitnami.com";
/// View of a cluster in one run.
#[derive(Debug)]
pub struct KubeExport {
    cluster: ConnectedCluster,
    discovered: Discovery,
    /// Kinds that a webhook converts, in other versions: used when the webhook is down.
    unconverted: BTreeMap<ResourceName, Vec<Kind>>,
    selection: Selection,
    /// Paths of kubeconfigs that are files.
    files: Vec<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Objects kept from earlier runs.
    kept: Option<KeptObjectsUse>,
    collected: Mutex<CollectedFacts>,
}

/// Facts collected from objects about other objects.
#[derive(Default)]
struct CollectedFacts {
    references: References,
    /// Namespaces that contain Butler's objects.
    butlers: BTreeSet<String>,
    /// Whether all kinds that can refer to something were read.
    complete: bool,
    /// Kinds that may refer to Secrets and could not be read.
    unread: Vec<Lack>,
    /// Trial of the sealing keys on the SealedSecrets; `None` until there is a key.
    trial: Option<SealingKeyTrial>,
    /// Facts about the kubeconfigs that are files.
    kubeconfigs: Vec<KubeconfigFacts>,
}

impl std::fmt::Debug for CollectedFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectedFacts").finish_non_exhaustive()
    }
}

impl KubeExport {
    /// Connects, identifies the cluster, and discovers its kinds. `files` are kubeconfigs that are kept
    /// with those of the tenants.
    ///
    /// # Errors
    /// When the API cannot be reached or rejects the credentials.
    pub async fn begin(
        options: &KubeOptions,
        selection: Selection,
        files: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        Self::begin_with(options, selection, files, clock, None).await
    }

    /// Does the same as [`KubeExport::begin`]; kinds in `kept` need not be listed.
    ///
    /// # Errors
    /// See [`KubeExport::begin`].
    pub async fn begin_with(
        options: &KubeOptions,
        selection: Selection,
        files: Vec<PathBuf>,
        clock: Arc<dyn Clock>,
        kept: Option<KeptObjectsUse>,
    ) -> Result<Self, SourceError> {
        let cluster = ConnectedCluster::connect(options).await?;
        if let Some(selector) = &selection.selector {
            check_selector(&cluster.api, selector).await?;
        }
        if let Some(kept) = &kept {
            kept.begin(&cluster.uid, &cluster.version).await;
        }
        let discovered = discover(&cluster.api, kept.as_ref()).await?;
        let kinds = discovered.kinds.iter();
        let unconverted = kinds.map(|kind| (kind.resource.clone(), kind.unconverted()));
        let unconverted = unconverted.filter(|(_, kinds)| !kinds.is_empty()).collect();
        Ok(Self {
            cluster,
            discovered,
            unconverted,
            selection,
            files,
            clock,
            kept,
            collected: Mutex::default(),
        })
    }

    /// Returns the source of one of its archives, for a run.
    #[must_use]
    pub fn archive(self: &Arc<Self>, archive: KubeArchive) -> KubeSource {
        KubeSource::new(Arc::clone(self), archive)
    }

    /// Returns the kinds that definitions created.
    #[must_use]
    pub fn custom_kinds(&self) -> BTreeSet<ResourceName> {
        let custom = self.discovered.kinds.iter().filter(|kind| kind.custom);
        custom.map(|kind| kind.resource.clone()).collect()
    }

    /// Returns a client for requests other than lists.
    #[must_use]
    pub fn client(&self) -> &kube::Client {
        self.cluster.api.client()
    }

    pub(super) fn api(&self) -> &Api {
        &self.cluster.api
    }

    pub(super) fn kept(&self) -> Option<&KeptObjectsUse> {
        self.kept.as_ref()
    }

    /// Returns all discovered kinds, taken or not.
    pub(super) fn all_kinds(&self) -> &[Kind] {
        &self.discovered.kinds
    }

    /// Returns the kinds whose objects may go into `archive`, in order.
    fn kinds(&self, archive: KubeArchive) -> Vec<&Kind> {
        let takes = |kind: &&Kind| {
            let name = kind.resource.as_str();
            match archive {
                KubeArchive::SealedSecrets | KubeArchive::Kubeconfigs => name == SECRETS,
                KubeArchive::Crds => {
                    self.selection.scope(kind) == KindScope::Take(KindDestination::Crds)
                }
                KubeArchive::Resources => {
                    self.selection.scope(kind) == KindScope::Take(KindDestination::Resources)
                }
                KubeArchive::Secrets => {
                    self.selection.scope(kind) == KindScope::Take(KindDestination::Secrets)
                }
            }
        };
        self.discovered.kinds.iter().filter(takes).collect()
    }

    fn collected(&self) -> MutexGuard<'_, CollectedFacts> {
        // A panic cannot leave the data half-changed.
        self.collected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns kinds that belong in `archive` and were not discovered, or unreadable kinds that decide what
    /// belongs in it.
    fn lacks(&self, archive: KubeArchive) -> Vec<Lack> {
        match archive {
            KubeArchive::Resources => {
                let lacks = self.discovered.lacks.iter();
                let wanted = lacks
                    .filter(|lack| self.selection.may_want(&lack.what, &self.discovered.kinds));
                wanted.cloned().collect()
            }
            KubeArchive::Secrets => self.collected().unread.clone(),
            KubeArchive::Crds | KubeArchive::SealedSecrets | KubeArchive::Kubeconfigs => Vec::new(),
        }
    }

    /// Reports whether kinds were selected by name, so that all their objects are meant.
    fn by_name(&self) -> bool {
        !self.selection.include_resources.is_empty()
    }

    /// Returns the result of the trial of the sealing keys; nothing if the kind does not exist.
    fn sealed(&self) -> (Option<SealedFacts>, Vec<Finding>) {
        let kinds = &self.discovered.kinds;
        let trial = self.collected().trial.take();
        if !kinds.iter().any(|k| k.resource.as_str() == SEALED_SECRETS) {
            return (None, Vec::new());
        }
        let (facts, findings) = trial.unwrap_or_default().finish();
        (Some(facts), findings)
    }

    fn left_out(&self) -> Vec<LeftOut> {
        let left =
            self.discovered
                .kinds
                .iter()
                .filter_map(|kind| match self.selection.scope(kind) {
                    KindScope::Take(_) => None,
                    KindScope::LeaveOut(reason) => Some(LeftOut {
                        resource: kind.resource.to_string(),
                        reason,
                    }),
                });
        let mut left: Vec<LeftOut> = left.chain(self.discovered.left_out.clone()).collect();
        left.sort_by(|a, b| a.resource.cmp(&b.resource));
        left
    }
}

#[async_trait]
impl ClusterSource for KubeExport {
    fn uid(&self) -> &str {
        &self.cluster.uid
    }

    async fn facts(&self, taken: &[ComponentReport]) -> (KubernetesFacts, Vec<Finding>) {
        let has = |name: &ComponentName| taken.iter().any(|t| t.name == *name);
        let mut facts = KubernetesFacts {
            uid: self.cluster.uid.clone(),
            version: self.cluster.version.clone(),
            server: self.cluster.api.server.clone(),
            crd_chart: self.discovered.crd_chart.clone(),
            kubeconfigs: std::mem::take(&mut self.collected().kubeconfigs),
            ..KubernetesFacts::default()
        };
        let mut findings = Vec::new();
        // A kind that was not discovered may be missing in any archive, and so may Secrets that it
        // refers to.
        if KubeArchive::ALL.iter().any(|a| has(&a.component())) {
            findings.extend(self.discovered.findings.clone());
        }
        if has(&ComponentName::resources()) {
            facts.left_out = self.left_out();
            let (tenants, told) = self.tenants(self.clock.as_ref()).await;
            facts.tenants = tenants;
            findings.extend(told);
            if has(&ComponentName::sealed_secrets()) {
                let (sealed, told) = self.sealed();
                facts.sealed_secrets = sealed;
                findings.extend(told);
            }
        }
        findings.extend(self.kept.iter().flat_map(KeptObjectsUse::findings));
        for component in taken {
            if let (Some(name), Some(etcd)) = (component.name.datastore_name(), &component.etcd) {
                let tenants = of_datastore(name, &facts.tenants);
                findings.extend(schemas(name, etcd, &tenants));
            }
        }
        (facts, findings)
    }
}

/// Returns the tenants that keep their data in the DataStore `name`.
fn of_datastore(name: &str, tenants: &[TenantFacts]) -> Vec<TenantSchema> {
    let planes = tenants.iter().filter_map(|tenant| {
        let plane = tenant.control_plane.as_ref()?;
        let namespace = tenant.tenant_namespace.as_deref().unwrap_or_default();
        // Steward's chart gives this name to the one that is used when none is named.
        let store = plane.datastore.as_deref().unwrap_or("default");
        (store == name).then(|| TenantSchema {
            tenant: format!("{namespace}/{}", plane.name),
            schema: plane.schema.clone(),
            user: None,
        })
    });
    planes.collect()
}
