//! Client of etcd's own API, as far as the lab needs it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::rpc;
use super::rpc::auth_client::AuthClient;
use super::rpc::cluster_client::ClusterClient;
use super::rpc::kv_client::KvClient;
use super::rpc::lease_client::LeaseClient;
use super::rpc::maintenance_client::MaintenanceClient;
use crate::pki::Files;

/// Largest number of operations of one transaction, etcd's default.
pub const MAX_TXN_OPS: usize = 128;

/// Largest message: above etcd's own bound of 1.5 MiB on a request, and enough for a page of a thousand keys.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Time limit for a request. A defragmentation or a compaction of a big file takes long; nothing takes longer
/// than this.
const DEADLINE: Duration = Duration::from_secs(300);

/// Connection to one member.
#[derive(Debug, Clone)]
pub struct EtcdClient {
    channel: Channel,
}

impl EtcdClient {
    /// Connects to `endpoint` (`https://127.0.0.1:2379`), with TLS where `files` are given.
    ///
    /// # Errors
    /// A file cannot be read, or nobody answers.
    pub async fn connect(endpoint: &str, files: Option<&Files>) -> Result<Self> {
        let mut builder = Endpoint::from_shared(endpoint.to_owned())
            .with_context(|| format!("{endpoint} is no endpoint"))?
            .timeout(DEADLINE)
            .connect_timeout(Duration::from_secs(5));
        if let Some(files) = files {
            let read = |path: &Path| {
                std::fs::read(path).with_context(|| format!("reading {}", path.display()))
            };
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(read(&files.ca)?))
                .identity(Identity::from_pem(
                    read(&files.certificate)?,
                    read(&files.key)?,
                ))
                .domain_name("localhost");
            builder = builder.tls_config(tls).context("setting up TLS to etcd")?;
        }
        let channel = builder
            .connect()
            .await
            .with_context(|| format!("connecting to etcd at {endpoint}"))?;
        Ok(Self { channel })
    }

    /// Returns the client for keys and values.
    #[must_use]
    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Returns the client for leases.
    #[must_use]
    pub fn leases(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel.clone())
    }

    /// Returns the client for members.
    #[must_use]
    pub fn cluster(&self) -> ClusterClient<Channel> {
        ClusterClient::new(self.channel.clone())
    }

    /// Returns the client for users and roles.
    #[must_use]
    pub fn auth(&self) -> AuthClient<Channel> {
        AuthClient::new(self.channel.clone())
    }

    /// Returns the client for the database as a whole.
    #[must_use]
    pub fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// Writes one key, and returns the revision.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<i64> {
        self.txn(vec![put(key, value.into(), 0)])
            .await
            .with_context(|| format!("writing {key}"))
    }

    /// Reads one key, and returns its value.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let request = rpc::RangeRequest {
            key: key.into(),
            ..Default::default()
        };
        let reply = self
            .kv()
            .range(request)
            .await
            .with_context(|| format!("reading {key}"))?;
        Ok(reply.into_inner().kvs.into_iter().next().map(|kv| kv.value))
    }

    /// Counts the keys that start with `prefix`.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn count(&self, prefix: &str) -> Result<i64> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        let request = rpc::RangeRequest {
            key: prefix.into(),
            range_end: end,
            count_only: true,
            ..Default::default()
        };
        let reply = self
            .kv()
            .range(request)
            .await
            .with_context(|| format!("counting {prefix}"))?;
        Ok(reply.into_inner().count)
    }

    /// Removes every key that starts with `prefix`, and returns their number.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn remove(&self, prefix: &str) -> Result<i64> {
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last = last.saturating_add(1);
        }
        let request = rpc::DeleteRangeRequest {
            key: prefix.into(),
            range_end: end,
        };
        let reply = self.kv().delete_range(request).await;
        let reply = reply.with_context(|| format!("removing {prefix}"))?;
        Ok(reply.into_inner().deleted)
    }

    /// Does up to [`MAX_TXN_OPS`] operations on different keys at once, and returns the revision.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn txn(&self, operations: Vec<rpc::RequestOp>) -> Result<i64> {
        let count = operations.len();
        let request = rpc::TxnRequest {
            success: operations,
        };
        let reply = self
            .kv()
            .txn(request)
            .await
            .with_context(|| format!("a transaction of {count} operations"))?;
        Ok(reply
            .into_inner()
            .header
            .map_or(0, |header| header.revision))
    }

    /// Drops everything older than `revision` and waits until it is removed from the file.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn compact(&self, revision: i64) -> Result<()> {
        let request = rpc::CompactionRequest {
            revision,
            physical: true,
        };
        self.kv()
            .compact(request)
            .await
            .with_context(|| format!("compacting to revision {revision}"))?;
        Ok(())
    }

    /// Rewrites this member's file without its free pages.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn defragment(&self) -> Result<()> {
        let request = rpc::DefragmentRequest {};
        self.maintenance()
            .defragment(request)
            .await
            .context("defragmenting")?;
        Ok(())
    }

    /// Reads the member's own status.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn status(&self) -> Result<rpc::StatusResponse> {
        let reply = self.maintenance().status(rpc::StatusRequest {}).await;
        Ok(reply.context("asking etcd for its status")?.into_inner())
    }

    /// Returns etcd's digest over all keys up to its present revision, with that revision.
    ///
    /// # Errors
    /// etcd refused.
    pub async fn hash_kv(&self) -> Result<(u32, i64)> {
        let reply = self
            .maintenance()
            .hash_kv(rpc::HashKvRequest { revision: 0 })
            .await;
        let reply = reply.context("asking etcd for its hash")?.into_inner();
        Ok((reply.hash, reply.header.map_or(0, |header| header.revision)))
    }

    /// Streams a snapshot into the new file `path`, and returns its length, as `etcdctl snapshot save` does.
    ///
    /// # Errors
    /// etcd refused, the stream broke, or the file cannot be written.
    pub async fn snapshot(&self, path: &Path) -> Result<u64> {
        let mut file = tokio::fs::File::create(path)
            .await
            .with_context(|| format!("making {}", path.display()))?;
        let reply = self.maintenance().snapshot(rpc::SnapshotRequest {}).await;
        let mut stream = reply.context("asking etcd for a snapshot")?.into_inner();
        let mut length: u64 = 0;
        while let Some(part) = stream.message().await.context("receiving a snapshot")? {
            length += u64::try_from(part.blob.len()).context("the length of a part")?;
            file.write_all(&part.blob)
                .await
                .with_context(|| format!("writing {}", path.display()))?;
        }
        file.flush()
            .await
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(length)
    }
}

/// Makes a put as a part of a transaction; lease 0 means no lease.
#[must_use]
pub fn put(key: &str, value: Vec<u8>, lease: i64) -> rpc::RequestOp {
    let request = rpc::PutRequest {
        key: key.into(),
        value,
        lease,
    };
    rpc::RequestOp {
        request: Some(rpc::request_op::Request::RequestPut(request)),
    }
}

/// Makes a delete of one key as a part of a transaction.
#[must_use]
pub fn delete(key: &str) -> rpc::RequestOp {
    let request = rpc::DeleteRangeRequest {
        key: key.into(),
        range_end: Vec::new(),
    };
    rpc::RequestOp {
        request: Some(rpc::request_op::Request::RequestDeleteRange(request)),
    }
}
