//! Connector that opens connections to one server, through a proxy or directly.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use super::{Proxy, port};
use crate::causes::BoxError;

/// Connection to the server. At this stage only the connection to a proxy may use TLS.
pub type ProxyStream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// Error for a connection that failed through the proxy.
#[derive(Debug, thiserror::Error)]
#[error("no connection to {server} through the proxy {proxy}")]
struct ProxyConnectError {
    server: String,
    proxy: String,
    source: BoxError,
}

/// Connector for servers that are all reached in the same way.
#[derive(Debug, Clone)]
pub struct Dialer {
    tcp: HttpConnector,
    proxy: Option<Proxy>,
}

impl Dialer {
    /// Creates a dialer that connects over `tcp`.
    pub fn new(mut tcp: HttpConnector, proxy: Option<Proxy>) -> Self {
        tcp.enforce_http(false);
        Self { tcp, proxy }
    }
}

impl Service<Uri> for Dialer {
    type Response = ProxyStream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<ProxyStream, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.clone() else {
            let dialled = self.tcp.call(server);
            return Box::pin(async move { Ok(MaybeHttpsStream::Http(dialled.await?)) });
        };
        // The clone may not be ready, so the connector that reported readiness is used.
        let other = self.tcp.clone();
        let tcp = std::mem::replace(&mut self.tcp, other);
        Box::pin(async move {
            let dialled = match with_port(&server) {
                Ok(server) => through(&proxy, tcp, server).await,
                Err(error) => Err(error),
            };
            dialled.map_err(|source| {
                let server = server.authority().map_or("", |a| a.as_str()).to_owned();
                let proxy = proxy.to_string();
                let failed = ProxyConnectError {
                    server,
                    proxy,
                    source,
                };
                failed.into()
            })
        })
    }
}

async fn through(proxy: &Proxy, tcp: HttpConnector, server: Uri) -> Result<ProxyStream, BoxError> {
    match proxy.uri.scheme_str() {
        Some("https") => {
            let provider = rustls::crypto::ring::default_provider();
            let tls = HttpsConnectorBuilder::new()
                .with_provider_and_native_roots(provider)?
                .https_only()
                .enable_http1()
                .wrap_connector(tcp);
            let mut tunnel = Tunnel::new(proxy.uri.clone(), tls);
            if let Some(basic) = &proxy.basic {
                tunnel = tunnel.with_auth(basic.clone());
            }
            Ok(tunnel.call(server).await?)
        }
        Some("http") => {
            let mut tunnel = Tunnel::new(proxy.uri.clone(), tcp);
            if let Some(basic) = &proxy.basic {
                tunnel = tunnel.with_auth(basic.clone());
            }
            Ok(MaybeHttpsStream::Http(tunnel.call(server).await?))
        }
        _ => {
            // The proxy resolves host names, as in Go for both schemes.
            let mut socks = SocksV5::new(socks_address(&proxy.uri)?, tcp);
            if let Some((user, password)) = &proxy.login {
                socks = socks.with_auth(user.clone(), password.clone());
            }
            Ok(MaybeHttpsStream::Http(socks.call(server).await?))
        }
    }
}

/// Returns the address with an explicit port: a tunnel uses 443 for an address without one.
fn with_port(server: &Uri) -> Result<Uri, BoxError> {
    let host = server.host().ok_or("the server's address has no host")?;
    let scheme = server.scheme_str().unwrap_or("https");
    Ok(format!("{scheme}://{host}:{}", port(server)).parse()?)
}

/// Returns the address of a SOCKS proxy, whose usual port is 1080.
fn socks_address(proxy: &Uri) -> Result<Uri, BoxError> {
    let host = proxy.host().ok_or("the proxy's address has no host")?;
    let port = proxy.port_u16().unwrap_or(1080);
    Ok(format!("http://{host}:{port}").parse()?)
}
