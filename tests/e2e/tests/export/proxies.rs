//! Tests of the Kubernetes API behind a proxy that alone resolves its name.

use anyhow::{Context as _, Result};
use e2e::forward::Forward;
use e2e::run::Command;
use serde_json::Value;

use super::bed::Bed;

const LOGIN: &str = "user:p%40ss";

/// Makes the bed's kubeconfig name the server by a name that only a proxy resolves; returns `HOST:PORT`.
fn behind(bed: &Bed, proxy_url: Option<&str>) -> Result<String> {
    let text = std::fs::read_to_string(&bed.ground.kubeconfig)?;
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
    std::fs::write(bed.folder.join("kubeconfig"), config.to_string())?;
    bed.configure_with("  kubeconfig: kubeconfig\n  timeout: 3s\n")?;
    let host = server.strip_prefix("https://").context("no https")?;
    Ok(host.to_owned())
}

fn crds(bed: &Bed) -> Command {
    bed.snapshot(&["--component", "crds"])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_is_reached_through_the_proxy_that_the_environment_names() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Forward::start(Some("user:p@ss")).await?;
    let host = behind(&bed, None)?;
    let address = format!("http://{LOGIN}@{}", proxy.address());
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let before = proxy.count(&host);
        let command = crds(&bed).env(variable, &address);
        // A list that implementations read differently: empty entries, ports, another name.
        let command = command.env("NO_PROXY", "other.test,,api.lab.test:1, 10.0.0.0/8,");
        bed.taken(&command, 0).await?;
        assert!(proxy.count(&host) > before, "{:?}", proxy.seen());
    }

    let before = proxy.seen();
    let direct = crds(&bed).env("HTTPS_PROXY", &address);
    let direct = direct
        .env("no_proxy", ".lab.test")
        .output()
        .await?
        .ended_with(1)?;
    assert!(direct.stderr.contains("api.lab.test"), "{}", direct.stderr);
    assert_eq!(proxy.seen(), before);

    // The error names the proxy, and never its password.
    let wrong = format!("http://user:wrong@{}", proxy.address());
    let refused = crds(&bed).env("HTTPS_PROXY", wrong);
    let refused = refused.output().await?.ended_with(1)?;
    let through = format!("through the proxy http://{}", proxy.address());
    for told in [&through, "proxy authorization required"] {
        assert!(refused.stderr.contains(told), "{told}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("wrong"), "{}", refused.stderr);
    let odd = crds(&bed).env("https_proxy", "ftp://me:hidden@proxy.test");
    let odd = odd.output().await?.ended_with(2)?;
    assert!(
        odd.stderr.contains("https_proxy is not the address"),
        "{}",
        odd.stderr
    );
    assert!(!odd.stderr.contains("hidden"), "{}", odd.stderr);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_a_kubeconfig_counts_before_the_environment() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Forward::start(None).await?;
    let host = behind(&bed, Some(&format!("http://{}", proxy.address())))?;
    let command = crds(&bed).env("HTTPS_PROXY", "http://127.0.0.1:1");
    bed.taken(&command.env("NO_PROXY", "*"), 0).await?;
    assert!(proxy.count(&host) > 0, "{:?}", proxy.seen());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_this_machine_needs_no_proxy() -> Result<()> {
    let bed = Bed::new().await?;
    let proxy = Forward::start(None).await?;
    let command = crds(&bed).env("HTTPS_PROXY", proxy.address());
    bed.taken(&command, 0).await?;
    assert_eq!(proxy.seen(), Vec::<String>::new());
    Ok(())
}
