//! All components together, as `lab up` runs them and as whole-chain tests want them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::Folder;
use crate::data::{Cluster, Shape};
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;
use crate::s3::S3;
use crate::talos::real_etcd::RealEtcd;
use crate::talos::seats::seats;
use crate::talos::{NodeSpec, Standin};

/// The addresses of the control plane nodes, as Talos knows them. Nobody can dial them: what is
/// dialled are the endpoints in the talosconfigs, and the addresses say which node is meant.
pub const NODES: [&str; 3] = ["10.5.0.2", "10.5.0.3", "10.5.0.4"];

/// A cluster that can be backed up, and a place to put it: all but the API server. Fields drop in
/// order: servers before what they stand on, the folder last.
pub struct Core {
    /// The Talos API of three control plane nodes, before `etcd`.
    pub talos: Standin,
    /// For each role a talosconfig.
    pub talosconfigs: BTreeMap<String, PathBuf>,
    /// The S3 server.
    pub s3: S3,
    /// A bucket to begin with.
    pub bucket: String,
    /// The cluster's database with the sample data.
    pub etcd: Etcd,
    /// What was filled in, for churn.
    pub data: Cluster,
    /// Where all of it lives.
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

/// Starts the stand-in's three control plane nodes before `etcd`.
///
/// # Errors
/// Certificates cannot be made or read, or ports cannot be had.
pub async fn control_plane(etcd: &Etcd) -> Result<Standin> {
    let members = seats(&RealEtcd::of(etcd)?, 3);
    let nodes = members.into_iter().zip(NODES).enumerate();
    let specs = nodes.map(|(number, (member, address))| {
        NodeSpec::control_plane(address, &format!("cp-{}", number + 1), member)
    });
    Standin::start(specs.collect()).await
}

/// Everything that runs.
pub struct Lab {
    /// The API server on the core's etcd.
    pub kube_apiserver: KubeApiserver,
    /// The rest.
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
