//! Tests of the listener with TLS, and of clients that show certificates.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::folder::set_mode;
use e2e::http::HttpClient;
use e2e::pki::{Authority, Files};
use e2e::port::Port;
use e2e::run::{Command, Running, tells};
use e2e::wait::until;
use http::StatusCode;

use super::running::{SELDOM, configure};
use super::site::ChainSite;

const LIMIT: Duration = Duration::from_secs(90);

struct Listener {
    running: Running,
    url: String,
    server: Files,
}

/// Starts a daemon with a certificate of `servers`, for clients of `clients`.
async fn start(
    site: &ChainSite,
    servers: &Authority,
    clients: &Files,
    more: &[&str],
) -> Result<Listener> {
    configure(site, SELDOM)?;
    let folder = site.folder.join("server");
    let server = servers.write(&folder, "server", &servers.server("backupd")?)?;
    let port = Port::reserve()?;
    let command = site
        .backupd("run")
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--health-listen", "127.0.0.1:0"]);
    let command = command.arg("--tls-cert").arg(&server.certificate);
    let command = command.arg("--tls-key").arg(&server.key);
    let command = command.arg("--client-ca").arg(&clients.ca).args(more);
    let listener = Listener {
        running: command.start()?,
        url: format!("https://127.0.0.1:{port}"),
        server,
    };
    until("a daemon that answers", LIMIT, async || {
        listener.reads(servers).await
    })
    .await?;
    Ok(listener)
}

impl Listener {
    /// Checks that probes and scrapes need no certificate.
    async fn reads(&self, servers: &Authority) -> Result<()> {
        let client = HttpClient::new(servers.pem(), None)?;
        for page in ["healthz", "metrics"] {
            let (status, _) = client.get(&format!("{}/{page}", self.url), None).await?;
            ensure!(status == StatusCode::OK, "{page}: {status}");
        }
        // Pages on restore points are for known clients.
        let page = format!("{}/v1/status", self.url);
        let (status, _) = client.get(&page, None).await?;
        ensure!(status == StatusCode::UNAUTHORIZED, "{status}");
        Ok(())
    }

    fn ask(&self, site: &ChainSite, shown: Option<&Files>) -> Command {
        let ask = site.backupd("snapshot").args(["--daemon", &self.url]);
        let ask = ask.args(["--component", "etcd", "--output", "json"]);
        let ask = ask.arg("--daemon-ca").arg(&self.server.ca);
        let Some(shown) = shown else {
            return ask;
        };
        let ask = ask.arg("--client-cert").arg(&shown.certificate);
        ask.arg("--client-key").arg(&shown.key)
    }
}

fn open_to_others(path: &Path) -> Result<()> {
    set_mode(path, 0o644)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_authority_does_instead_of_a_token() -> Result<()> {
    let site = ChainSite::new().await?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let operator = clients.client("operator", None)?;
    let operator = clients.write(&site.folder.join("clients"), "operator", &operator)?;
    let listener = start(&site, &servers, &operator, &[]).await?;

    let taken = listener.ask(&site, Some(&operator)).json().await?;
    assert!(taken["restorePoint"].is_string(), "{taken}");
    // Without a certificate it is refused, even on this machine; and in the clear there is no answer at all.
    let none = listener.ask(&site, None).ended_with(6).await?;
    tells(&none, &["want a certificate of --client-ca"]);
    let clear = listener.url.replace("https", "http");
    let clear = site
        .backupd("snapshot")
        .args(["--daemon", &clear, "--component", "etcd"]);
    clear.ended_with(1).await?;
    // A certificate of another authority. A server's certificate is not valid for a client.
    let stranger = Authority::new("clients")?;
    let stranger = stranger.write(
        &site.folder.join("stranger"),
        "stranger",
        &stranger.client("operator", None)?,
    )?;
    let refused = listener.ask(&site, Some(&stranger)).ended_with(1).await?;
    assert!(!refused.stderr.contains("PRIVATE"), "{}", refused.stderr);
    // A daemon with a certificate of another authority is not trusted.
    let ask = site
        .backupd("snapshot")
        .args(["--daemon", &listener.url, "--component", "etcd"]);
    let ask = ask.arg("--daemon-ca").arg(&operator.ca);
    let other = ask.ended_with(1).await?;
    tells(&other, &["talk TLS to the daemon"]);
    listener.reads(&servers).await?;

    // A renewed certificate is shown without a restart; a broken one is not.
    let renewed = Authority::new("servers, renewed")?;
    std::fs::write(&listener.server.certificate, "broken")?;
    listener.reads(&servers).await?;
    renewed.write(
        &site.folder.join("server"),
        "server",
        &renewed.server("backupd")?,
    )?;
    until("the new certificate", LIMIT, async || {
        listener.reads(&renewed).await
    })
    .await?;
    listener.ask(&site, Some(&operator)).ended_with(0).await?;
    listener.running.signal("TERM").await?;
    let output = listener.running.ended().await?.ended_with(0)?;
    assert!(
        output
            .stderr
            .contains("the listener's files cannot be used"),
        "{}",
        output.stderr
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_and_a_certificate_do_each_for_themselves() -> Result<()> {
    let site = ChainSite::new().await?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let operator = clients.client("operator", None)?;
    let operator = clients.write(&site.folder.join("clients"), "operator", &operator)?;
    let token = site.folder.join("token");
    std::fs::write(&token, "a-token-of-enough-length")?;
    set_mode(&token, 0o600)?;
    let listener = start(&site, &servers, &operator, &["--token-file", "token"]).await?;
    listener.ask(&site, Some(&operator)).ended_with(0).await?;
    let by_token = listener.ask(&site, None).args(["--token-file", "token"]);
    by_token.ended_with(0).await?;
    listener.ask(&site, None).ended_with(6).await?;
    let (server, ask) = (
        listener.server.clone(),
        listener.ask(&site, Some(&operator)),
    );
    listener.running.signal("TERM").await?;
    listener.running.ended().await?.ended_with(0)?;

    // Keys that others can read are refused, with the command that fixes it.
    let run = site.backupd("run").args(["--listen", "127.0.0.1:0"]);
    let run = run.args(["--health-listen", "127.0.0.1:0"]);
    let run = run.arg("--tls-cert").arg(&server.certificate);
    let run = run.arg("--tls-key").arg(&server.key);
    for (key, command) in [(&server.key, run), (&operator.key, ask)] {
        open_to_others(key)?;
        let refused = command.ended_with(2).await?;
        let told = format!("chmod 600 {}", key.display());
        tells(&refused, &[&told]);
    }
    Ok(())
}
