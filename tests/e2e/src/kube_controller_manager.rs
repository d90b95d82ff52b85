//! Real kube-controller-manager: the garbage collector, and the controllers that fill namespaces and token
//! Secrets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::Folder;
use crate::http::HttpClient;
use crate::kube_apiserver::KubeApiserver;
use crate::pki::Authority;
use crate::port::Port;
use crate::process::{Process, Program, Signal};
use crate::tools::{self, Tool};

/// Time limit for the start. It takes two seconds on an idle machine; a machine that compiles next to it is
/// slow.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Time limit for the stop. It releases its work first.
const STOP_WITHIN: Duration = Duration::from_secs(60);
/// User that RBAC's own roles know.
const USER: &str = "system:kube-controller-manager";

/// Controllers that a backup or a restore can meet: those that delete, and those that make Secrets,
/// ConfigMaps and service accounts that no backup should hold.
const CONTROLLERS: &[&str] = &[
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
];

/// Running controllers, or some that can be started again.
#[derive(Debug)]
pub struct KubeControllerManager {
    folder: PathBuf,
    program: PathBuf,
    port: Port,
    args: Vec<String>,
    http: HttpClient,
    process: Option<Process>,
}

impl KubeControllerManager {
    /// Starts them on `kube_apiserver`; their files go to `folder`/`name`.
    ///
    /// # Errors
    /// The program cannot be found, built or started.
    pub async fn start(
        folder: &Folder,
        name: &str,
        kube_apiserver: &KubeApiserver,
    ) -> Result<Self> {
        Self::start_with(folder, name, kube_apiserver, &[]).await
    }

    /// Starts them with `more` controllers, such as `persistentvolume-binder-controller`.
    ///
    /// # Errors
    /// The program cannot be found, built or started.
    pub async fn start_with(
        folder: &Folder,
        name: &str,
        kube_apiserver: &KubeApiserver,
        more: &[&str],
    ) -> Result<Self> {
        let program = tools::path(Tool::KubeControllerManager).await?;
        let own = folder.make(name)?;
        let authority = Authority::new(&format!("{name}-ca"))?;
        let server = authority.write(&own.join("pki"), "server", &authority.server(name)?)?;
        let root_ca = own.join("root-ca.crt");
        std::fs::write(&root_ca, kube_apiserver.ca())
            .with_context(|| format!("writing {}", root_ca.display()))?;
        let kubeconfig = kube_apiserver.kubeconfig_for(USER, None)?;
        let port = Port::reserve()?;
        let mut args = Vec::new();
        let mut flag = |name: &str, value: &str| args.push(format!("--{name}={value}"));
        let mut file = |name: &str, path: &Path| flag(name, &path.to_string_lossy());
        file("kubeconfig", &kubeconfig);
        file("cert-dir", &own.join("pki"));
        file("tls-cert-file", &server.certificate);
        file("tls-private-key-file", &server.key);
        file("root-ca-file", &root_ca);
        file(
            "service-account-private-key-file",
            &kube_apiserver.accounts_file(),
        );
        flag("bind-address", "127.0.0.1");
        flag("secure-port", &port.to_string());
        flag("controllers", &[CONTROLLERS, more].concat().join(","));
        flag("leader-elect", "false");
        // As on a real cluster, each controller has its own service account and its own rights.
        flag("use-service-account-credentials", "true");
        let mut controllers = Self {
            folder: own,
            program,
            port,
            args,
            http: HttpClient::new(authority.pem(), None)?,
            process: None,
        };
        controllers.restart().await?;
        Ok(controllers)
    }

    /// Stops them in order.
    ///
    /// # Errors
    /// They did not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop(STOP_WITHIN).await,
            None => Ok(()),
        }
    }

    /// Kills them.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Sends them a signal.
    ///
    /// # Errors
    /// They do not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process
            .as_mut()
            .context("the controllers do not run")?
            .signal(signal)
    }

    /// Starts them again.
    ///
    /// # Errors
    /// They are not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut process = Process::start(&Program {
            name: "kube-controller-manager",
            path: &self.program,
            args: self.args.clone(),
            env: Vec::new(),
            folder: &self.folder,
        })?;
        let url = format!("https://127.0.0.1:{}/healthz", self.port);
        process
            .ready(READY_WITHIN, async || {
                let (status, body) = self.http.get(&url, None).await?;
                let text = String::from_utf8_lossy(&body);
                anyhow::ensure!(status.is_success(), "/healthz: {status}: {text}");
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }
}
