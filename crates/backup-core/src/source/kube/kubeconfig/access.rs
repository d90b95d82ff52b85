//! What is needed to connect to a cluster, out of a kubeconfig that was found usable.

use std::fmt;
use std::time::Duration;

use kube::{Client, Config};
use rustls_pki_types::CertificateDer;
use secrecy::SecretString;

use crate::proxy::{Proxies, Proxy};
use crate::source::kube::connect::client;

/// A server and the credentials for it. Prints the server only.
#[derive(Clone)]
pub struct Access {
    pub(super) server: String,
    /// Certificates (DER) of the authorities that the server is checked against.
    pub(super) authorities: Vec<Vec<u8>>,
    /// The client's certificate and key, each as base64 of PEM.
    pub(super) identity: Option<(String, SecretString)>,
    pub(super) token: Option<SecretString>,
    /// The name that is asked for and checked in place of the address.
    pub(super) tls_server_name: Option<String>,
    /// The proxy that it names.
    pub(super) proxy: Option<Proxy>,
}

impl Access {
    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// A client for the server; asks nothing yet. Goes through the proxy that the kubeconfig names, else
    /// through the one of `proxies` that leads there.
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
        // The caller has one limit for all.
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

/// The certificates that TLS can trust. The client refuses all of them for one that it cannot; if
/// there is no other, it says so itself.
pub(in crate::source::kube) fn anchors(authorities: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let trusted = |der: &&Vec<u8>| {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from(der.as_slice()).into_owned())
            .is_ok()
    };
    let found: Vec<Vec<u8>> = authorities.iter().filter(trusted).cloned().collect();
    if found.is_empty() { authorities } else { found }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.server)
    }
}
