//! Ground that the tests share: an etcd with auth on, its root user, and two tenants.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use backup_core::clock::SystemClock;
use cluster_client::etcd::{EtcdClientCertificate, EtcdOptions, EtcdSource, EtcdTls};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::pki::{Authority, Identity};

/// Schemas of the tenants: prefix, role and user of each.
pub(crate) const SCHEMAS: [&str; 2] = ["one_cp", "two_cp"];
/// Number of keys of the first tenant.
pub(crate) const KEYS: usize = 40;

/// Shared ground; see the module. Fields drop in order: the folder last.
pub(crate) struct Ground {
    pub(crate) etcd: Etcd,
    pub(crate) folder: Folder,
}

impl Ground {
    pub(crate) async fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let etcd = Etcd::start(&folder, "datastore").await?;
        let client = etcd.client().await?;
        for schema in SCHEMAS {
            client
                .add_tenant(schema, schema, &format!("/{schema}/"))
                .await?;
        }
        for number in 0..KEYS {
            let key = format!("/{}/registry/configmaps/default/{number}", SCHEMAS[0]);
            client.put(&key, "value").await?;
        }
        client.put("/left_over/registry/x", "value").await?;
        client.put("compact_rev_key", "7").await?;
        client.enable_auth().await?;
        Ok(Self { etcd, folder })
    }

    pub(crate) fn authority(&self) -> Result<&Authority> {
        self.etcd.authority().context("etcd has no authority")
    }

    /// Returns the connection options with a client certificate for this user.
    pub(crate) fn options(&self, user: &str) -> Result<EtcdOptions> {
        let authority = self.authority()?;
        Ok(options(
            &self.etcd,
            authority.pem(),
            Some(authority.client(user, None)?),
        ))
    }
}

/// Returns the connection options for `etcd`, with short time limits.
pub(crate) fn options(etcd: &Etcd, authority: &str, client: Option<Identity>) -> EtcdOptions {
    let endpoint = etcd.endpoint().replace("https://", "");
    let client = client.map(|identity| EtcdClientCertificate {
        certificate: identity.certificate,
        key: identity.key.into(),
    });
    let tls = EtcdTls {
        authority: authority.to_owned(),
        client,
    };
    EtcdOptions {
        call_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        ..EtcdOptions::new("DataStore `default`".to_owned(), vec![endpoint], tls)
    }
}

pub(crate) fn source(options: EtcdOptions) -> EtcdSource {
    EtcdSource::new(options, Arc::new(SystemClock))
}
