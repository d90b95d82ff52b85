//! Lab of all components together, as `lab up` runs them and as whole-chain tests want them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::Folder;
use crate::data::{Cluster, Shape};
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;
use crate::s3::S3;
use crate::talos::real_etcd::RealEtcd;
use crate::talos::recover::{EtcdutlHost, Host};
use crate::talos::seats::{SeatProcess, seats};
use crate::talos::{Etcd as Member, NodeSpec, Standin};
use crate::tools::{self, Tool};

/// Addresses of the control plane nodes, as Talos knows them. They cannot be dialled: clients dial the
/// endpoints in the talosconfigs, and the addresses say which node is meant.
pub const NODES: [&str; 3] = ["10.5.0.2", "10.5.0.3", "10.5.0.4"];

/// Cluster that can be backed up, and a place for the backup: all but the API server. Fields drop in order:
/// servers before the servers that they depend on, the folder last.
pub struct Core {
    /// The Talos API of three control plane nodes, before `etcd`.
    pub talos: Standin,
    /// Talosconfig for each role.
    pub talosconfigs: BTreeMap<String, PathBuf>,
    /// The S3 server.
    pub s3: S3,
    /// A bucket to begin with.
    pub bucket: String,
    /// Database of the cluster with the sample data.
    pub etcd: Etcd,
    /// Sample data, for churn.
    pub data: Cluster,
    /// Folder of all files.
    pub folder: Folder,
}

impl Core {
    /// Starts everything, and fills the etcd with data of this shape. `say` gets a line per step.
    ///
    /// # Errors
    /// A component cannot be found, built or started.
    pub async fn start(shape: Shape, say: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        let folder = Folder::new()?;
        say("starting etcd");
        let etcd = Etcd::start(&folder, "etcd").await?;
        say(&format!("filling it with {} objects", shape.objects));
        let data = Cluster::fill(&etcd.client().await?, shape).await?;
        say("starting the S3 server");
        let s3 = S3::start(&folder).await?;
        let bucket = s3.bucket("backups").await?;
        say("starting the Talos API stand-in, three nodes");
        let talos = control_plane(&etcd).await?;
        let talosconfigs = talos.write_talosconfigs(&folder.make("talos")?)?;
        Ok(Self {
            talos,
            talosconfigs,
            s3,
            bucket,
            etcd,
            data,
            folder,
        })
    }
}

/// Starts the stand-in's three control plane nodes before `etcd`. [`Standin::reset`] can lose its state, and
/// the state can really be restored over the API: any of the nodes takes a snapshot and has `etcdutl` restore
/// it, and the others join.
///
/// # Errors
/// Certificates cannot be made or read, no port is free, or `etcdutl` cannot be found or built.
pub async fn control_plane(etcd: &Etcd) -> Result<Standin> {
    let etcdutl = tools::path(Tool::Etcdutl).await?;
    let members = seats(&RealEtcd::of(etcd)?, 3);
    let mut specs = Vec::new();
    for (number, (member, address)) in members.into_iter().zip(NODES).enumerate() {
        let hostname = format!("cp-{}", number + 1);
        let mut spec = NodeSpec::control_plane(address, &hostname, Arc::clone(&member));
        // The first node's disk has the real member's data. The others' disks have the folder that shows that
        // they are members.
        let root = match number {
            0 => etcd.folder().to_owned(),
            _ => etcd.folder().join(hostname),
        };
        let data = root.join("var/lib/etcd/member");
        std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
        spec.root = Some(root);
        spec.host = Some(host(etcd, &etcdutl, member));
        specs.push(spec);
    }
    Standin::start(specs).await
}

/// Returns the host of a node that runs `etcd` as the member `seat`, and restores it with `etcdutl`.
#[must_use]
pub fn host(etcd: &Etcd, etcdutl: &Path, seat: Arc<dyn Member>) -> Arc<dyn Host> {
    Arc::new(EtcdutlHost {
        etcdutl: etcdutl.to_owned(),
        name: etcd.name().to_owned(),
        peer_url: etcd.peer_url(),
        process: Arc::new(SeatProcess {
            process: etcd.handle(),
            seat,
        }),
    })
}

/// Core with an API server.
pub struct Lab {
    /// API server on the core's etcd.
    pub kube_apiserver: KubeApiserver,
    /// All other components.
    pub core: Core,
}

impl Lab {
    /// Starts everything, and fills the etcd with data of this shape. `say` gets a line per step.
    ///
    /// # Errors
    /// A component cannot be found, built or started.
    pub async fn start(shape: Shape, say: &(dyn Fn(&str) + Sync)) -> Result<Self> {
        let core = Core::start(shape, say).await?;
        say("starting kube-apiserver");
        let kube_apiserver =
            KubeApiserver::start(&core.folder, "kube-apiserver", &core.etcd).await?;
        Ok(Self {
            kube_apiserver,
            core,
        })
    }
}
