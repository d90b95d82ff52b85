//! Connection of a plain gRPC client to a server of the lab: to etcd, or to the stand-in itself.

use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

/// Certificates of a client, as PEM.
pub struct ClientTls {
    /// Authorities of the server's certificate.
    pub ca: String,
    /// Certificate of the client.
    pub crt: String,
    /// Key of the client; the label that Talos uses is accepted as well.
    pub key: String,
}

/// Makes a channel to `address` (`127.0.0.1:2379`) that connects when it is first used.
///
/// # Errors
/// When the address or the certificates cannot be used.
pub fn channel(address: &str, tls: Option<&ClientTls>) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let Some(tls) = tls else {
        return Ok(endpoint.connect_lazy());
    };
    let mut roots = rustls::RootCertStore::empty();
    for ca in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        roots.add(ca?)?;
    }
    let chain = CertificateDer::pem_slice_iter(tls.crt.as_bytes()).collect::<Result<_, _>>()?;
    let key = tls.key.replace(" ED25519 PRIVATE KEY", " PRIVATE KEY");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.to_owned())?;
    let origin = format!("https://{address}").parse()?;
    let address = address.to_owned();
    let connect = tower::service_fn(move |_: tonic::transport::Uri| {
        let (connector, name, address) = (connector.clone(), name.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Ok(endpoint.origin(origin).connect_with_connector_lazy(connect))
}
