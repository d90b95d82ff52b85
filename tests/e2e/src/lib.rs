//! Lab of real etcd, kube-apiserver and S3 server on 127.0.0.1, for tests, benchmarks and people.
//!
//! Everything that a test starts lives in one [`Folder`], listens on ports of its own, and ends with the
//! handle that holds it, or with the test's process, however that ends.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! let folder = e2e::Folder::new()?;
//! let etcd = e2e::etcd::Etcd::start(&folder, "etcd").await?;
//! let client = etcd.client().await?;
//! e2e::data::Cluster::fill(&client, e2e::data::Shape::small()).await?;
//! let s3 = e2e::s3::S3::start(&folder).await?;
//! let bucket = s3.bucket("mine").await?;
//! # Ok(()) }
//! ```

// Files, ports, and installed programs.
pub mod folder;
pub mod paths;
pub mod port;
pub mod prerequisites;
pub mod programs;
pub mod tools;

// Running of real programs.
pub mod http;
pub mod ours;
pub mod pki;
pub mod process;
pub mod run;
pub mod wait;

// Components.
pub mod etcd;
pub mod etcdutl;
pub mod forward;
pub mod git;
pub mod kube_apiserver;
pub mod kube_controller_manager;
pub mod proxy;
pub mod s3;
pub mod sealed_secrets;
pub mod sshd;
pub mod talos;

// Data in the components.
pub mod data;

// All components together.
pub mod butler;
pub mod fresh;
pub mod lab;

// Place of one test among them.
pub mod site;

pub use folder::Folder;
