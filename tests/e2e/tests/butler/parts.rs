//! Test that stops and starts parts of the Butler scenario. It has a scenario of its own, because the other
//! tests share one.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::butler::Butler;
use e2e::{Folder, wait};

/// Time limit. The awaited conditions take seconds; a machine that compiles next to them is slow.
const LIMIT: Duration = Duration::from_secs(120);

#[tokio::test]
async fn parts_stop_and_come_back() -> Result<()> {
    let folder = Folder::new()?;
    let mut butler = Butler::start(&folder, &e2e::tools::say_on_stderr).await?;
    let alpha = butler.tenant("alpha")?;
    alpha.kube_apiserver.stop().await?;
    assert!(alpha.kube_apiserver.get("/readyz").await.is_err());
    alpha.kube_apiserver.restart().await?;

    butler.datastore.stop().await?;
    let beta = butler.tenant("beta")?;
    wait::until("the loss of the tenant's database", LIMIT, async || {
        let (status, _) = beta.kube_apiserver.get("/readyz").await?;
        ensure!(!status.is_success(), "{status}");
        Ok(())
    })
    .await?;
    butler.datastore.restart().await?;
    let beta = butler.tenant("beta")?;
    wait::until("the tenant's return", LIMIT, async || {
        let (status, _) = beta.kube_apiserver.get("/readyz").await?;
        ensure!(status.is_success(), "{status}");
        Ok(())
    })
    .await
}
