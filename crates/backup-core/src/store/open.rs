//! Opening of the store that a URL names.

use std::path::PathBuf;
use std::sync::Arc;

use super::local::LocalStore;
use super::s3::{self, Credentials, ParseCaError, S3Options, S3Store};
use super::url::StoreUrl;
use super::{Store, StoreError};

/// Options for opening a store.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Whether to create a missing folder. For programs that write; a program that reads should fail if it is
    /// missing. Buckets are never created.
    pub create: bool,
    /// Credentials for a bucket.
    pub credentials: Credentials,
}

/// Reason why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file of CA certificates cannot be read.
    #[error("cannot read the CA certificates in {path}, which the store's URL names")]
    ReadCa {
        /// The file.
        path: PathBuf,
        /// Cause of the failure.
        source: std::io::Error,
    },
    /// The file of CA certificates contains none.
    #[error("cannot use the CA certificates in {path}, which the store's URL names")]
    ParseCa {
        /// The file.
        path: PathBuf,
        /// Defect of the file.
        source: ParseCaError,
    },
    /// The store itself failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store at `url`. Nothing is requested from a bucket yet; [`Store::probe`] does that.
///
/// # Errors
/// [`OpenError::Store`] if the folder does not exist; else see [`OpenError`].
pub async fn open(url: &StoreUrl, options: OpenOptions) -> Result<Arc<dyn Store>, OpenError> {
    let s3 = match url {
        StoreUrl::Folder(path) if options.create => {
            return Ok(Arc::new(LocalStore::create(path).await?));
        }
        StoreUrl::Folder(path) => return Ok(Arc::new(LocalStore::open(path).await?)),
        StoreUrl::S3(s3) => s3,
    };
    let ca = match &s3.ca {
        None => None,
        Some(path) => Some(read_ca(path).await?),
    };
    let options = S3Options {
        prefix: s3.prefix.clone(),
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        path_style: s3.path_style,
        ca,
        credentials: options.credentials,
        ..S3Options::new(&s3.bucket)
    };
    Ok(Arc::new(S3Store::open(options).await?))
}

async fn read_ca(path: &PathBuf) -> Result<Vec<u8>, OpenError> {
    let pem = tokio::fs::read(path)
        .await
        .map_err(|source| OpenError::ReadCa {
            path: path.clone(),
            source,
        })?;
    s3::read_ca(&pem).map_err(|source| OpenError::ParseCa {
        path: path.clone(),
        source,
    })
}
