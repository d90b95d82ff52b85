//! Connection data from a kubeconfig that was found usable.

use std::fmt;
use std::time::Duration;

use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use secrecy::SecretString;

use crate::kube::connect::client;
use backup_core::proxy::{Proxies, Proxy};

/// Server and credentials. The debug output contains only the server.
#[derive(Clone)]
pub struct KubeconfigAccess {
    pub(super) server: String,
    /// Certificates (DER) of the authorities that the server is verified against.
    pub(super) authorities: Vec<Vec<u8>>,
    /// Client's certificate and key, each as base64 of PEM.
    pub(super) identity: Option<(String, SecretString)>,
    pub(super) token: Option<SecretString>,
    /// Name that is requested and checked in place of the address.
    pub(super) tls_server_name: Option<String>,
    /// Proxy that the kubeconfig names.
    pub(super) proxy: Option<Proxy>,
}

impl KubeconfigAccess {
    /// Returns the server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Creates a client for the server; sends no request yet. Uses the proxy that the kubeconfig names, else
    /// the one that `proxies` selects for the server.
    ///
    /// # Errors
    /// When the address, a certificate, the key or a proxy cannot be used.
    pub fn client(
        &self,
        connect_timeout: Duration,
        proxies: &Proxies,
    ) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let mut config = Config::new(self.server.parse()?);
        config.root_cert = Some(anchors(self.authorities.clone()));
        config.tls_server_name.clone_from(&self.tls_server_name);
        config.connect_timeout = Some(connect_timeout);
        // The caller has one time limit for everything.
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        if let Some((certificate, key)) = &self.identity {
            config.auth_info.client_certificate_data = Some(certificate.clone());
            config.auth_info.client_key_data = Some(key.clone());
        }
        config.auth_info.token.clone_from(&self.token);
        let proxy = match &self.proxy {
            Some(own) => Some(own.clone()),
            None => proxies.of(&config.cluster_url)?,
        };
        client(config, proxy)
    }
}

/// Returns the certificates that TLS can trust. The client would reject all of them for a single bad
/// one; if all are bad, they are returned, so that the client reports the error.
pub(in crate::kube) fn anchors(authorities: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let trusted = |der: &&Vec<u8>| {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from(der.as_slice()).into_owned())
            .is_ok()
    };
    let found: Vec<Vec<u8>> = authorities.iter().filter(trusted).cloned().collect();
    if found.is_empty() { authorities } else { found }
}

impl fmt::Debug for KubeconfigAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KubeconfigAccess({})", self.server)
    }
}
