//! Real sealed-secrets controller, and kubeseal, which seals for it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use crate::kube_apiserver::KubeApiserver;
use crate::process::{Process, Program, Signal};
use crate::tools::{self, Tool};
use crate::{Folder, wait};

const NAME: &str = "sealed-secrets-controller";
/// Label of its keys.
pub const KEY_LABEL: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// Time limit for a key. A key of 4096 bits takes seconds, and many on a machine that compiles next to it.
const KEY_WITHIN: Duration = Duration::from_secs(120);
/// Log line of the controller when it listens for the signal to renew its key. That is a moment after its
/// first key exists; a signal before it would be lost.
const LISTENS: &str = "SIGUSR1 renews the key";
/// Time limit for the stop. It has nothing to write at its end.
const STOP_WITHIN: Duration = Duration::from_secs(30);

/// Binding of a sealed Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Bound to its name and its namespace.
    Strict,
    /// Bound to its namespace.
    NamespaceWide,
    /// Bound to nothing.
    ClusterWide,
}

impl Scope {
    /// Returns kubeseal's word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

/// Running controller, or one that can be started again.
#[derive(Debug)]
pub struct SealedSecrets {
    folder: PathBuf,
    program: PathBuf,
    namespace: String,
    args: Vec<String>,
    process: Option<Process>,
}

impl SealedSecrets {
    /// Starts the controller, with its keys in `namespace`, and waits until it has one; its files go
    /// to `folder`/`name`. The kind of sealed Secrets must be served.
    ///
    /// # Errors
    /// The program cannot be found, built or started.
    pub async fn start(
        folder: &Folder,
        name: &str,
        kube_apiserver: &KubeApiserver,
        namespace: &str,
    ) -> Result<Self> {
        let program = tools::path(Tool::SealedSecretsController).await?;
        let own = folder.make(name)?;
        // It reads and writes Secrets everywhere; its rights are not under test in the lab.
        let kubeconfig = kube_apiserver.kubeconfig_for(name, Some("system:masters"))?;
        let args = vec![
            format!("-kubeconfig={}", kubeconfig.display()),
            format!("-namespace={namespace}"),
        ];
        let mut controller = Self {
            folder: own,
            program,
            namespace: namespace.to_owned(),
            args,
            process: None,
        };
        controller.restart(kube_apiserver).await?;
        Ok(controller)
    }

    /// Starts it again; it reads its keys again.
    ///
    /// # Errors
    /// It has no key in time.
    pub async fn restart(&mut self, kube_apiserver: &KubeApiserver) -> Result<()> {
        self.kill();
        let log = self.folder.join(format!("{NAME}.log"));
        let before = logged(&log)?.len();
        let mut process = self.process()?;
        process
            .ready(KEY_WITHIN, async || {
                let said = logged(&log)?;
                let said = said.get(before..).unwrap_or_default();
                ensure!(said.contains(LISTENS), "it does not listen yet");
                let keys = active_keys(kube_apiserver, &self.namespace).await?;
                ensure!(!keys.is_empty(), "it has no key yet");
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts it again without waiting for anything.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn again(&mut self) -> Result<()> {
        self.kill();
        self.process = Some(self.process()?);
        Ok(())
    }

    fn process(&self) -> Result<Process> {
        Process::start(&Program {
            name: NAME,
            path: &self.program,
            args: self.args.clone(),
            env: Vec::new(),
            folder: &self.folder,
        })
    }

    /// Makes it renew its key, waits for the new one, and returns its Secret.
    ///
    /// # Errors
    /// It does not run, or there is no new key in time.
    pub async fn renew(&mut self, kube_apiserver: &KubeApiserver) -> Result<Value> {
        let before = active_keys(kube_apiserver, &self.namespace).await?;
        let process = self
            .process
            .as_mut()
            .context("sealed-secrets does not run")?;
        process.signal(Signal::User1)?;
        let renewed = wait::until("a new sealing key", KEY_WITHIN, async || {
            let keys = active_keys(kube_apiserver, &self.namespace).await?;
            let new = keys.into_iter().find(|key| {
                let name = key.pointer("/metadata/name");
                before
                    .iter()
                    .all(|old| old.pointer("/metadata/name") != name)
            });
            new.context("the keys are the same")
        })
        .await;
        renewed.with_context(|| process.tail())
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop(STOP_WITHIN).await,
            None => Ok(()),
        }
    }

    /// Kills it.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }
}

/// Returns the whole log, of this run and of earlier ones.
fn logged(log: &Path) -> Result<String> {
    match std::fs::read_to_string(log) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("reading {}", log.display())),
    }
}

/// Returns the Secrets of the keys that it would read in `namespace`.
///
/// # Errors
/// The API server refused.
pub async fn active_keys(kube_apiserver: &KubeApiserver, namespace: &str) -> Result<Vec<Value>> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets?labelSelector={KEY_LABEL}%3Dactive");
    let list = kube_apiserver.read(&path).await?;
    let items = list.get("items").and_then(Value::as_array);
    Ok(items.cloned().unwrap_or_default())
}

/// Seals a Secret with kubeseal for the key in the Secret `key`; returns the sealed Secret. The certificate
/// goes through a file in `folder`, the Secret through no file.
///
/// # Errors
/// kubeseal cannot be found, built or run, or refused.
pub async fn seal(folder: &Path, key: &Value, secret: &Value, scope: Scope) -> Result<Value> {
    let text = |pointer: &str| {
        let value = key.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("a sealing key without {pointer}"))
    };
    let name = text("/metadata/name")?;
    let certificate = text("/data/tls.crt")?;
    let certificate = STANDARD
        .decode(certificate)
        .context("reading a certificate")?;
    let file = folder.join(format!("{name}.crt"));
    std::fs::write(&file, certificate).with_context(|| format!("writing {}", file.display()))?;
    let mut kubeseal = tokio::process::Command::new(tools::path(Tool::Kubeseal).await?)
        .args(["--format", "json", "--scope", scope.word(), "--cert"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting kubeseal")?;
    let mut input = kubeseal.stdin.take().context("kubeseal has no input")?;
    let secret = serde_json::to_vec(secret).context("writing a Secret")?;
    input
        .write_all(&secret)
        .await
        .context("writing to kubeseal")?;
    drop(input);
    let output = kubeseal
        .wait_with_output()
        .await
        .context("waiting for kubeseal")?;
    ensure!(
        output.status.success(),
        "kubeseal ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("reading what kubeseal printed")
}
