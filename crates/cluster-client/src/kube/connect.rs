//! Connection to a cluster's API.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use secrecy::ExposeSecret as _;
use tower::ServiceBuilder;

use super::failure::KubeError;
use super::kubeconfig::{anchors, compact};
use crate::BoxError;
use crate::pem::{certificates, unusable_key};
use backup_core::proxy::{Dialer, Proxies, Proxy};

/// Placeholder where a kubeconfig names a proxy, or could.
const UNUSED_PROXY: &str = "http://proxy.invalid";

/// Settings that locate a cluster's API, and time limits.
#[derive(Debug, Clone)]
pub struct KubeOptions {
    /// Path of the kubeconfig; `None` for the service account of the pod.
    pub kubeconfig: Option<PathBuf>,
    /// Context to use; `None` for the current context of the file.
    pub context: Option<String>,
    /// Time limit for a connection to come up.
    pub connect_timeout: Duration,
    /// Time limit for one request, its answer included. The API server gives a conversion webhook that
    /// hangs 30 s.
    pub request_timeout: Duration,
    /// Time for which a request is retried: an API server that restarts is back by then.
    pub retry_for: Duration,
    /// Proxies for servers, used when the kubeconfig names none.
    pub proxies: Proxies,
}

impl KubeOptions {
    /// Creates options with the default time limits.
    #[must_use]
    pub fn new(kubeconfig: Option<PathBuf>, context: Option<String>) -> Self {
        Self {
            kubeconfig,
            context,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(45),
            retry_for: Duration::from_secs(60),
            proxies: Proxies::default(),
        }
    }

    /// Sets the time limit for one request; a restarting API server is waited for a third longer.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self {
            connect_timeout: self.connect_timeout.min(timeout),
            request_timeout: timeout,
            retry_for: timeout.saturating_add(timeout / 3),
            ..self
        }
    }

    /// Returns the server's address from the kubeconfig; `None` for the service account of the pod. Reads
    /// only that file, not the files that it names, and calls no server.
    ///
    /// # Errors
    /// When the file cannot be read, or has no such context or cluster.
    pub fn server(&self) -> Result<Option<String>, KubeError> {
        let Some(path) = &self.kubeconfig else {
            return Ok(None);
        };
        let what = format!("the kubeconfig {}", path.display());
        let read = Kubeconfig::read_from(path).map_err(|e| unusable(&what, e))?;
        let lacks = |text: String| unusable(&what, std::io::Error::other(text));
        let name = self.context.as_ref().or(read.current_context.as_ref());
        let name = name.ok_or_else(|| lacks("it has no current context".to_owned()))?;
        let context = read.contexts.iter().find(|c| c.name == *name);
        let context = context.and_then(|c| c.context.as_ref());
        let context = context.ok_or_else(|| lacks(format!("it has no context `{name}`")))?;
        let cluster = read.clusters.iter().find(|c| c.name == context.cluster);
        let server = cluster.and_then(|c| c.cluster.as_ref()?.server.clone());
        let none = || lacks(format!("cluster `{}` has no server", context.cluster));
        server.ok_or_else(none).map(Some)
    }

    /// Returns a client and the server's address; sends no request yet.
    pub(super) async fn connect(&self) -> Result<(Client, String), KubeError> {
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let (what, config, proxy) = match &self.kubeconfig {
            Some(path) => {
                let what = format!("the kubeconfig {}", path.display());
                // Read here, so that the next run finds renewed certificates.
                let mut read = Kubeconfig::read_from(path).map_err(|e| unusable(&what, e))?;
                tidy(&mut read);
                let own = self.take_proxy_url(&mut read);
                let config = Config::from_custom_kubeconfig(read, &options).await;
                let config = config.map_err(|e| unusable(&what, e))?;
                if let Some(problem) = odd_key(&config) {
                    return Err(unusable(&what, std::io::Error::other(problem)));
                }
                let proxy = match own {
                    // It applies to this server whatever NO_PROXY says, as in kubectl.
                    Some(own) => Proxy::read("proxy-url", &own).map(Some),
                    None => self.proxies.of(&config.cluster_url),
                };
                let proxy = proxy.map_err(|e| unusable(&what, e))?;
                (what, config, proxy)
            }
            None => {
                let what = "the service account of the pod".to_owned();
                let config = Config::incluster().map_err(|e| unusable(&what, e))?;
                // The address is a Service of the pod's own cluster, which no outside proxy can reach.
                (what, config, None)
            }
        };
        let mut config = config;
        config.root_cert = config.root_cert.map(anchors);
        config.connect_timeout = Some(self.connect_timeout);
        // A request has one total time limit, and is retried in one place.
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        let server = config.cluster_url.to_string();
        let server = server.trim_end_matches('/').to_owned();
        let client = client(config, proxy).map_err(|e| KubeError::Config { what, source: e })?;
        Ok((client, server))
    }

    /// Takes out the proxy that the kubeconfig names for its server. Puts an unused one in its place:
    /// without any, the loader would read environment variables by its own rules.
    fn take_proxy_url(&self, read: &mut Kubeconfig) -> Option<String> {
        let name = self.context.as_ref().or(read.current_context.as_ref());
        let context = read.contexts.iter().find(|c| Some(&c.name) == name);
        let cluster = context.and_then(|c| Some(c.context.as_ref()?.cluster.clone()));
        let mut own = None;
        for named in &mut read.clusters {
            let Some(held) = &mut named.cluster else {
                continue;
            };
            let written = held.proxy_url.replace(UNUSED_PROXY.to_owned());
            if cluster.as_ref() == Some(&named.name) {
                own = written.filter(|url| !url.trim().is_empty());
            }
        }
        own
    }
}

/// Removes spaces and line ends around values, which no header or address may contain.
fn tidy(read: &mut Kubeconfig) {
    let trim = |text: &mut Option<String>| {
        if let Some(text) = text {
            *text = text.trim().to_owned();
        }
    };
    let squeeze = |text: &mut Option<String>| {
        if let Some(text) = text {
            *text = compact(text);
        }
    };
    for cluster in read.clusters.iter_mut().filter_map(|c| c.cluster.as_mut()) {
        trim(&mut cluster.server);
        trim(&mut cluster.tls_server_name);
        squeeze(&mut cluster.certificate_authority_data);
    }
    for user in read
        .auth_infos
        .iter_mut()
        .filter_map(|u| u.auth_info.as_mut())
    {
        squeeze(&mut user.client_certificate_data);
        if let Some(token) = &mut user.token {
            *token = token.expose_secret().trim().into();
        } else if let Some(file) = &user.token_file
            && let Ok(text) = std::fs::read_to_string(file)
            && text.trim() != text
        {
            // The client uses the file's text as it is, and no header may contain a line end.
            // The file of a token that a cluster renews has none.
            user.token = Some(text.trim().into());
        }
        if let Some(key) = &mut user.client_key_data {
            *key = compact(key.expose_secret()).into();
        }
    }
}

/// Returns the problem of a client certificate whose key TLS cannot use here.
fn odd_key(config: &Config) -> Option<String> {
    let user = &config.auth_info;
    let pem = match (&user.client_certificate_data, &user.client_certificate) {
        (Some(data), _) => STANDARD.decode(data).ok()?,
        (None, Some(file)) => std::fs::read(file).ok()?,
        (None, None) => return None,
    };
    let chain = certificates(std::str::from_utf8(&pem).ok()?).ok()?;
    let problem = unusable_key(chain.first()?)?;
    Some(format!("its client certificate {problem}"))
}

/// Creates a client of the server that `config` names, through `proxy`.
pub(super) fn client(mut config: Config, proxy: Option<Proxy>) -> Result<Client, BoxError> {
    config.proxy_url = None;
    let Some(proxy) = proxy else {
        return Ok(Client::try_from(config)?);
    };
    let dialer = Dialer::new(HttpConnector::new(), Some(proxy));
    let tls = config.rustls_https_connector_with_connector(dialer)?;
    let mut limited = TimeoutConnector::new(tls);
    limited.set_connect_timeout(config.connect_timeout);
    let http: hyper_util::client::legacy::Client<_, Body> =
        hyper_util::client::legacy::Builder::new(TokioExecutor::new()).build(limited);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

fn unusable(what: &str, source: impl std::error::Error + Send + Sync + 'static) -> KubeError {
    KubeError::Config {
        what: what.to_owned(),
        source: Box::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_have_at_the_ends_of_values_is_taken_off() {
        let folder = tempfile::TempDir::new().unwrap();
        let token = folder.path().join("token");
        std::fs::write(&token, "from-file\n").unwrap();
        let text = format!(
            "clusters:\n- name: c\n  cluster:\n    server: 'https://192.0.2.1 '\n    \
             certificate-authority-data: |\n      QUJD\n      REVG\nusers:\n- name: u\n  user:\n    \
             token: |\n      inline\n    client-certificate-data: |\n      QUJD\n- name: f\n  user:\n    \
             tokenFile: {}\n",
            token.display()
        );
        let mut read = Kubeconfig::from_yaml(&text).unwrap();
        tidy(&mut read);
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://192.0.2.1"));
        let authority = cluster.certificate_authority_data.as_deref();
        assert_eq!(authority, Some("QUJDREVG"));
        let user = |at: usize| read.auth_infos[at].auth_info.as_ref().unwrap();
        let told = |at| user(at).token.as_ref().unwrap().expose_secret().to_owned();
        assert_eq!(
            (told(0).as_str(), told(1).as_str()),
            ("inline", "from-file")
        );
        assert_eq!(user(0).client_certificate_data.as_deref(), Some("QUJD"));
    }

    #[tokio::test]
    async fn a_key_on_p_521_is_told() {
        let certificate = STANDARD.encode(include_str!("../pem/p521.crt"));
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = format!(
            "current-context: c\nclusters:\n- name: c\n  cluster: {{ server: 'https://192.0.2.1' }}\n\
             users:\n- name: u\n  user: {{ client-certificate-data: {certificate}, \
             client-key-data: QUJD }}\ncontexts:\n- name: c\n  context: {{ cluster: c, user: u }}\n"
        );
        std::fs::write(&path, text).unwrap();
        let error = KubeOptions::new(Some(path), None).connect().await;
        let error = error.err().unwrap();
        assert!(
            backup_core::causes::line(&error).contains("P-521"),
            "{error:?}"
        );
    }
}
