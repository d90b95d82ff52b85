//! Real kube-apiserver: RBAC, Secrets encrypted at rest as on Talos, an administrator.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, StatusCode};
use rand::RngExt;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::Folder;
use crate::data::secretbox;
use crate::etcd::Etcd;
use crate::folder::write_private;
use crate::http::HttpClient;
use crate::pki::{Authority, Files, Identity};
use crate::port::Port;
use crate::process::{Process, Program, Signal};
use crate::tools::{self, Tool};

mod audit;

pub use audit::Request;

/// Time limit for the start. It takes three seconds on an idle machine; a machine that compiles next to it is
/// slow.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// File of the service accounts' key, in its folder.
const ACCOUNTS_KEY: &str = "service-accounts.key";
/// Time limit for the stop. It lets requests finish first.
const STOP_WITHIN: Duration = Duration::from_secs(60);

/// Storage of an API server.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Address of etcd.
    pub endpoint: String,
    /// Files that it shows to etcd; `None` over plain HTTP.
    pub client: Option<Files>,
    /// Prefix of all its keys in an etcd that others use too, such as `/tenant`.
    pub prefix: Option<String>,
    /// Whether Secrets are encrypted at rest.
    pub encrypted: bool,
    /// Feature gates that are on, such as `AllowUnsafeMalformedObjectDeletion`.
    pub features: Vec<String>,
}

impl Storage {
    /// Returns the storage of all of `etcd`, with Secrets encrypted: the management cluster on Talos.
    #[must_use]
    pub fn whole(etcd: &Etcd) -> Self {
        Self {
            endpoint: etcd.endpoint(),
            client: etcd.client_files().cloned(),
            prefix: None,
            encrypted: true,
            features: Vec::new(),
        }
    }
}

/// Running API server, or one that can be started again on the same port.
pub struct KubeApiserver {
    folder: PathBuf,
    program: PathBuf,
    port: Port,
    authority: Authority,
    accounts: KeyPair,
    token: String,
    http: HttpClient,
    args: Vec<String>,
    process: Option<Process>,
}

impl KubeApiserver {
    /// Starts one on `etcd`; its files go to `folder`/`name`.
    ///
    /// # Errors
    /// The server cannot be found, built or started.
    pub async fn start(folder: &Folder, name: &str, etcd: &Etcd) -> Result<Self> {
        Self::start_with(folder, name, &Storage::whole(etcd)).await
    }

    /// Starts one that keeps its objects in `storage`; its files go to `folder`/`name`.
    ///
    /// # Errors
    /// The server cannot be found, built or started.
    pub async fn start_with(folder: &Folder, name: &str, storage: &Storage) -> Result<Self> {
        Self::start_told(folder, name, storage, None).await
    }

    /// Starts one that logs the requests of the user `audited`.
    async fn start_told(
        folder: &Folder,
        name: &str,
        storage: &Storage,
        audited: Option<&str>,
    ) -> Result<Self> {
        let program = tools::path(Tool::KubeApiserver).await?;
        let own = folder.make(name)?;
        let authority = Authority::new("kubernetes-ca")?;
        let pki = own.join("pki");
        let server = authority.write(&pki, "server", &authority.server("kube-apiserver")?)?;
        let token = hex::encode(rand::rng().random::<[u8; 16]>());
        let tokens = own.join("tokens.csv");
        write_private(
            &tokens,
            format!("{token},admin,admin,system:masters\n").as_bytes(),
        )?;
        let accounts = KeyPair::generate().context("making the service accounts' key")?;
        let accounts_private = own.join(ACCOUNTS_KEY);
        write_private(&accounts_private, accounts.serialize_pem().as_bytes())?;
        let accounts_public = pki.join("service-accounts.pub");
        write_private(&accounts_public, accounts.public_key_pem().as_bytes())?;

        let port = Port::reserve()?;
        let mut args = Vec::new();
        let mut flag = |name: &str, value: &str| args.push(format!("--{name}={value}"));
        flag("bind-address", "127.0.0.1");
        flag("secure-port", &port.to_string());
        flag("cert-dir", &pki.to_string_lossy());
        flag("tls-cert-file", &server.certificate.to_string_lossy());
        flag("tls-private-key-file", &server.key.to_string_lossy());
        flag("client-ca-file", &server.ca.to_string_lossy());
        flag("token-auth-file", &tokens.to_string_lossy());
        flag("authorization-mode", "RBAC");
        flag(
            "service-account-key-file",
            &accounts_public.to_string_lossy(),
        );
        flag(
            "service-account-signing-key-file",
            &accounts_private.to_string_lossy(),
        );
        flag("service-account-issuer", "https://kubernetes.default.svc");
        flag("service-cluster-ip-range", "10.0.0.0/24");
        if storage.encrypted {
            let encryption = own.join("encryption.yaml");
            write_private(&encryption, encryption_config()?.as_bytes())?;
            flag("encryption-provider-config", &encryption.to_string_lossy());
        }
        if let Some(user) = audited {
            for (name, value) in audit::flags(&own, user)? {
                flag(name, &value);
            }
        }
        for feature in &storage.features {
            flag("feature-gates", &format!("{feature}=true"));
        }
        flag("allow-privileged", "true");
        flag("etcd-servers", &storage.endpoint);
        if let Some(prefix) = &storage.prefix {
            flag("etcd-prefix", prefix);
            // The mark of a compaction lies outside the prefix, where a tenant may not write.
            flag("etcd-compaction-interval", "0");
        }
        if let Some(files) = &storage.client {
            flag("etcd-cafile", &files.ca.to_string_lossy());
            flag("etcd-certfile", &files.certificate.to_string_lossy());
            flag("etcd-keyfile", &files.key.to_string_lossy());
        }
        let http = HttpClient::new(authority.pem(), None)?;
        let mut server = Self {
            folder: own,
            program,
            port,
            authority,
            accounts,
            token,
            http,
            args,
            process: None,
        };
        server.restart().await?;
        let admin = server.kubeconfig_text(&json!({ "token": server.token }))?;
        write_private(&server.kubeconfig(), admin.as_bytes())?;
        Ok(server)
    }

    /// Returns its address, such as `https://127.0.0.1:21555`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Returns the kubeconfig of an administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Returns the administrator's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns its authority's certificate as PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        self.authority.pem()
    }

    /// Returns its authority, to make more clients.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Returns the key that signs the tokens of service accounts.
    #[must_use]
    pub fn accounts(&self) -> &KeyPair {
        &self.accounts
    }

    /// Returns the file of [`KubeApiserver::accounts`].
    #[must_use]
    pub fn accounts_file(&self) -> PathBuf {
        self.folder.join(ACCOUNTS_KEY)
    }

    /// Writes a kubeconfig for a user who has a client certificate and only the rights that RBAC gives to the
    /// name and the group.
    ///
    /// # Errors
    /// The certificate cannot be made or the file not be written.
    pub fn kubeconfig_for(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let path = self
            .folder
            .join(format!("kubeconfig-{}", user.replace(':', "-")));
        let identity = self.authority.client(user, group)?;
        write_private(&path, self.kubeconfig_of(&identity)?.as_bytes())?;
        Ok(path)
    }

    /// Returns the text of a kubeconfig with this certificate and key.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn kubeconfig_of(&self, identity: &Identity) -> Result<String> {
        self.kubeconfig_text(&json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }))
    }

    /// Requests `path`, such as `/readyz`, as the administrator.
    ///
    /// # Errors
    /// Nobody answered; an answer with an error status is an `Ok`.
    pub async fn get(&self, path: &str) -> Result<(StatusCode, bytes::Bytes)> {
        self.http
            .get(&format!("{}{path}", self.url()), Some(&self.token))
            .await
    }

    /// Creates an object as the administrator by posting `object` to `path`, such as `/api/v1/namespaces`,
    /// and returns the server's version of it.
    ///
    /// # Errors
    /// The server refused.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, Some(object)).await
    }

    /// Replaces the object at `path` as the administrator, or its status where the path ends in `/status`,
    /// and returns the server's version of it.
    ///
    /// # Errors
    /// The server refused, as it does where the object's resourceVersion is not the newest.
    pub async fn replace(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::PUT, path, Some(object)).await
    }

    /// Deletes the object at `path` as the administrator.
    ///
    /// # Errors
    /// The server refused.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    /// Reads the object or the list at `path` as the administrator.
    ///
    /// # Errors
    /// The server refused.
    pub async fn read(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await
    }

    async fn send(&self, method: Method, path: &str, object: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.url());
        let (status, body) = self
            .http
            .send(method.clone(), &url, Some(&self.token), object)
            .await?;
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.is_success(), "{method} {path}: {status}: {text}");
        serde_json::from_slice(&body)
            .with_context(|| format!("the answer to {method} {path}: {text}"))
    }

    /// Stops it in order; the port stays reserved for [`KubeApiserver::restart`].
    ///
    /// # Errors
    /// It did not end in time.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.stop(STOP_WITHIN).await,
            None => Ok(()),
        }
    }

    /// Kills it; the port stays reserved.
    pub fn kill(&mut self) {
        drop(self.process.take());
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process
            .as_mut()
            .context("the API server does not run")?
            .signal(signal)
    }

    /// Starts it again with the same flags, as is needed after its etcd was restored.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill();
        let mut process = Process::start(&Program {
            name: "kube-apiserver",
            path: &self.program,
            args: self.args.clone(),
            env: Vec::new(),
            folder: &self.folder,
        })?;
        process
            .ready(READY_WITHIN, async || {
                let (status, body) = self.get("/readyz").await?;
                let text = String::from_utf8_lossy(&body);
                anyhow::ensure!(status.is_success(), "/readyz: {status}: {text}");
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }

    fn kubeconfig_text(&self, user: &Value) -> Result<String> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "lab",
                "cluster": {
                    "server": self.url(),
                    "certificate-authority-data": STANDARD.encode(self.authority.pem()),
                },
            }],
            "users": [{ "name": "lab", "user": user }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "lab" } }],
            "current-context": "lab",
        });
        serde_json::to_string_pretty(&config).context("writing a kubeconfig")
    }
}

/// Returns the configuration that encrypts Secrets by secretbox under the lab's key. JSON is valid YAML.
fn encryption_config() -> Result<String> {
    let secret = STANDARD.encode(secretbox::KEY);
    let config = json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{
            "resources": ["secrets"],
            "providers": [
                { "secretbox": { "keys": [{ "name": secretbox::KEY_NAME, "secret": secret }] } },
                { "identity": {} },
            ],
        }],
    });
    serde_json::to_string_pretty(&config).context("writing the encryption's configuration")
}
