//! Tests of a whole Butler cluster, taken in one restore point: the scenario of the lab, the programs as
//! processes, and the content of the bucket afterwards.

use anyhow::{Context as _, Result};
use e2e::butler::Shared;
use e2e::site::{ButlerSite, newest_manifest};
use serde_json::Value;

mod canaries;
mod same;
mod whole;

/// Makes a site with its restore points below `prefix`, which keep the administrator's kubeconfig.
async fn site(prefix: &str) -> Result<ButlerSite> {
    let shared = Shared::get().await?;
    let kubeconfig = shared.butler.kubeconfig();
    let keep = format!(", keep-kubeconfigs: [{}]", kubeconfig.display());
    ButlerSite::new(shared, prefix, &keep).await
}

/// Reads the newest manifest from the bucket.
fn manifest(site: &ButlerSite) -> Result<Value> {
    let text = std::fs::read(newest_manifest(&site.objects())?)?;
    serde_json::from_slice(&text).context("reading the manifest")
}
