//! TLS of the daemon's listener and of its clients.
//!
//! Changed files are read again, so that a renewed certificate needs no restart.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::Context as _;
use backup_cli::config::read_secret;
use backup_cli::failure::Failure;
use backup_core::text;
use rustls::client::verify_server_name;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::ExposeSecret as _;
use tokio_rustls::TlsAcceptor;

/// Largest PEM file. A bundle of authorities is some hundred kilobytes.
const MAX_PEM: u64 = 4 << 20;
/// Only supported protocol.
const HTTP: &[u8] = b"http/1.1";

/// Files of the listener.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Authority whose clients may ask for restore points.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Sizes and times by which a change of the files is noticed.
type TlsFileStamps = Vec<Option<(u64, Option<SystemTime>)>>;

/// TLS of the listener.
pub(crate) struct Listener {
    files: TlsFiles,
    current: Mutex<(TlsFileStamps, TlsState)>,
}

/// Last content of the files.
struct TlsState {
    config: Arc<ServerConfig>,
    /// Certificate that the listener shows.
    own: CertificateDer<'static>,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Listener {
    /// Reads the files.
    ///
    /// # Errors
    /// Fails when a file cannot be read, the key is open to others, or the files do not belong together.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, Failure> {
        let current = Mutex::new((files.print(), files.current()?));
        Ok(Self { files, current })
    }

    /// Reports whether clients may show a certificate instead of a token.
    pub(crate) fn knows_clients(&self) -> bool {
        self.files.client_ca.is_some()
    }

    /// Reports whether the certificate is valid for `host`.
    pub(crate) fn is_named(&self, host: &str) -> bool {
        let own = {
            let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
            current.1.own.clone()
        };
        let Ok(name) = ServerName::try_from(host) else {
            return false;
        };
        let parsed = ParsedCertificate::try_from(&own);
        parsed.is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
    }

    /// Returns the acceptor for the next connection. Changed files that are broken leave the previous one in
    /// use.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let print = self.files.print();
        if print != current.0 {
            current.0 = print;
            match self.files.current() {
                Ok(read) => {
                    tracing::info!("the listener's certificate was read again");
                    current.1 = read;
                }
                Err(error) => {
                    let error = error.one_line();
                    tracing::error!(
                        error,
                        "the listener's files cannot be used; it keeps those before"
                    );
                }
            }
        }
        TlsAcceptor::from(Arc::clone(&current.1.config))
    }
}

impl TlsFiles {
    fn print(&self) -> TlsFileStamps {
        let files = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        let files = files.into_iter().flatten();
        files
            .map(|file| {
                let metadata = file.metadata().ok()?;
                Some((metadata.len(), metadata.modified().ok()))
            })
            .collect()
    }

    fn current(&self) -> Result<TlsState, Failure> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .context("choose the versions of TLS")?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                // Probes and scrapes show no certificate; each request decides what they may not do.
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                    .allow_unauthenticated()
                    .build()
                    .with_context(|| format!("use the authorities of {}", path.display()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let (chain, key) = (
            certificates(&self.certificate)?,
            private_key(&self.key, "--tls-key")?,
        );
        let own = chain.first().cloned().context("find a certificate")?;
        let mut config = builder.with_single_cert(chain, key).with_context(|| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            format!("use the certificate {certificate} with the key {key}")
        })?;
        config.alpn_protocols = vec![HTTP.to_vec()];
        Ok(TlsState {
            config: Arc::new(config),
            own,
        })
    }
}

/// Returns the client's configuration: it trusts `authority` alone, and shows the certificate and key of
/// `own`.
///
/// # Errors
/// Fails when a file cannot be read, the key is open to others, or the files do not belong together.
pub(crate) fn client(
    authority: &Path,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("choose the versions of TLS")?
        .with_root_certificates(authorities(authority)?);
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, secret) = (
                certificates(certificate)?,
                private_key(key, "--client-key")?,
            );
            let used = builder.with_client_auth_cert(chain, secret);
            used.with_context(|| {
                let (certificate, key) = (certificate.display(), key.display());
                format!("use the certificate {certificate} with the key {key}")
            })?
        }
    };
    config.alpn_protocols = vec![HTTP.to_vec()];
    Ok(Arc::new(config))
}

fn authorities(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        let added = roots.add(certificate);
        added.with_context(|| format!("use the authorities of {}", path.display()))?;
    }
    Ok(roots)
}

/// Reads all certificates of a file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let what = || format!("read certificates from {}", path.display());
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).with_context(what)?;
    file.take(MAX_PEM)
        .read_to_end(&mut pem)
        .with_context(what)?;
    let pem = text::decode(&pem).with_context(what)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    // The parser's error may quote the file.
    let broken = |_| anyhow::anyhow!("one of its PEM blocks cannot be read");
    let found = found.map_err(broken).with_context(what)?;
    if found.is_empty() {
        return Err(anyhow::anyhow!("{} holds no certificate in PEM", path.display()).into());
    }
    Ok(found)
}

fn private_key(path: &Path, flag: &'static str) -> Result<PrivateKeyDer<'static>, Failure> {
    let text = read_secret("private key", flag, path)?;
    // The parser's error is not repeated.
    PrivateKeyDer::from_pem_slice(text.expose_secret().as_bytes())
        .map_err(|_| anyhow::anyhow!("{} holds no private key in PEM", path.display()).into())
}
