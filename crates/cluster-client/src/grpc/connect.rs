//! HTTP/2 connection to one endpoint, with TLS checked against the host as written.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::client::WebPkiServerVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint as HttpEndpoint};
use tower::Service;

use super::endpoint::Endpoint;
use crate::BoxError;
use backup_core::clock::Clock;
use backup_core::proxy::{Dialer, Proxies, Proxy, ProxyStream};

/// Bytes that one stream may run ahead of its reader. A second of the fastest server seen (80 MB/s)
/// would be more than needed; a tenth of it covers a slow consumer.
const STREAM_WINDOW: u32 = 8 << 20;
/// The same for all streams of a connection together; there is one snapshot at a time.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest frame. Fewer, larger HTTP/2 frames cost less per byte; the server may still send small ones.
const MAX_FRAME: u32 = 256 << 10;
/// Interval of TCP keepalives, which find dead peers. HTTP/2 pings more often than every 5 minutes
/// would get the connection closed with ENHANCE_YOUR_CALM.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// Reason why TLS cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("use the certificates of the authority")]
    Authorities(#[source] BoxError),
    #[error(
        "use the client certificate and its key (`crt` and `key`) together: they must belong to each other"
    )]
    Pair(#[source] rustls::Error),
}

/// Clock for the checks of the server's certificate, the same as for everything else.
#[derive(Debug)]
struct ClockTime(Arc<dyn Clock>);

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().as_second()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Client certificate with the chain that is sent along, and its key.
pub(crate) type CertificateAndKey<'a> = (&'a [CertificateDer<'static>], &'a PrivateKeyDer<'static>);

/// Returns the TLS configuration that all connections of a run share. It trusts servers whose
/// certificate is signed by `authorities`, and presents the client certificate `own`.
pub(crate) fn tls_config(
    authorities: &[CertificateDer<'static>],
    own: Option<CertificateAndKey<'_>>,
    clock: Arc<dyn Clock>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let (_, refused) = roots.add_parsable_certificates(authorities.iter().cloned());
    if roots.is_empty() {
        let told = format!("none of {refused} can be trusted");
        return Err(TlsError::Authorities(told.into()));
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| TlsError::Authorities(error.into()))?;
    let builder = ClientConfig::builder_with_details(provider, Arc::new(ClockTime(clock)))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Pair)?
        .with_webpki_verifier(verifier);
    let mut config = match own {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.to_vec(), key.clone_key())
            .map_err(TlsError::Pair)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Returns a channel to `endpoint` that connects on first use and reconnects when broken. It uses the
/// proxy `own`, or else the one that `proxies` selects for the endpoint.
pub(crate) fn channel(
    endpoint: &Endpoint,
    tls: Arc<ClientConfig>,
    connect_timeout: Duration,
    own: Option<&Proxy>,
    proxies: &Proxies,
) -> Result<Channel, BoxError> {
    let proxy = match own {
        Some(own) => Some(own.clone()),
        None => proxies.of(&format!("https://{endpoint}").parse()?)?,
    };
    let name = ServerName::try_from(endpoint.host().to_owned())?;
    // The transport dials without TLS and our connector adds it; requests still say https.
    let dialled = HttpEndpoint::from_shared(format!("http://{endpoint}"))?
        .origin(format!("https://{endpoint}").parse()?)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(MAX_FRAME);
    let mut tcp = HttpConnector::new();
    tcp.set_nodelay(true);
    tcp.set_keepalive(Some(TCP_KEEPALIVE));
    tcp.set_connect_timeout(Some(connect_timeout));
    Ok(dialled.connect_with_connector_lazy(Connector {
        dialer: Dialer::new(tcp, proxy),
        tls: TlsConnector::from(tls),
        name,
        timeout: connect_timeout,
    }))
}

/// Connector that opens TCP, then TLS.
#[derive(Clone)]
struct Connector {
    dialer: Dialer,
    tls: TlsConnector,
    name: ServerName<'static>,
    timeout: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TokioIo<ProxyStream>>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.dialer.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.dialer.call(uri);
        let (tls, name, timeout) = (self.tls.clone(), self.name.clone(), self.timeout);
        Box::pin(async move {
            // In addition to the timeout of TCP, since a proxy may accept and then stay silent.
            let stream = tokio::time::timeout(timeout, connecting)
                .await
                .map_err(|_| format!("no connection within {} s", timeout.as_secs()))??;
            let stream = tokio::time::timeout(timeout, tls.connect(name, TokioIo::new(stream)))
                .await
                .map_err(|_| format!("no TLS handshake within {} s", timeout.as_secs()))??;
            Ok(TokioIo::new(stream))
        })
    }
}
