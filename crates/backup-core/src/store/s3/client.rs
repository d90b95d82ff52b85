//! Builder of the SDK's client, which rebuilds it when its credentials are refused.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition, TokenBucket};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Builder, IdentityCache, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
use http::Uri;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::S3Options;
use super::credentials::TrimmingProvider;
use super::repair::RepairingClient;
use super::tries::RetryClassifier;
use crate::proxy::Proxies;

/// Connect timeout. A packet that opens a connection is sent again after 1 s and 3 s; this allows both.
const CONNECT: Duration = Duration::from_secs(10);

/// Timeout of one try. A body is at most 16 MiB, which requires 190 kB/s on each of eight streams.
const TRY: Duration = Duration::from_secs(90);

/// Timeout of all tries of one request. Immediate refusals use up their tries in about two minutes; this ends
/// tries that hang.
pub(super) const REQUEST: Duration = Duration::from_secs(240);

/// Timeout for a body that does not move at all; well below the time limit of its try.
const STALL: Duration = Duration::from_secs(20);

/// Longest pause between two tries; each pause is a random part of it.
const PAUSE: Duration = Duration::from_secs(5);

/// Shortest time between two reloads of credentials, so that a store that refuses every request does not
/// flood the source of the credentials with requests.
const RELOAD: Duration = Duration::from_secs(10);

/// Address of AWS for proxy rules.
const AWS: &str = "https://s3.amazonaws.com";

/// Returns the SDK's defaults as of this date. Naming the date keeps an upgrade of the SDK from changing what
/// is sent, which has repeatedly broken stores other than AWS.
fn behavior() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Client of a store, with everything needed to rebuild it.
#[derive(Debug)]
pub(super) struct Clients {
    options: S3Options,
    /// Client for the store.
    http: SharedHttpClient,
    /// Client for the source of credentials, which may be AWS itself.
    chain: SharedHttpClient,
    current: Mutex<CurrentClient>,
}

#[derive(Debug)]
struct CurrentClient {
    client: Client,
    /// Increases with each reload, so that many refusals at once cause one reload.
    generation: u64,
    reloaded: Option<Instant>,
}

impl Clients {
    /// Builds the first client. The options' CA has been checked.
    pub(super) async fn new(options: S3Options) -> Result<Self, BoxError> {
        let ca = options.ca.as_deref();
        // The system's certificates are read only where they are used: a container may have none.
        let plain = options
            .endpoint
            .as_deref()
            .is_some_and(|endpoint| endpoint.starts_with("http://"));
        let server = options.endpoint.as_deref().unwrap_or(AWS).parse()?;
        let to_store = proxy(&options.proxies, &server)?;
        let to_aws = proxy(&options.proxies, &Uri::from_static(AWS))?;
        let http = http_client(ca, ca.is_none() && !plain, to_store);
        let chain = http_client(ca, true, to_aws);
        let (http, chain) = (http?, chain?);
        let client = build(&options, &http, &chain).await;
        Ok(Self {
            options,
            http,
            chain,
            current: Mutex::new(CurrentClient {
                client,
                generation: 0,
                reloaded: None,
            }),
        })
    }

    /// Returns the client and its generation.
    pub(super) async fn current(&self) -> (Client, u64) {
        let current = self.current.lock().await;
        (current.client.clone(), current.generation)
    }

    /// Returns a client with fresh credentials, after those of `generation` were refused; `None` if they were
    /// reloaded a moment ago.
    pub(super) async fn reload(&self, generation: u64) -> Option<Client> {
        let mut current = self.current.lock().await;
        if current.generation == generation {
            if current.reloaded.is_some_and(|at| at.elapsed() < RELOAD) {
                return None;
            }
            // The chain caches the files that it read, so it is rebuilt; querying it again is not enough.
            current.client = build(&self.options, &self.http, &self.chain).await;
            current.generation = generation.wrapping_add(1);
            current.reloaded = Some(Instant::now());
        }
        Some(current.client.clone())
    }
}

async fn build(options: &S3Options, http: &SharedHttpClient, chain: &SharedHttpClient) -> Client {
    let named = options.region.clone().map(Region::new);
    let fallback = Region::from_static("us-east-1");
    let mut config = match options.credentials.provider() {
        Some(given) => Builder::new()
            .behavior_version(behavior())
            .region(named.unwrap_or(fallback))
            .credentials_provider(given),
        None => {
            // Without a query to the machine's metadata service, which only costs time outside AWS.
            let region = RegionProviderChain::first_try(named)
                .or_else(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new())
                .or_else(fallback);
            let loaded = aws_config::defaults(behavior())
                .http_client(chain.clone())
                .region(region)
                .load()
                .await;
            let given = loaded.credentials_provider();
            let config = Builder::from(&loaded);
            match given {
                Some(inner) => config.credentials_provider(TrimmingProvider { inner }),
                None => config,
            }
        }
    };
    if let Some(endpoint) = &options.endpoint {
        config = config.endpoint_url(with_slash(endpoint));
    }
    let config = config
        .http_client(http.clone())
        .force_path_style(options.path_style)
        .identity_cache(IdentityCache::lazy().build())
        .retry_config(
            RetryConfig::standard()
                .with_max_attempts(options.tries)
                .with_initial_backoff(Duration::from_millis(500))
                .with_max_backoff(PAUSE),
        )
        // Eight concurrent requests use up the SDK's shared quota of retries within seconds. Tries, pauses
        // and concurrent requests are already limited here.
        .retry_partition(
            RetryPartition::custom("butler-backup")
                .token_bucket(TokenBucket::unlimited())
                .build(),
        )
        .retry_classifier(RetryClassifier)
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT)
                .operation_attempt_timeout(TRY)
                .operation_timeout(REQUEST)
                .build(),
        )
        .stalled_stream_protection(
            StalledStreamProtectionConfig::enabled()
                .grace_period(STALL)
                .build(),
        )
        // Only the checksum that we supply: others are sent as trailers of a chunked body, which many stores
        // refuse.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(config)
}

/// Returns the endpoint with a slash after its path, if it has one: the SDK appends the bucket directly.
fn with_slash(endpoint: &str) -> String {
    let has_path = url::Url::parse(endpoint).is_ok_and(|url| url.path() != "/");
    let slash = if has_path && !endpoint.ends_with('/') {
        "/"
    } else {
        ""
    };
    format!("{endpoint}{slash}")
}

/// Returns the proxy for `server` in the SDK's form.
fn proxy(proxies: &Proxies, server: &Uri) -> Result<ProxyConfig, BoxError> {
    Ok(match proxies.to_s3(server)? {
        Some((address, exempt)) if server.scheme_str() == Some("https") => {
            ProxyConfig::https(address)?.no_proxy(exempt)
        }
        Some((address, exempt)) => ProxyConfig::http(address)?.no_proxy(exempt),
        None => ProxyConfig::disabled(),
    })
}

/// Returns an HTTP client that trusts `ca`, and the system's certificates if `system`.
fn http_client(
    ca: Option<&[u8]>,
    system: bool,
    proxy: ProxyConfig,
) -> Result<SharedHttpClient, BoxError> {
    let mut trust = tls::TrustStore::empty().with_native_roots(system);
    if let Some(pem) = ca {
        trust.add_pem_certificate(pem);
    }
    let context = tls::TlsContext::builder().with_trust_store(trust).build()?;
    let client = aws_smithy_http_client::Builder::new().build_with_connector_fn(
        move |settings, components| {
            let mut builder = Connector::builder()
                .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                .tls_context(context.clone())
                .proxy_config(proxy.clone());
            builder.set_connector_settings(settings.cloned());
            if let Some(components) = components {
                builder.set_sleep_impl(components.sleep_impl());
            }
            builder.build()
        },
    );
    Ok(SharedHttpClient::new(RepairingClient(client)))
}
