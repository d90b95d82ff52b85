//! Tests of S3, Talos and Git behind a proxy that alone resolves their names.

use anyhow::{Context as _, Result};
use backup_core::proxy::Proxies;
use cluster_restore::git::GitSource;
use e2e::Folder;
use e2e::forward::Forward;
use e2e::git::{GitHost, git};
use e2e::run::tells;
use e2e::s3::{REGION, S3};

use super::site::ChainSite;

/// Returns the store URL of a server by a name that only a proxy resolves, and its `HOST:PORT`.
fn behind(s3: &S3, bucket: &str) -> Result<(String, String)> {
    let endpoint = s3.endpoint().replace("127.0.0.1", "s3.lab.test");
    let host = endpoint
        .split_once("://")
        .context("no scheme")?
        .1
        .to_owned();
    let ca = s3.ca().map(|ca| format!("&ca={}", ca.display()));
    let ca = ca.unwrap_or_default();
    let url = format!("s3://{bucket}/p?endpoint={endpoint}&region={REGION}{ca}");
    Ok((url, host))
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_is_reached_through_the_proxy_of_its_scheme() -> Result<()> {
    let site = ChainSite::new().await?;
    let proxy = Forward::start(Some("user:secret")).await?;
    let address = format!("http://user:secret@{}", proxy.address());

    let (url, host) = behind(&site.s3, &site.bucket)?;
    let plain = site.backupd("snapshot").args(["--store", &url]);
    let plain = plain.env("http_proxy", &address);
    plain
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .ended_with(0)
        .await?;
    assert!(
        proxy.count(&format!("http://{host}")) > 0,
        "{:?}",
        proxy.seen()
    );

    let folder = Folder::new()?;
    let secure = S3::start_with(&folder, "secure", true).await?;
    let bucket = secure.bucket("chain").await?;
    let (url, host) = behind(&secure, &bucket)?;
    let tunnelled = site.backupd("snapshot").args(["--store", &url]);
    let tunnelled = tunnelled
        .envs(secure.keys().env())
        .env("HTTPS_PROXY", &address);
    tunnelled
        .env("NO_PROXY", "s3.lab.test:443")
        .ended_with(0)
        .await?;
    assert!(proxy.count(&host) > 0, "{:?}", proxy.seen());

    let socks = site.restore_cli("list").args(["--store", &url]);
    let socks = socks.env("HTTPS_PROXY", "socks5://me:hidden@127.0.0.1:1");
    let socks = socks.ended_with(2).await?;
    tells(&socks, &["HTTPS_PROXY names a SOCKS proxy"]);
    assert!(!socks.stderr.contains("hidden"), "{}", socks.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_is_reached_through_the_proxy_that_s3_would_take() -> Result<()> {
    let folder = Folder::new()?;
    let host = GitHost::start(folder.path(), None).await?;
    let bare = host.bare("fleet.git").await?;
    let work = folder.make("work")?;
    git(&work, &["init", "--quiet", "--initial-branch=main"]).await?;
    std::fs::write(work.join("a.yaml"), "kind: A\n")?;
    git(&work, &["add", "."]).await?;
    git(&work, &["commit", "--quiet", "-m", "a"]).await?;
    let bare = bare.display().to_string();
    git(&work, &["push", "--quiet", &bare, "main"]).await?;

    let proxy = Forward::start(None).await?;
    let url = host.url("fleet.git").replace("127.0.0.1", "git.lab.test");
    let source = GitSource::parse(&url);
    // In capitals, which git itself does not read.
    let proxies = |exempt: &str| {
        Proxies::read(|name| match name {
            "HTTP_PROXY" => Some(format!("{}\n", proxy.address())),
            "NO_PROXY" => Some(exempt.to_owned()),
            _ => None,
        })
    };
    let scratch = folder.make("scratch")?;
    let taken = source
        .checkout(&"lab".parse()?, &scratch, &proxies("git.lab.test:1"))
        .await?;
    assert_eq!(taken.repository, url);
    let host = url.strip_suffix("/fleet.git").context("no path")?;
    let count = proxy.count(host);
    assert!(count > 0, "{:?}", proxy.seen());
    let error = source
        .checkout(&"lab".parse()?, &scratch, &proxies("lab.test"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("git.lab.test"), "{error}");
    assert_eq!(proxy.count(host), count);
    Ok(())
}
