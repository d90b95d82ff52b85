//! Etcd with auth on, its root user, and two tenants.

use std::sync::Arc;

use anyhow::Result;
use backup_core::clock::SystemClock;
use cluster_client::etcd::{EtcdOptions, EtcdSource};
use e2e::Folder;
use e2e::etcd::Etcd;

/// Schemas of the tenants: prefix, role and user of each.
pub(crate) const SCHEMAS: [&str; 2] = ["one_cp", "two_cp"];
/// Number of keys of the first tenant.
pub(crate) const KEYS: usize = 40;

/// Starts it; its files go to `folder`.
pub(crate) async fn with_tenants(folder: &Folder) -> Result<Etcd> {
    let etcd = Etcd::start(folder, "datastore").await?;
    let client = etcd.client().await?;
    for schema in SCHEMAS {
        let prefix = format!("/{schema}/");
        client.add_tenant(schema, schema, &prefix).await?;
    }
    for number in 0..KEYS {
        let key = format!("/{}/registry/configmaps/default/{number}", SCHEMAS[0]);
        client.put(&key, "value").await?;
    }
    client.put("/left_over/registry/x", "value").await?;
    client.put("compact_rev_key", "7").await?;
    client.enable_auth().await?;
    Ok(etcd)
}

pub(crate) fn source(options: EtcdOptions) -> EtcdSource {
    EtcdSource::new(options, Arc::new(SystemClock))
}
