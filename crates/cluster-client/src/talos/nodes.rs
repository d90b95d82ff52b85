//! Calls to a cluster's nodes that a restore needs: queries and commands.
//!
//! Every call names its node and has a deadline. Upload and bootstrap are two calls at one node; they
//! may use different endpoints, as long as `node` is the same.

mod error;
mod etcd;
mod upload;
mod views;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;

pub use self::error::{CallError, CallErrorKind};
pub use self::upload::{Upload, UploadError};
pub use self::views::{
    FolderView, MachineView, MemberStatusView, MemberView, ServiceView, TimeView,
};
use super::proto::cosi::resource::{GetRequest, TimeStatusSpec};
use super::proto::machine::{ListRequest, ServiceRestartRequest};
use super::session::{NodeTarget, TalosSession, in_band, only};
use super::{TalosOptions, machine_config};
use crate::at_rest;
use crate::grpc::status::printable;
use backup_core::clock::Clock;
use backup_core::digest::Digest;
use backup_core::source::SourceError;

/// Time limit for a bootstrap, which waits 5 s for the clock before it refuses, and stops etcd before
/// it answers.
const BOOTSTRAP_TIMEOUT: Duration = Duration::from_secs(40);

/// Nodes of one cluster, as a talosconfig names them.
pub struct TalosNodes {
    session: Arc<TalosSession>,
    options: TalosOptions,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for TalosNodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TalosNodes")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl TalosNodes {
    /// Reads the talosconfig, checks the certificate, and determines the nodes.
    ///
    /// # Errors
    /// When the talosconfig or its certificate cannot be used.
    pub async fn begin(options: TalosOptions, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let session = Arc::new(TalosSession::begin(&options, &clock).await?);
        Ok(Self {
            session,
            options,
            clock,
        })
    }

    /// Returns the nodes that can be named in a call, in the order of the configuration; empty if none of
    /// the addresses is known.
    #[must_use]
    pub fn nodes(&self) -> Vec<String> {
        let targets = self.session.targets().iter();
        targets.filter_map(|target| target.node.clone()).collect()
    }

    /// Returns all nodes in the talosconfig, regardless of those that the run uses: the nodes of its context,
    /// and its endpoints.
    #[must_use]
    pub fn known(&self) -> Vec<String> {
        self.session.known()
    }

    /// Returns the roles of the client's certificate.
    #[must_use]
    pub fn roles(&self) -> &BTreeSet<String> {
        &self.session.roles
    }

    /// Reports whether the certificate's roles allow a restore of an etcd.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.session.roles.contains(super::identity::ADMIN)
    }

    /// Returns the context of the talosconfig.
    #[must_use]
    pub fn context(&self) -> &str {
        &self.session.context
    }

    /// Returns the SHA-256 of each accepted authority certificate: a cluster with another one is another
    /// cluster.
    #[must_use]
    pub fn authorities(&self) -> &[Digest] {
        &self.session.authorities
    }

    /// Returns warnings about the talosconfig.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.session.warnings
    }

    fn limit(&self) -> Duration {
        self.session.call_timeout()
    }

    /// Returns the version of Talos on a node, as in `v1.14.0`.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn version(&self, node: &str) -> Result<String, CallError> {
        let call = self
            .session
            .call("Version", Some(node), self.limit(), |mut client, mut to| {
                Box::pin(async move {
                    let reply = client.version(to.request(())).await?.into_inner();
                    let message = only(reply.messages, |message| message.metadata.as_ref())?;
                    Ok(printable(&message.version.unwrap_or_default().tag))
                })
            });
        Ok(call.await?)
    }

    /// Returns the name that a node gives itself.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn hostname(&self, node: &str) -> Result<String, CallError> {
        let call = self.session.call(
            "Hostname",
            Some(node),
            self.limit(),
            |mut client, mut to| {
                Box::pin(async move {
                    let reply = client.hostname(to.request(())).await?.into_inner();
                    let message = only(reply.messages, |message| message.metadata.as_ref())?;
                    Ok(printable(&message.hostname))
                })
            },
        );
        Ok(call.await?)
    }

    /// Reads a node's machine configuration without its secrets.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached; only an administrator may read it.
    pub async fn machine(&self, node: &str) -> Result<MachineView, CallError> {
        let target = NodeTarget {
            label: node.to_owned(),
            node: Some(node.to_owned()),
        };
        let text = machine_config::read(&self.session, &target).await?;
        let known = std::str::from_utf8(&text).map(at_rest::examine);
        Ok(MachineView::from(known.unwrap_or_default()))
    }

    /// Returns a service of a node; `None` if the node has no service of that name.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn service(&self, node: &str, id: &str) -> Result<Option<ServiceView>, CallError> {
        let call = self.session.call(
            "ServiceList",
            Some(node),
            self.limit(),
            |mut client, mut to| {
                Box::pin(async move {
                    let reply = client.service_list(to.request(())).await?.into_inner();
                    Ok(only(reply.messages, |message| message.metadata.as_ref())?.services)
                })
            },
        );
        let services = call.await?;
        let found = services.into_iter().find(|service| service.id == id);
        Ok(found.map(ServiceView::from))
    }

    /// Asks a node to restart a service.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached; not every service may be restarted this way.
    pub async fn restart_service(&self, node: &str, id: &str) -> Result<(), CallError> {
        let id = id.to_owned();
        let call = self.session.call(
            "ServiceRestart",
            Some(node),
            BOOTSTRAP_TIMEOUT,
            |mut client, mut to| {
                let request = to.request(ServiceRestartRequest { id: id.clone() });
                Box::pin(async move {
                    let reply = client.service_restart(request).await?.into_inner();
                    only(reply.messages, |message| message.metadata.as_ref())?;
                    Ok(())
                })
            },
        );
        Ok(call.await?)
    }

    /// Reports whether a node's clock is in sync.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn time(&self, node: &str) -> Result<TimeView, CallError> {
        let call = self.session.state(
            "TimeStatus",
            Some(node),
            self.limit(),
            |mut client, mut to| {
                Box::pin(async move {
                    let request = to.request(GetRequest {
                        namespace: "runtime".to_owned(),
                        r#type: "TimeStatuses.v1alpha1.talos.dev".to_owned(),
                        id: "node".to_owned(),
                    });
                    Ok(client.get(request).await?.into_inner())
                })
            },
        );
        let spec = call.await?.resource.and_then(|resource| resource.spec);
        let spec = spec.unwrap_or_default();
        if spec.proto_spec.is_empty() {
            return Ok(TimeView::of_yaml(&spec.yaml_spec));
        }
        let status = TimeStatusSpec::decode(spec.proto_spec.as_slice()).unwrap_or_default();
        Ok(TimeView {
            in_sync: status.synced || status.sync_disabled,
        })
    }

    /// Returns whether a folder of a node has entries, or how large a file is. Looks at one level, and
    /// stops at the first entry.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached; [`CallErrorKind::NotFound`] if it does not exist.
    pub async fn folder(&self, node: &str, root: &str) -> Result<FolderView, CallError> {
        let root = root.to_owned();
        let call = self
            .session
            .call("List", Some(node), self.limit(), |mut client, mut to| {
                let request = to.request(ListRequest { root: root.clone() });
                Box::pin(async move {
                    let mut entries = client.list(request).await?.into_inner();
                    let mut view = FolderView::default();
                    while let Some(entry) = entries.message().await? {
                        in_band(entry.metadata.as_ref())?;
                        view.add(&entry);
                        if view.entries > 0 {
                            break;
                        }
                    }
                    Ok(view)
                })
            });
        Ok(call.await?)
    }
}
