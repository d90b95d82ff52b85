//! Runner of the real sealed-secrets controller as its Deployment says, in place of a kubelet.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::Folder;
use e2e::butler::SEALING;
use e2e::kube_apiserver::KubeApiserver;
use e2e::sealed_secrets::SealedSecrets;
use kube_client::Client;
use serde_json::json;
use tokio::task::JoinHandle;

mod kube_client {
    //! Second client of the API server, for the task.
    use std::path::{Path, PathBuf};

    use anyhow::Result;
    use e2e::run::Command;
    use e2e::tools::{self, Tool};
    use serde_json::Value;

    #[derive(Clone)]
    pub(super) struct Client {
        pub(super) kubeconfig: PathBuf,
        pub(super) cache: PathBuf,
    }

    impl Client {
        pub(super) async fn kubectl(&self, args: &[&str]) -> Result<Value> {
            let kubectl = Command::new(tools::path(Tool::Kubectl).await?);
            let kubectl = kubectl.env("KUBECACHEDIR", &self.cache).arg("--kubeconfig");
            let kubectl = kubectl.arg(Path::new(&self.kubeconfig)).args(args);
            kubectl.args(["-o", "json"]).ended_with(0).await?.json()
        }
    }
}

/// Running controller; see the module. It ends with this.
pub(crate) struct Runner {
    stops: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Runner {
    /// Makes the Deployment, and runs the controller while it has a replica.
    pub(crate) async fn start(
        folder: &Folder,
        kubeconfig: &Path,
        server: &KubeApiserver,
    ) -> Result<Self> {
        let labels = json!({ "app.kubernetes.io/name": "sealed-secrets" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "sealed-secrets", "namespace": SEALING, "labels": &labels },
            "spec": {
                "replicas": 1,
                "selector": { "matchLabels": &labels },
                "template": {
                    "metadata": { "labels": &labels },
                    "spec": { "containers": [{ "name": "controller", "image": "lab" }] },
                },
            },
        });
        let path = format!("/apis/apps/v1/namespaces/{SEALING}/deployments");
        server.create(&path, &deployment).await?;
        let mut controller = SealedSecrets::start(folder, "fresh-sealed", server, SEALING).await?;
        let client = Client {
            kubeconfig: kubeconfig.to_owned(),
            cache: folder.path().join("runner"),
        };
        told(&client, 1).await?;
        let stops = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&stops);
        let task = tokio::spawn(async move {
            let mut runs = true;
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let get = ["get", "deployment", "sealed-secrets", "-n", SEALING];
                let Ok(object) = client.kubectl(&get).await else {
                    continue;
                };
                let wanted = object["spec"]["replicas"] != 0;
                if wanted == runs {
                    continue;
                }
                let done = if wanted {
                    controller.again().await
                } else {
                    counted.fetch_add(1, Ordering::Relaxed);
                    controller.stop().await
                };
                if done.is_ok() && told(&client, u32::from(wanted)).await.is_ok() {
                    runs = wanted;
                }
            }
        });
        Ok(Self { stops, task })
    }

    /// Returns how often it was stopped.
    pub(crate) fn stops(&self) -> usize {
        self.stops.load(Ordering::Relaxed)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reports the number of running replicas.
async fn told(client: &Client, replicas: u32) -> Result<()> {
    let status = json!({ "status": { "replicas": replicas, "readyReplicas": replicas } });
    let status = status.to_string();
    let patch = [
        "patch",
        "deployment",
        "sealed-secrets",
        "-n",
        SEALING,
        "--subresource=status",
    ];
    let patch: Vec<&str> = patch
        .into_iter()
        .chain(["--type=merge", "-p", &status])
        .collect();
    client
        .kubectl(&patch)
        .await
        .map(drop)
        .context("telling a Deployment's status")
}
