//! Tests of the Kubernetes API behind a proxy that alone resolves its name.

use anyhow::{Context as _, Result};
use e2e::forward::Forward;
use e2e::run::{Command, tells};
use serde_json::Value;

use super::site::ExportSite;

const LOGIN: &str = "user:p%40ss";

/// Makes the site's kubeconfig name the server by a name that only a proxy resolves; returns `HOST:PORT`.
fn behind(site: &ExportSite, proxy_url: Option<&str>) -> Result<String> {
    let text = std::fs::read_to_string(&site.cluster.kubeconfig)?;
    let mut config: Value = serde_saphyr::from_str(&text)?;
    let cluster = config
        .pointer_mut("/clusters/0/cluster")
        .context("no cluster")?;
    let server = cluster["server"].as_str().context("no server")?;
    let server = server.replace("127.0.0.1", "api.lab.test");
    cluster["server"] = server.as_str().into();
    cluster["tls-server-name"] = "127.0.0.1".into();
    if let Some(proxy_url) = proxy_url {
        cluster["proxy-url"] = proxy_url.into();
    }
    std::fs::write(site.folder.join("kubeconfig"), config.to_string())?;
    site.configure_with("  kubeconfig: kubeconfig\n  timeout: 3s\n")?;
    let host = server.strip_prefix("https://").context("no https")?;
    Ok(host.to_owned())
}

fn crds(site: &ExportSite) -> Command {
    site.snapshot(&["--component", "crds"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_reached_through_the_proxy_that_the_environment_names() -> Result<()> {
    let site = ExportSite::new().await?;
    let proxy = Forward::start(Some("user:p@ss")).await?;
    let host = behind(&site, None)?;
    let address = format!("http://{LOGIN}@{}", proxy.address());
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let before = proxy.count(&host);
        let command = crds(&site).env(variable, &address);
        // A list that implementations read differently: empty entries, ports, another name.
        let command = command.env("NO_PROXY", "other.test,,api.lab.test:1, 10.0.0.0/8,");
        site.taken(&command, 0).await?;
        assert!(proxy.count(&host) > before, "{:?}", proxy.seen());
    }

    let before = proxy.seen();
    let direct = crds(&site).env("HTTPS_PROXY", &address);
    let direct = direct.env("no_proxy", ".lab.test").ended_with(1).await?;
    tells(&direct, &["api.lab.test"]);
    assert_eq!(proxy.seen(), before);

    // The error names the proxy, and never its password.
    let wrong = format!("http://user:wrong@{}", proxy.address());
    let refused = crds(&site).env("HTTPS_PROXY", wrong);
    let refused = refused.ended_with(1).await?;
    let through = format!("through the proxy http://{}", proxy.address());
    tells(&refused, &[&through, "proxy authorization required"]);
    assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    let odd = crds(&site).env("https_proxy", "ftp://me:hidden@proxy.test");
    let odd = odd.ended_with(2).await?;
    tells(&odd, &["https_proxy is not the address"]);
    assert!(!odd.stderr.contains("hidden"), "{}", odd.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_a_kubeconfig_counts_before_the_environment() -> Result<()> {
    let site = ExportSite::new().await?;
    let proxy = Forward::start(None).await?;
    let host = behind(&site, Some(&format!("http://{}", proxy.address())))?;
    let command = crds(&site).env("HTTPS_PROXY", "http://127.0.0.1:1");
    site.taken(&command.env("NO_PROXY", "*"), 0).await?;
    assert!(proxy.count(&host) > 0, "{:?}", proxy.seen());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_this_machine_needs_no_proxy() -> Result<()> {
    let site = ExportSite::new().await?;
    let proxy = Forward::start(None).await?;
    let command = crds(&site).env("HTTPS_PROXY", proxy.address());
    site.taken(&command, 0).await?;
    assert_eq!(proxy.seen(), Vec::<String>::new());
    Ok(())
}
