//! Opener for the store and the cluster that a configuration names.

use std::path::Path;
use std::sync::Arc;

use crate::config::Config;
use crate::environment::Environment;
use anyhow::Context as _;
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use backup_core::store::s3::{self, S3Options, S3Store};
use backup_core::store::url::{S3Url, StoreUrl};
use cluster_client::kube::KubeOptions;

use crate::exit::Exit;
use crate::failure::Failure;

/// Largest CA file. A bundle of certificate authorities is some hundred kilobytes.
const MAX_CA: u64 = 4 << 20;

/// Intended use of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreAccess {
    /// Read: a folder must exist.
    Read,
    /// Write: a missing folder is created.
    Write,
}

/// Opens the store at `url`. Sends no request to an S3 server yet.
///
/// # Errors
/// Fails when the folder is missing or cannot be created, or the CA file of the URL cannot be read.
pub async fn store(
    url: &StoreUrl,
    access: StoreAccess,
    environment: &Environment,
) -> Result<Arc<dyn Store>, Failure> {
    let store: Arc<dyn Store> = match (url, access) {
        (StoreUrl::Folder(path), StoreAccess::Read) => Arc::new(LocalStore::open(path).await?),
        (StoreUrl::Folder(path), StoreAccess::Write) => Arc::new(LocalStore::create(path).await?),
        // The search for credentials is a large future; boxing keeps it out of the callers' futures.
        (StoreUrl::S3(s3), _) => {
            Arc::new(Box::pin(S3Store::open(options(s3, environment)?)).await?)
        }
    };
    Ok(store)
}

fn options(url: &S3Url, environment: &Environment) -> Result<S3Options, Failure> {
    let ca = url.ca.as_deref().map(read_ca).transpose()?;
    let aws = &environment.aws;
    if let Some(wrong) = &aws.wrong {
        return Err(Failure::message(Exit::Usage, wrong.clone()));
    }
    Ok(S3Options {
        prefix: url.prefix.clone(),
        endpoint: url.endpoint.clone().or_else(|| aws.endpoint.clone()),
        region: url.region.clone().or_else(|| aws.region.clone()),
        path_style: url.path_style,
        ca,
        proxies: environment.proxies.clone(),
        ..S3Options::new(url.bucket.clone())
    })
}

fn read_ca(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let what = || format!("read the file of `ca` in the store URL, {}", path.display());
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).with_context(what)?;
    file.take(MAX_CA)
        .read_to_end(&mut bytes)
        .with_context(what)?;
    s3::read_ca(&bytes).with_context(what)
}

/// Returns the options for the Kubernetes API; `None` if neither a kubeconfig nor a pod gives access.
#[must_use]
pub fn kube_options(config: &Config, environment: &Environment) -> Option<KubeOptions> {
    let kube = &config.kubernetes;
    let file = kube.kubeconfig.clone();
    let file = file.or_else(|| environment.kubeconfig.clone());
    (file.is_some() || environment.in_cluster).then(|| KubeOptions {
        proxies: environment.proxies.clone(),
        ..KubeOptions::new(file, kube.context.clone()).within(kube.timeout)
    })
}
