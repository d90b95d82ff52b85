//! Small HTTPS client for the components' own pages, such as `/readyz`.

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::pki::Identity;

/// Largest answer; a larger one is not one that the lab requested.
const MAX_BODY: usize = 64 * 1024 * 1024;

/// Client that trusts one authority.
#[derive(Debug, Clone)]
pub struct HttpClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl HttpClient {
    /// Makes a client that trusts the authority `ca` (PEM) alone and shows `identity`, if any.
    ///
    /// # Errors
    /// A certificate or key cannot be read.
    pub fn new(ca: &str, identity: Option<&Identity>) -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.as_bytes()).context("reading the authority")?)
            .context("trusting the authority")?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choosing TLS versions")?
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())
                    .context("reading the client certificate")?;
                let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
                    .context("reading the client key")?;
                builder
                    .with_client_auth_cert(vec![certificate], key)
                    .context("showing the client certificate")?
            }
        };
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// Requests `url`, with a bearer token if one is given.
    ///
    /// # Errors
    /// Nobody answered; an answer with an error status is an `Ok`.
    pub async fn get(&self, url: &str, token: Option<&str>) -> Result<(StatusCode, Bytes)> {
        self.send(Method::GET, url, token, None).await
    }

    /// Sends a request, with a JSON body if one is given.
    ///
    /// # Errors
    /// As [`HttpClient::get`].
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        token: Option<&str>,
        json: Option<&serde_json::Value>,
    ) -> Result<(StatusCode, Bytes)> {
        let mut request = Request::builder().method(&method).uri(url);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match json {
            Some(json) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Full::from(serde_json::to_vec(json).context("writing a JSON body")?)
            }
            None => Full::default(),
        };
        let request = request
            .body(body)
            .with_context(|| format!("{url} is no address"))?;
        let reply = self
            .client
            .request(request)
            .await
            .with_context(|| format!("{method} {url}"))?;
        let status = reply.status();
        let body = Limited::new(reply.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!(error))
            .with_context(|| format!("reading the answer to {method} {url}"))?
            .to_bytes();
        Ok((status, body))
    }
}
