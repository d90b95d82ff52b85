//! Calls to the etcd of a node: its bootstrap, its members and their state, and the data that it has.

use std::sync::Arc;

use super::{BOOTSTRAP_TIMEOUT, CallError, MemberStatusView, MemberView, TalosNodes};
use crate::talos::proto::machine::{BootstrapRequest, EtcdMemberListRequest};
use crate::talos::session::only;
use crate::talos::{TalosOptions, TalosSource};
use backup_core::source::{ByteStream, Candidate, SnapshotSource as _, SourceError};

impl TalosNodes {
    /// Starts a new etcd cluster on a node from the snapshot that was uploaded to it. OK means accepted,
    /// not restored.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached; [`CallErrorKind::NotEmpty`] if it has data.
    pub async fn bootstrap(&self, node: &str, skip_hash_check: bool) -> Result<(), CallError> {
        let limit = self.limit().max(BOOTSTRAP_TIMEOUT);
        let call = self
            .session
            .call("Bootstrap", Some(node), limit, |mut client, mut to| {
                Box::pin(async move {
                    let request = to.request(BootstrapRequest {
                        recover_etcd: true,
                        recover_skip_hash_check: skip_hash_check,
                    });
                    let reply = client.bootstrap(request).await?.into_inner();
                    only(reply.messages, |message| message.metadata.as_ref())?;
                    Ok(())
                })
            });
        Ok(call.await?)
    }

    /// Returns the members of the etcd cluster, as the node's own member knows them.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn members(&self, node: &str) -> Result<Vec<MemberView>, CallError> {
        let call = self.session.call(
            "EtcdMemberList",
            Some(node),
            self.limit(),
            |mut client, mut to| {
                Box::pin(async move {
                    let request = to.request(EtcdMemberListRequest { query_local: true });
                    let reply = client.etcd_member_list(request).await?.into_inner();
                    Ok(only(reply.messages, |message| message.metadata.as_ref())?.members)
                })
            },
        );
        Ok(call.await?.into_iter().map(MemberView::from).collect())
    }

    /// Returns the state of a node's member.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn status(&self, node: &str) -> Result<MemberStatusView, CallError> {
        let call = self.session.call(
            "EtcdStatus",
            Some(node),
            self.limit(),
            |mut client, mut to| {
                Box::pin(async move {
                    let reply = client.etcd_status(to.request(())).await?.into_inner();
                    let message = only(reply.messages, |message| message.metadata.as_ref())?;
                    Ok(message.member_status.unwrap_or_default())
                })
            },
        );
        Ok(MemberStatusView::from(call.await?))
    }

    /// Opens a snapshot of the node's own member, to read the restored data back.
    ///
    /// # Errors
    /// When the node refuses or cannot be reached.
    pub async fn read_back(&self, node: &str) -> Result<ByteStream, SourceError> {
        let options = TalosOptions {
            nodes: vec![node.to_owned()],
            ..self.options.clone()
        };
        let source = TalosSource::new(options, Arc::clone(&self.clock));
        let candidate = Candidate::at(node);
        source.open(&candidate).await
    }
}
