//! What an S3 store is told: where, as whom, and how patient to be.

use std::error::Error;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use secrecy::{ExposeSecret, SecretString};

use crate::proxy::Proxies;

/// Requests in flight. Each holds an object of at most 16 MiB, so this bounds memory at 128 MiB
/// however many callers there are, and eight streams fill the lines that backups go over.
const LIMIT: NonZeroUsize = NonZeroUsize::new(8).unwrap();

/// Tries per request. Their pauses are random, at most 5 s and 2.5 s on average, so fifty last
/// about two minutes: longer than a store takes to restart or to stop saying `SlowDown`, and
/// short enough that the next scheduled run is not missed.
const TRIES: u32 = 50;

/// Where an S3 store is, and how to use it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket.
    pub bucket: String,
    /// What keys begin with, without slashes at its ends; "" for the whole bucket.
    pub prefix: String,
    /// The server's URL; `None` for AWS.
    pub endpoint: Option<String>,
    /// The region; `None` for the one that the chain of credentials names, else `us-east-1`.
    pub region: Option<String>,
    /// The bucket goes into the path and not into the host name.
    pub path_style: bool,
    /// Certificates in PEM to trust for the endpoint in place of the system's.
    pub ca: Option<Vec<u8>>,
    /// As whom.
    pub credentials: Credentials,
    /// The most requests at once.
    pub limit: NonZeroUsize,
    /// The most tries per request, 1 for no retries.
    pub tries: u32,
    /// The proxies that lead to the store, and to what gives credentials.
    pub proxies: Proxies,
}

impl S3Options {
    /// The whole of `bucket` on AWS, with credentials from the usual chain.
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

/// Where the credentials come from. They are asked for anew when the store refuses them.
#[derive(Clone, Default)]
pub enum Credentials {
    /// The chain that all AWS tools use: variables, profile files, web identity, container and
    /// machine roles.
    #[default]
    Chain,
    /// Whatever this gives when asked; asked again after a refusal, so it should read its file
    /// each time.
    Given(Arc<dyn GiveAccessKey>),
}

/// An access key and its secret.
#[derive(Clone)]
pub struct AccessKey {
    /// The key's id; no secret.
    pub id: String,
    /// The secret that signs requests.
    pub secret: SecretString,
    /// The token that comes with keys for a limited time.
    pub session_token: Option<SecretString>,
}

/// Gives an access key when asked.
pub trait GiveAccessKey: Send + Sync {
    /// The access key to use from now on.
    ///
    /// # Errors
    /// Whatever hinders; it must tell no secret.
    fn access_key(&self) -> Result<AccessKey, Box<dyn Error + Send + Sync>>;
}

impl GiveAccessKey for AccessKey {
    fn access_key(&self) -> Result<AccessKey, Box<dyn Error + Send + Sync>> {
        Ok(self.clone())
    }
}

impl Credentials {
    /// Always this access key.
    #[must_use]
    pub fn fixed(id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        Self::Given(Arc::new(AccessKey {
            id: id.into(),
            secret: secret.into(),
            session_token: None,
        }))
    }

    /// The SDK's form of what is given; `None` for the chain.
    pub(super) fn provider(&self) -> Option<SharedCredentialsProvider> {
        match self {
            Self::Chain => None,
            Self::Given(give) => Some(SharedCredentialsProvider::new(Given(Arc::clone(give)))),
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

/// Hands what is given to the SDK.
struct Given(Arc<dyn GiveAccessKey>);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given(…)")
    }
}

impl ProvideCredentials for Given {
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
