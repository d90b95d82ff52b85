//! Options of an S3 store: location, credentials, and limits on requests and retries.

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use secrecy::{ExposeSecret, SecretString};

use crate::proxy::Proxies;

/// Requests in flight. Each holds an object of at most 16 MiB, so this bounds memory at 128 MiB for any
/// number of callers, and eight streams saturate the usual connections of backups.
const LIMIT: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Tries per request. Their pauses are random, at most 5 s and 2.5 s on average, so fifty last about two
/// minutes: longer than a store takes to restart or to stop answering `SlowDown`, and short enough that the
/// next scheduled run is not missed.
const TRIES: u32 = 50;

/// Location of an S3 store, and the way to use it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// Prefix of keys, without slashes at its ends; "" for the whole bucket.
    pub prefix: String,
    /// The server's URL; `None` for AWS.
    pub endpoint: Option<String>,
    /// The region; `None` for the region of the credentials chain, else `us-east-1`.
    pub region: Option<String>,
    /// Whether the bucket goes into the path instead of the host name.
    pub path_style: bool,
    /// Certificates in PEM to trust for the endpoint instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// Source of the credentials.
    pub credentials: Credentials,
    /// Largest number of concurrent requests.
    pub limit: NonZeroUsize,
    /// Largest number of tries per request, 1 for no retries.
    pub tries: u32,
    /// Proxies for connections to the store and to the source of credentials.
    pub proxies: Proxies,
}

impl S3Options {
    /// Returns options for the whole of `bucket` on AWS, with credentials from the usual chain.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: String::new(),
            endpoint: None,
            region: None,
            path_style: false,
            ca: None,
            credentials: Credentials::Chain,
            limit: LIMIT,
            tries: TRIES,
            proxies: Proxies::default(),
        }
    }
}

/// Source of credentials. It is queried again when the store refuses the credentials.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The chain that all AWS tools use: variables, profile files, web identity, container and
    /// machine roles.
    #[default]
    Chain,
    /// A given source. It is queried again after a refusal, so it should read its file each time.
    Given(Arc<dyn AccessKeySource>),
}

/// Access key and its secret.
#[derive(Clone)]
pub struct AccessKey {
    /// Id of the key; not a secret.
    pub id: String,
    /// Secret that signs requests.
    pub secret: SecretString,
    /// Token of keys with a limited lifetime.
    pub session_token: Option<SecretString>,
}

/// Source of an access key.
pub trait AccessKeySource: Send + Sync {
    /// Returns the access key to use from now on.
    ///
    /// # Errors
    /// Any cause; its text must not contain secrets.
    fn access_key(&self) -> Result<AccessKey, Box<dyn Error + Send + Sync>>;
}

impl AccessKeySource for AccessKey {
    fn access_key(&self) -> Result<AccessKey, Box<dyn Error + Send + Sync>> {
        Ok(self.clone())
    }
}

impl Credentials {
    /// Returns credentials that are always this access key.
    #[must_use]
    pub fn fixed(id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::Given(Arc::new(AccessKey {
            id: id.into(),
            secret: secret.into(),
            session_token: None,
        }))
    }

    /// Returns the SDK's form of a given source; `None` for the chain.
    pub(super) fn provider(&self) -> Option<SharedCredentialsProvider> {
        match self {
            Self::Chain => None,
            Self::Given(give) => Some(SharedCredentialsProvider::new(AccessKeyProvider(
                Arc::clone(give),
            ))),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chain => "Chain",
            Self::Given(_) => "Given(…)",
        })
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Adapter that passes a given source to the SDK.
struct AccessKeyProvider(Arc<dyn AccessKeySource>);

impl fmt::Debug for AccessKeyProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceProvider(…)")
    }
}

impl ProvideCredentials for AccessKeyProvider {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let given = self.0.access_key().map(|key| {
            aws_credential_types::Credentials::new(
                key.id,
                key.secret.expose_secret(),
                key.session_token
                    .map(|token| token.expose_secret().to_owned()),
                None,
                "given",
            )
        });
        future::ProvideCredentials::ready(given.map_err(CredentialsError::provider_error))
    }
}
