//! Parts that tests of leftovers share: runs that are killed, and users who may not delete.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::proxy::{Fault, Lasting};
use e2e::s3::Keys;
use e2e::wait::until;
use http::Method;
use tokio::time::timeout;

use super::site::ChainSite;

/// Time limit. A run reaches its first object within seconds, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);

/// Restore points of a site after [`grow`].
pub(crate) const MANY: usize = 2;

/// Puts three megabytes into etcd and takes restore points of them, so that the leftovers of a few killed
/// runs are less than half of that, also where a run merges small packs.
pub(crate) async fn grow(site: &ChainSite) -> Result<()> {
    let client = site.etcd.client().await?;
    for number in 0..30 {
        let key = format!("/registry/configmaps/default/large-{number}");
        client.put(&key, e2e::data::random(100_000)).await?;
    }
    for _ in 0..MANY {
        site.snapshot().await?;
        site.change().await?;
    }
    Ok(())
}

/// Returns the keys below the prefix.
pub(crate) async fn keys(site: &ChainSite) -> Result<BTreeSet<String>> {
    Ok(site.keys().await?.into_iter().collect())
}

/// Kills a run when it puts an object below `folder`; returns what it left.
pub(crate) async fn killed(site: &ChainSite, folder: &str) -> Result<BTreeSet<String>> {
    let before = keys(site).await?;
    site.change().await?;
    site.proxy.forget();
    let put = Some(Method::PUT);
    site.proxy
        .on_path(put, &format!("/{folder}/"), Fault::Hold, Lasting::After(0));
    let run = site.backupd("snapshot").start()?;
    timeout(LIMIT, site.proxy.holding())
        .await
        .with_context(|| format!("nothing was put below {folder}"))?;
    // Packs and recipes are put side by side: the pack may still be on its way.
    let left_one = || async {
        let grown = keys(site).await?.len() > before.len();
        ensure!(grown && site.proxy.idle(), "nothing else is put yet");
        Ok(())
    };
    until("an object besides the one that is held", LIMIT, left_one).await?;
    run.kill().await?;
    site.proxy.forget();
    Ok(&keys(site).await? - &before)
}

/// Lets `user` do `actions` in the site's bucket, and nothing else.
pub(crate) async fn let_do(site: &ChainSite, user: &Keys, actions: &[&str]) -> Result<()> {
    let (bucket, user) = (&site.bucket, &user.access);
    let actions = serde_json::to_string(actions)?;
    let policy = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"{user}",
            "Action":{actions},"Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#
    );
    let put = site
        .client()?
        .put_bucket_policy()
        .bucket(bucket)
        .policy(policy);
    put.send().await?;
    Ok(())
}

/// Actions that a daemon needs if it deletes nothing.
pub(crate) const NO_DELETE: [&str; 3] = ["s3:PutObject", "s3:GetObject", "s3:ListBucket"];
