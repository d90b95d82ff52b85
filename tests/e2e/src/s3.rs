//! Real S3 server, versitygw, on a folder.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Region, retry::RetryConfig};
use aws_smithy_http_client::{Builder, tls};
use tokio::process::Command;

use crate::Folder;
use crate::pki::{Authority, Files};
use crate::port::Port;
use crate::process::{Process, Program, Signal};
use crate::tools::{self, Tool};

/// Time limit for the start. It listens in a fraction of a second; a machine that compiles next to it is
/// slow.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Time limit for the stop. It has nothing to write at its end.
const STOP_WITHIN: Duration = Duration::from_secs(15);
/// Region of the server.
pub const REGION: &str = "us-east-1";

/// Access key pair of the lab; it is not secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key id.
    pub access: String,
    /// The secret access key.
    pub secret: String,
}

impl Keys {
    /// Returns the usual variables, for a program under test.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 3] {
        [
            ("AWS_ACCESS_KEY_ID", self.access.clone()),
            ("AWS_SECRET_ACCESS_KEY", self.secret.clone()),
            ("AWS_REGION", REGION.to_owned()),
        ]
    }
}

/// Running S3 server, or one that can be started again on the same port.
#[derive(Debug)]
pub struct S3 {
    folder: PathBuf,
    program: PathBuf,
    port: Port,
    root: Keys,
    tls: Option<Files>,
    process: Option<Process>,
    buckets: AtomicU32,
}

impl S3 {
    /// Starts one over plain HTTP; its files go to `folder`/s3.
    ///
    /// # Errors
    /// The server cannot be found, built or started.
    pub async fn start(folder: &Folder) -> Result<Self> {
        Self::start_with(folder, "s3", false).await
    }

    /// Starts one as `folder`/`name`, with TLS by an authority of its own where `tls` is true.
    ///
    /// # Errors
    /// The server cannot be found, built or started.
    pub async fn start_with(folder: &Folder, name: &str, tls: bool) -> Result<Self> {
        let program = tools::path(Tool::Versitygw).await?;
        let own = folder.make(name)?;
        for part in ["objects", "versions", "users"] {
            folder.make(format!("{name}/{part}"))?;
        }
        let tls = if tls {
            let authority = Authority::new(&format!("{name}-ca"))?;
            Some(authority.write(&own.join("pki"), "server", &authority.server(name)?)?)
        } else {
            None
        };
        let root = Keys {
            access: "lab-root".to_owned(),
            secret: random_word(32),
        };
        let mut s3 = Self {
            folder: own,
            program,
            port: Port::reserve()?,
            root,
            tls,
            process: None,
            buckets: AtomicU32::new(0),
        };
        s3.restart().await?;
        Ok(s3)
    }

    /// Returns its address, such as `http://127.0.0.1:21444`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Returns the keys of its administrator.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.root
    }

    /// Returns the authority to trust, with TLS.
    #[must_use]
    pub fn ca(&self) -> Option<&std::path::Path> {
        self.tls.as_ref().map(|files| files.ca.as_path())
    }

    /// Returns the folder whose sub-folders are the buckets, for tests that damage an object without the
    /// server.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.folder.join("objects")
    }

    /// Returns the store URL of `prefix` in `bucket`, as the programs take it.
    #[must_use]
    pub fn url(&self, bucket: &str, prefix: &str) -> String {
        let endpoint = self.endpoint();
        format!("s3://{bucket}/{prefix}?endpoint={endpoint}&region={REGION}&path-style=true")
    }

    /// Makes a client with the administrator's keys, without retries.
    ///
    /// # Errors
    /// The authority's file cannot be read.
    pub fn client(&self) -> Result<Client> {
        self.client_as(&self.root)
    }

    /// Makes a client with the keys of a user.
    ///
    /// # Errors
    /// The authority's file cannot be read.
    pub fn client_as(&self, keys: &Keys) -> Result<Client> {
        let mut context = tls::TlsContext::builder();
        if let Some(ca) = self.ca() {
            let pem = std::fs::read(ca).with_context(|| format!("reading {}", ca.display()))?;
            context = context.with_trust_store(tls::TrustStore::empty().with_pem_certificate(pem));
        }
        let http = Builder::new()
            .tls_provider(tls::Provider::Rustls(
                tls::rustls_provider::CryptoMode::Ring,
            ))
            .tls_context(context.build().context("trusting the S3 server")?)
            .build_https();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(http)
            .endpoint_url(self.endpoint())
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new(
                &keys.access,
                &keys.secret,
                None,
                None,
                "lab",
            ))
            .retry_config(RetryConfig::disabled())
            .force_path_style(true)
            .build();
        Ok(Client::from_conf(config))
    }

    /// Makes a new bucket whose name starts with `name`, and returns its whole name.
    ///
    /// # Errors
    /// The server refused.
    pub async fn bucket(&self, name: &str) -> Result<String> {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("{name}-{number}");
        self.client()?
            .create_bucket()
            .bucket(&bucket)
            .send()
            .await
            .with_context(|| format!("making the bucket {bucket}"))?;
        Ok(bucket)
    }

    /// Makes a new bucket with versioning and object lock.
    ///
    /// # Errors
    /// The server refused.
    pub async fn locked_bucket(&self, name: &str) -> Result<String> {
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let bucket = format!("{name}-{number}");
        self.client()?
            .create_bucket()
            .bucket(&bucket)
            .object_lock_enabled_for_bucket(true)
            .send()
            .await
            .with_context(|| format!("making the bucket {bucket} with object lock"))?;
        Ok(bucket)
    }

    /// Makes a user who may do nothing until a bucket's policy lets them.
    ///
    /// # Errors
    /// The server refused.
    pub async fn user(&self, name: &str) -> Result<Keys> {
        let keys = Keys {
            access: name.to_owned(),
            secret: random_word(32),
        };
        let output = Command::new(&self.program)
            .args([
                "admin",
                "--allow-insecure",
                "--endpoint-url",
                &self.endpoint(),
            ])
            .args([
                "create-user",
                "--role",
                "user",
                "--access",
                name,
                "--secret",
                &keys.secret,
            ])
            .env("ADMIN_ACCESS_KEY_ID", &self.root.access)
            .env("ADMIN_SECRET_ACCESS_KEY", &self.root.secret)
            .kill_on_drop(true)
            .output()
            .await
            .context("running versitygw admin")?;
        anyhow::ensure!(
            output.status.success(),
            "making the S3 user {name}: {} {}",
            String::from_utf8_lossy(&output.stdout).trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(keys)
    }

    /// Stops it; the port stays reserved for [`S3::restart`].
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

    /// Sends it a signal, such as [`Signal::Stop`] to make it silent.
    ///
    /// # Errors
    /// It does not run.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.process
            .as_mut()
            .context("the S3 server does not run")?
            .signal(signal)
    }

    /// Starts it again on the same port with the same objects.
    ///
    /// # Errors
    /// It is not ready in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let mut args = vec![
            "--port".to_owned(),
            format!("127.0.0.1:{}", self.port),
            "--region".to_owned(),
            REGION.to_owned(),
            "--quiet".to_owned(),
            "--keep-alive".to_owned(),
            "--iam-dir".to_owned(),
            self.folder.join("users").display().to_string(),
        ];
        if let Some(tls) = &self.tls {
            args.extend(["--cert".to_owned(), tls.certificate.display().to_string()]);
            args.extend(["--key".to_owned(), tls.key.display().to_string()]);
        }
        args.extend([
            "posix".to_owned(),
            "--versioning-dir".to_owned(),
            self.folder.join("versions").display().to_string(),
            self.objects().display().to_string(),
        ]);
        let mut process = Process::start(&Program {
            name: "versitygw",
            path: &self.program,
            args,
            env: vec![
                ("ROOT_ACCESS_KEY_ID".to_owned(), self.root.access.clone()),
                (
                    "ROOT_SECRET_ACCESS_KEY".to_owned(),
                    self.root.secret.clone(),
                ),
            ],
            folder: &self.folder,
        })?;
        let client = self.client()?;
        process
            .ready(READY_WITHIN, async || {
                client
                    .list_buckets()
                    .send()
                    .await
                    .context("listing buckets")?;
                Ok(())
            })
            .await?;
        self.process = Some(process);
        Ok(())
    }
}

/// Returns letters and digits, for a secret of the lab.
fn random_word(length: usize) -> String {
    use rand::RngExt;
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(length)
        .map(char::from)
        .collect()
}
