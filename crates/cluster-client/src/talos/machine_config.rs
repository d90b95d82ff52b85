//! Source of the machine configuration of a control plane node. It holds the secrets of the whole
//! cluster, among them the key that encrypts the Secrets in etcd.
//!
//! It is read as the resource `MachineConfigs.config.talos.dev`, which every version since 1.2 serves
//! to os:admin only. `Read` cannot return its file: newer versions mount the partition of that file
//! only while they use it.

use std::sync::Arc;

use async_trait::async_trait;
use prost::Message as _;
use zeroize::Zeroizing;

use super::config::TalosContext;
use super::explain::{MACHINE_CONFIG, TalosFailure, TalosFailureReason};
use super::identity::{ADMIN, TalosCredentials, describe_roles};
use super::proto::cosi::resource::{GetRequest, MachineConfigSpec};
use super::session::{NodeTarget, TalosSession};
use super::{TalosOptions, TalosSource};
use crate::at_rest;
use backup_core::clock::Clock;
use backup_core::format::export::{ArchiveFacts, TalosClusterFacts};
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource, SourceError};

/// Namespace, type and id of the resource.
const NAMESPACE: &str = "config";
const TYPE: &str = "MachineConfigs.config.talos.dev";
const ID: &str = "v1alpha1";

/// Source of the machine configuration of one control plane node, the first that returns it.
#[derive(Debug)]
pub struct MachineConfigSource {
    options: TalosOptions,
    clock: Arc<dyn Clock>,
}

impl TalosSource {
    /// Returns a source for the machine configuration of the same cluster.
    #[must_use]
    pub fn machine_config(&self) -> MachineConfigSource {
        MachineConfigSource {
            options: self.options.clone(),
            clock: Arc::clone(&self.clock),
        }
    }
}

impl MachineConfigSource {
    /// Returns why the talosconfig's roles do not allow reading it, and what to do instead; `None` if they
    /// allow it. Does not connect.
    ///
    /// # Errors
    /// When the talosconfig cannot be used at all.
    pub async fn forbidden(&self) -> Result<Option<Finding>, SourceError> {
        let path = self.options.search.find().map_err(super::config_error)?;
        let overrides = self.options.overrides();
        let context = TalosContext::load(&path, &overrides).await;
        let context = context.map_err(super::config_error)?;
        let identity =
            TalosCredentials::check(&context, self.clock.now()).map_err(super::config_error)?;
        if identity.roles.contains(ADMIN) {
            return Ok(None);
        }
        Ok(Some(Finding::warning(
            ComponentName::machine_config().to_string(),
            format!(
                "it is left out: the talosconfig carries {}, and only {ADMIN} may read it. Without the \
                 machine configuration a lost control plane cannot be set up again with the same secrets, \
                 and the encrypted Secrets of the etcd snapshot cannot be read",
                describe_roles(&identity.roles)
            ),
            format!("{REMEDY}, or run `backupd snapshot` once with an admin talosconfig"),
        )))
    }

    async fn get(
        &self,
        session: &TalosSession,
        target: &NodeTarget,
    ) -> Result<NodeConfig, ConfigRefusal> {
        let got = read(session, target).await;
        let text = got.map_err(|failure| ConfigRefusal {
            everywhere: failure.reason == TalosFailureReason::Role,
            why: failure.to_string(),
        })?;
        let here = |why: &str| ConfigRefusal {
            everywhere: false,
            why: format!("{MACHINE_CONFIG} at node {}: {why}", target.label),
        };
        let known = std::str::from_utf8(&text).map(at_rest::examine);
        let known = known.map_err(|_| here("its answer is not text"))?;
        match known.machine.as_deref() {
            Some("controlplane" | "init") => Ok(NodeConfig {
                node: target.label.clone(),
                text,
                prefixes: known.prefixes.into_iter().collect(),
                cluster: TalosClusterFacts {
                    name: known.cluster,
                    id_sha256: known.cluster_id,
                },
            }),
            Some(_) => Err(here(
                "it is not a control plane node; take it out of `nodes`",
            )),
            None => Err(here("its answer is not a machine configuration")),
        }
    }
}

/// Reads the machine configuration of a node, as text.
pub(super) async fn read(
    session: &TalosSession,
    target: &NodeTarget,
) -> Result<Zeroizing<Vec<u8>>, TalosFailure> {
    let (limit, node) = (session.call_timeout(), target.node.as_deref());
    let got = session.state(MACHINE_CONFIG, node, limit, |mut client, mut to| {
        Box::pin(async move {
            let request = to.request(GetRequest {
                namespace: NAMESPACE.to_owned(),
                r#type: TYPE.to_owned(),
                id: ID.to_owned(),
            });
            Ok(client.get(request).await?.into_inner())
        })
    });
    let spec = got.await?.resource.and_then(|resource| resource.spec);
    let spec = spec.unwrap_or_default();
    let (proto, yaml) = (
        Zeroizing::new(spec.proto_spec),
        Zeroizing::new(spec.yaml_spec),
    );
    let decoded = MachineConfigSpec::decode(proto.as_slice()).unwrap_or_default();
    let text = Zeroizing::new(decoded.yaml_marshalled);
    if text.is_empty() {
        return Ok(Zeroizing::new(yaml.as_bytes().to_vec()));
    }
    Ok(text)
}

/// Remedy when the resource cannot be read.
const REMEDY: &str = "add the file once with `backupd kit add FILE`, as `talosctl get machineconfig \
                      v1alpha1 -o jsonpath='{.spec}'` prints it";

/// Configuration of one node. Not `Debug`: it holds the cluster's secrets.
struct NodeConfig {
    node: String,
    text: Zeroizing<Vec<u8>>,
    prefixes: Vec<String>,
    cluster: TalosClusterFacts,
}

/// Reason why a node returned nothing.
struct ConfigRefusal {
    /// Whether other nodes would give the same answer.
    everywhere: bool,
    why: String,
}

#[async_trait]
impl ArchiveSource for MachineConfigSource {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        let session = TalosSession::begin(&self.options, &self.clock).await?;
        let mut whys = Vec::new();
        for target in session.targets() {
            match self.get(&session, target).await {
                Ok(config) => {
                    let name = config.node.replace(':', "-");
                    let path = format!("{}/{name}.yaml", ComponentName::machine_config());
                    out.file(&path, &config.text).await?;
                    return Ok(ArchiveReport {
                        facts: ArchiveFacts {
                            objects: 1,
                            encryption_prefixes: config.prefixes,
                            talos_cluster: Some(config.cluster),
                            ..ArchiveFacts::default()
                        },
                        findings: Vec::new(),
                    });
                }
                Err(refusal) => {
                    whys.push(refusal.why);
                    if refusal.everywhere {
                        break;
                    }
                }
            }
        }
        Err(SourceError {
            operation: format!(
                "no node gave its machine configuration: {}",
                whys.join("; ")
            ),
            try_other_member: false,
            source: None,
        })
    }
}
