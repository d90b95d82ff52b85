//! Tests of the listener with TLS, and of clients that show certificates.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::http::HttpClient;
use e2e::pki::{Authority, Files};
use e2e::port::Port;
use e2e::run::{Command, Running};
use e2e::wait::until;
use http::StatusCode;

use super::bed::Bed;
use super::running::{SELDOM, configure};

const LIMIT: Duration = Duration::from_secs(90);

struct Listener {
    running: Running,
    url: String,
    server: Files,
}

/// Starts a daemon with a certificate of `servers`, for clients of `clients`.
async fn start(bed: &Bed, servers: &Authority, clients: &Files, more: &[&str]) -> Result<Listener> {
    configure(bed, SELDOM)?;
    let folder = bed.folder.join("server");
    let server = servers.write(&folder, "server", &servers.server("backupd")?)?;
    let port = Port::reserve()?;
    let command = bed
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

    fn ask(&self, bed: &Bed, shown: Option<&Files>) -> Command {
        let ask = bed.backupd("snapshot").args(["--daemon", &self.url]);
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
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_authority_does_instead_of_a_token() -> Result<()> {
    let bed = Bed::new().await?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let operator = clients.client("operator", None)?;
    let operator = clients.write(&bed.folder.join("clients"), "operator", &operator)?;
    let listener = start(&bed, &servers, &operator, &[]).await?;

    let taken = listener
        .ask(&bed, Some(&operator))
        .output()
        .await?
        .ended_with(0)?
        .json()?;
    assert!(taken["restorePoint"].is_string(), "{taken}");
    // Without a certificate it is refused, even on this machine; and in the clear there is no answer at all.
    let none = listener.ask(&bed, None).output().await?.ended_with(6)?;
    assert!(
        none.stderr.contains("want a certificate of --client-ca"),
        "{}",
        none.stderr
    );
    let clear = listener.url.replace("https", "http");
    let clear = bed
        .backupd("snapshot")
        .args(["--daemon", &clear, "--component", "etcd"]);
    clear.output().await?.ended_with(1)?;
    // A certificate of another authority. A server's certificate is not valid for a client.
    let stranger = Authority::new("clients")?;
    let stranger = stranger.write(
        &bed.folder.join("stranger"),
        "stranger",
        &stranger.client("operator", None)?,
    )?;
    let refused = listener
        .ask(&bed, Some(&stranger))
        .output()
        .await?
        .ended_with(1)?;
    assert!(!refused.stderr.contains("PRIVATE"), "{}", refused.stderr);
    // A daemon with a certificate of another authority is not trusted.
    let ask = bed
        .backupd("snapshot")
        .args(["--daemon", &listener.url, "--component", "etcd"]);
    let ask = ask.arg("--daemon-ca").arg(&operator.ca);
    let other = ask.output().await?.ended_with(1)?;
    assert!(
        other.stderr.contains("talk TLS to the daemon"),
        "{}",
        other.stderr
    );
    listener.reads(&servers).await?;

    // A renewed certificate is shown without a restart; a broken one is not.
    let renewed = Authority::new("servers, renewed")?;
    std::fs::write(&listener.server.certificate, "broken")?;
    listener.reads(&servers).await?;
    renewed.write(
        &bed.folder.join("server"),
        "server",
        &renewed.server("backupd")?,
    )?;
    until("the new certificate", LIMIT, async || {
        listener.reads(&renewed).await
    })
    .await?;
    listener
        .ask(&bed, Some(&operator))
        .output()
        .await?
        .ended_with(0)?;
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
    let bed = Bed::new().await?;
    let (servers, clients) = (Authority::new("servers")?, Authority::new("clients")?);
    let operator = clients.client("operator", None)?;
    let operator = clients.write(&bed.folder.join("clients"), "operator", &operator)?;
    let token = bed.folder.join("token");
    std::fs::write(&token, "a-token-of-enough-length")?;
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600))?;
    let listener = start(&bed, &servers, &operator, &["--token-file", "token"]).await?;
    listener
        .ask(&bed, Some(&operator))
        .output()
        .await?
        .ended_with(0)?;
    let by_token = listener.ask(&bed, None).args(["--token-file", "token"]);
    by_token.output().await?.ended_with(0)?;
    listener.ask(&bed, None).output().await?.ended_with(6)?;
    let (server, ask) = (listener.server.clone(), listener.ask(&bed, Some(&operator)));
    listener.running.signal("TERM").await?;
    listener.running.ended().await?.ended_with(0)?;

    // Keys that others can read are refused, with the command that fixes it.
    let run = bed.backupd("run").args(["--listen", "127.0.0.1:0"]);
    let run = run.args(["--health-listen", "127.0.0.1:0"]);
    let run = run.arg("--tls-cert").arg(&server.certificate);
    let run = run.arg("--tls-key").arg(&server.key);
    for (key, command) in [(&server.key, run), (&operator.key, ask)] {
        open_to_others(key)?;
        let refused = command.output().await?.ended_with(2)?;
        let told = format!("chmod 600 {}", key.display());
        assert!(refused.stderr.contains(&told), "{}", refused.stderr);
    }
    Ok(())
}
