//! Second management cluster with nothing in it, as a target for restores.

use std::path::PathBuf;

use anyhow::Result;

use crate::Folder;
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;
use crate::kube_controller_manager::KubeControllerManager;

/// Fresh cluster. Fields drop in order: servers before the servers that they depend on.
pub struct Fresh {
    /// Garbage collector, and the controllers that fill namespaces.
    pub controllers: KubeControllerManager,
    /// Its API server, with RBAC, and Secrets encrypted with a key of its own.
    pub kube_apiserver: KubeApiserver,
    /// Its etcd.
    pub etcd: Etcd,
}

impl Fresh {
    /// Starts one; its files go to folders of `folder` that begin with `name`.
    ///
    /// # Errors
    /// A component cannot be found, built or started.
    pub async fn start(folder: &Folder, name: &str) -> Result<Self> {
        let etcd = Etcd::start(folder, &format!("{name}-etcd")).await?;
        let server = format!("{name}-kube-apiserver");
        let kube_apiserver = KubeApiserver::start(folder, &server, &etcd).await?;
        let controllers = format!("{name}-kube-controller-manager");
        let controllers =
            KubeControllerManager::start(folder, &controllers, &kube_apiserver).await?;
        Ok(Self {
            controllers,
            kube_apiserver,
            etcd,
        })
    }

    /// Returns the kubeconfig of its administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kube_apiserver.kubeconfig()
    }
}
