//! Definitions of the kinds of a Butler cluster, reduced, out of `data/crds`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use serde_json::Value;

use super::scene::{CRD, text};
use crate::kube_apiserver::KubeApiserver;
use crate::{paths, wait};

/// Time limit; the server reports within seconds that it serves a new kind.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// Makes all definitions, and waits until they are served.
pub(super) async fn install(server: &KubeApiserver) -> Result<()> {
    let folder = folder();
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut all = Vec::new();
    for entry in entries {
        all.push(entry.context("listing definitions")?.path());
    }
    try_join_all(all.iter().map(|file| one(server, file))).await?;
    Ok(())
}

/// Makes one definition, such as `tenantaddons.butler.butlerlabs.dev`, and waits until it is served.
///
/// # Errors
/// There is no such definition, or the server refused.
pub async fn define(server: &KubeApiserver, name: &str) -> Result<()> {
    one(server, &folder().join(format!("{name}.yaml"))).await
}

async fn one(server: &KubeApiserver, file: &Path) -> Result<()> {
    serve(server, &read(file)?).await
}

/// Makes a definition, and waits until its kind is served.
///
/// # Errors
/// The server refused.
pub async fn serve(server: &KubeApiserver, crd: &Value) -> Result<()> {
    server.create(&CRD.list(""), crd).await?;
    let list = format!(
        "/apis/{}/{}/{}",
        text(crd, "/spec/group")?,
        text(crd, "/spec/versions/0/name")?,
        text(crd, "/spec/names/plural")?
    );
    // A list that works shows that the server also accepts objects.
    wait::until(&list, SERVED_WITHIN, async || {
        server.read(&list).await.map(drop)
    })
    .await
}

fn folder() -> PathBuf {
    paths::sources().join("data/crds")
}

fn read(path: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no definition", path.display()))
}
