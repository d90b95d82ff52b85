//! Options with which the project's client reads an etcd as a DataStore.

use std::time::Duration;

use anyhow::{Context, Result};
use cluster_client::etcd::{EtcdClientCertificate, EtcdOptions, EtcdTls};

use super::Etcd;
use crate::pki::Identity;

/// Time limit, short enough for tests of servers that do not answer.
const LIMIT: Duration = Duration::from_secs(5);

impl Etcd {
    /// Returns the options with a client certificate for this user.
    ///
    /// # Errors
    /// It has no TLS.
    pub fn options(&self, user: &str) -> Result<EtcdOptions> {
        let authority = self.authority().context("etcd has no authority")?;
        Ok(self.options_with(authority.pem(), Some(authority.client(user, None)?)))
    }

    /// Returns the options for a client that trusts `authority` and shows `client`.
    #[must_use]
    pub fn options_with(&self, authority: &str, client: Option<Identity>) -> EtcdOptions {
        let endpoint = self.endpoint().replace("https://", "");
        let client = client.map(|identity| EtcdClientCertificate {
            certificate: identity.certificate,
            key: identity.key.into(),
        });
        let tls = EtcdTls {
            authority: authority.to_owned(),
            client,
        };
        EtcdOptions {
            call_timeout: LIMIT,
            idle_timeout: LIMIT,
            ..EtcdOptions::new("DataStore `default`".to_owned(), vec![endpoint], tls)
        }
    }
}
