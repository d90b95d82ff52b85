//! Small but whole Butler management cluster: its kinds, its people, two tenants that answer, the DataStore
//! that holds them, sealed Secrets, and a bucket for its backups.

mod canaries;
mod crds;
mod datastore;
mod platform;
mod scene;
mod sealing;
mod shared;
mod tenant;
mod tenant_secrets;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use self::canaries::Canaries;
pub use self::crds::{define, serve};
use self::scene::Scene;
pub use self::shared::Shared;
pub use self::tenant::Tenant;
use crate::Folder;
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;
use crate::kube_controller_manager::KubeControllerManager;
use crate::lab::control_plane;
use crate::s3::S3;
use crate::sealed_secrets::SealedSecrets;
use crate::talos::Standin;

/// Butler's own namespace.
pub const SYSTEM: &str = "butler-system";
/// Namespace of TenantClusters that belong to no team.
pub const TENANTS: &str = "butler-tenants";
/// Namespace of a team, and the name of the team.
pub const TEAM: &str = "payments";
/// Namespace of Steward, with the Secrets of its DataStores.
pub const STEWARD: &str = "steward-system";
/// Namespace of Flux and of the sealed-secrets controller with its keys.
pub const SEALING: &str = "flux-system";
/// Namespace that is not one of Butler's. A ProviderConfig refers to one of its two Secrets,
/// `nutanix-credentials`; nothing refers to the other, `unrelated`.
pub const FOREIGN: &str = "infrastructure-credentials";
/// DataStore of both tenants.
pub const DATASTORE: &str = "default";

/// Scenario. Fields drop in order: servers before the servers that they depend on. Its files are in the
/// folder in which it was started, which must live longer.
pub struct Butler {
    /// Two tenants: `alpha` in [`TENANTS`], `beta` in [`TEAM`].
    tenants: Vec<Tenant>,
    /// The sealed-secrets controller. It is stopped; [`Butler::canaries`] knows its keys.
    pub sealed_secrets: SealedSecrets,
    /// Garbage collector, and the controllers that fill namespaces.
    pub controllers: KubeControllerManager,
    /// The Talos API of three control plane nodes, before [`Butler::etcd`].
    pub talos: Standin,
    /// Talosconfig for each role.
    pub talosconfigs: BTreeMap<String, PathBuf>,
    /// API server of the management cluster, with RBAC, and Secrets encrypted at rest.
    pub kube_apiserver: KubeApiserver,
    /// Etcd of the DataStore [`DATASTORE`]: TLS, users, roles.
    pub datastore: Etcd,
    /// Etcd of the management cluster.
    pub etcd: Etcd,
    /// The S3 server.
    pub s3: S3,
    /// A bucket to begin with.
    pub bucket: String,
    canaries: Vec<String>,
}

impl Butler {
    /// Starts the whole scenario. `say` gets a line per step.
    ///
    /// # Errors
    /// A component cannot be found, built or started, or an object was refused.
    pub async fn start(folder: &Folder, say: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        // Many parts are made at once, which is too much for a caller's stack.
        Box::pin(Self::start_all(folder, say)).await
    }

    async fn start_all(folder: &Folder, say: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        say("starting the etcds of the management cluster and of the tenants, and the S3 server");
        let (etcd, datastore, s3) = tokio::try_join!(
            Etcd::start(folder, "etcd"),
            datastore::start(folder),
            S3::start(folder)
        )?;
        let bucket = s3.bucket("backups").await?;
        let talos = control_plane(&etcd).await?;
        let talosconfigs = talos.write_talosconfigs(&folder.make("talos")?)?;
        say("starting the management cluster's kube-apiserver");
        let kube_apiserver = KubeApiserver::start(folder, "kube-apiserver", &etcd).await?;
        let canaries = Canaries::default();
        let scene = Scene {
            server: &kube_apiserver,
            canaries: &canaries,
        };
        say("starting its controllers, and making Butler's kinds and namespaces");
        let (controllers, (), ()) = tokio::try_join!(
            KubeControllerManager::start(folder, "kube-controller-manager", &kube_apiserver),
            crds::install(&kube_apiserver),
            platform::namespaces(scene),
        )?;
        say("making Butler's objects, two tenants with their API servers, and sealed Secrets");
        let ((), alpha, beta, sealed_secrets) = tokio::try_join!(
            Box::pin(platform::furnish(scene)),
            Box::pin(tenant::make(scene, folder, &datastore, TENANTS, "alpha", 1)),
            Box::pin(tenant::make(scene, folder, &datastore, TEAM, "beta", 2)),
            Box::pin(sealing::furnish(scene, folder)),
        )?;
        let tenants = vec![alpha, beta];
        let used_by = tenants
            .iter()
            .map(|t| format!("{}/{}", t.tenant_namespace, t.name));
        let used_by: Vec<_> = used_by.collect();
        datastore::describe(scene, &datastore, &used_by).await?;
        Ok(Self {
            tenants,
            sealed_secrets,
            controllers,
            talos,
            talosconfigs,
            kube_apiserver,
            datastore,
            etcd,
            s3,
            bucket,
            canaries: canaries.into_all()?,
        })
    }

    /// Loses the management cluster's etcd as [`Standin::reset`] does. API server and controllers end with
    /// the nodes that they stand for.
    ///
    /// # Errors
    /// etcd cannot be ended, or a disk not be emptied.
    pub async fn lose_etcd(&mut self) -> Result<()> {
        self.controllers.kill();
        self.kube_apiserver.kill();
        self.talos.reset().await
    }

    /// Starts API server and controllers again, as the nodes do once [`Standin::etcd_runs`].
    ///
    /// # Errors
    /// One is not ready in time.
    pub async fn resume(&mut self) -> Result<()> {
        self.kube_apiserver.restart().await?;
        self.controllers.restart().await
    }

    /// Returns its tenants.
    #[must_use]
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// Returns the tenant called `name`, to stop its API server and the like.
    ///
    /// # Errors
    /// There is none.
    pub fn tenant(&mut self, name: &str) -> Result<&mut Tenant> {
        let tenant = self.tenants.iter_mut().find(|tenant| tenant.name == name);
        tenant.with_context(|| format!("there is no tenant {name}"))
    }

    /// Returns strings that stand in its Secrets, at least one for each, and nowhere else in clear text:
    /// words, lines of private keys, parts of kubeconfigs.
    #[must_use]
    pub fn canaries(&self) -> &[String] {
        &self.canaries
    }

    /// Returns the kubeconfig of the management cluster's administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kube_apiserver.kubeconfig()
    }

    /// Makes a kubeconfig of the management cluster for a user with the rights that RBAC gives to the name
    /// and the group.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.kube_apiserver.kubeconfig_for(user, group)
    }

    /// Returns the store URL of `prefix` in its bucket, as the programs take it.
    #[must_use]
    pub fn store(&self, prefix: &str) -> String {
        self.s3.url(&self.bucket, prefix)
    }
}
