//! Client that asks a daemon for a restore point and follows the run to its end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use backup_cli::config::read_token;
use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;
use backup_core::id::ComponentName;
use backup_core::progress::Progress;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::run_builder::report::RunReport;
use crate::tls;

/// Largest accepted line: a result with all its findings.
const LINE: usize = 8 << 20;
/// Largest accepted refusal.
const REFUSAL: usize = 64 << 10;

/// How a daemon is asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Daemon")]
pub(super) struct AskFlags {
    /// Let the daemon at this address take it, as in `http://127.0.0.1:8080` or `https://HOST:8080`
    #[arg(long, value_name = "URL")]
    pub(super) daemon: Option<Uri>,
    /// Show the daemon the token in this file
    #[arg(long, value_name = "FILE", requires = "daemon")]
    token_file: Option<PathBuf>,
    /// Send the token to another machine without https: a proxy or a mesh encrypts it
    #[arg(long, requires = "token_file")]
    insecure_token: bool,
    /// Believe the daemon's certificate if an authority in this file vouches for it; needed for https
    #[arg(long, value_name = "FILE", requires = "daemon")]
    daemon_ca: Option<PathBuf>,
    /// Show the daemon the certificate in this file
    #[arg(long, value_name = "FILE", requires_all = ["daemon_ca", "client_key"])]
    client_cert: Option<PathBuf>,
    /// Prove that certificate with the private key in this file
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// Ask for it once: the daemon answers with the same run if the same key comes again
    #[arg(long, value_name = "KEY", requires = "daemon")]
    idempotency_key: Option<String>,
}

/// Requested restore point.
#[derive(Debug, Serialize)]
pub(super) struct RequestBody<'a> {
    pub(super) cluster: Option<&'a str>,
    pub(super) components: &'a [ComponentName],
    pub(super) reason: Option<&'a str>,
    pub(super) pin: bool,
}

/// Line of the answer, with the fields that are used here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerLine {
    state: Option<String>,
    #[serde(default)]
    read_bytes: u64,
    step: Option<String>,
    note: Option<String>,
    error: Option<String>,
    result: Option<serde_json::Value>,
}

pub(super) async fn request_snapshot(
    daemon: &Uri,
    flags: &AskFlags,
    wanted: &RequestBody<'_>,
    frame: &Frame,
) -> Result<Exit, Failure> {
    let usage = |text: &str| Failure::message(Exit::Usage, format!("--daemon {daemon}: {text}"));
    let wants = "want http://HOST:PORT or https://HOST:PORT";
    let secure = match daemon.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(usage(wants)),
    };
    let authority = daemon.authority().ok_or_else(|| usage(wants))?;
    let host = authority.host().trim_matches(['[', ']']);
    if flags.token_file.is_some() && !secure && !flags.insecure_token && !is_local(host) {
        let failure = usage("the token would go to another machine in the clear");
        return Err(failure.hint(
            "give an https address and --daemon-ca; where a proxy or a mesh encrypts what is sent, \
             --insecure-token says so",
        ));
    }
    let request = request(authority.as_str(), flags, wanted)?;
    let port = authority
        .port_u16()
        .unwrap_or(if secure { 443 } else { 80 });
    let config = match (&flags.daemon_ca, secure) {
        (Some(ca), true) => {
            let own = flags
                .client_cert
                .as_deref()
                .zip(flags.client_key.as_deref());
            Some(tls::client(ca, own)?)
        }
        (None, true) => {
            return Err(usage(
                "https needs --daemon-ca FILE, with the certificates that it believes",
            ));
        }
        (Some(_), false) => return Err(usage("--daemon-ca is for https")),
        (None, false) => None,
    };
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.with_context(|| format!("reach the daemon at {daemon}"))?;
    let Some(config) = config else {
        return talk(stream, request, frame).await;
    };
    let name = ServerName::try_from(host.to_owned()).map_err(|_| usage(wants))?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    let stream = stream.with_context(|| format!("talk TLS to the daemon at {daemon}"))?;
    talk(stream, request, frame).await
}

/// Reports whether a request to `host` stays on this machine.
fn is_local(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

async fn talk<S>(stream: S, request: Request<Full<Bytes>>, frame: &Frame) -> Result<Exit, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .context("talk to the daemon")?;
    let mut connection = std::pin::pin!(connection);
    let talk = async {
        let answer = sender.send_request(request).await;
        follow(answer.context("ask the daemon")?, frame).await
    };
    let mut talk = std::pin::pin!(talk);
    tokio::select! {
        biased;
        ended = &mut talk => return ended,
        broken = &mut connection => broken.context("the daemon went away")?,
    }
    // Reads the rest that has already arrived.
    talk.await
}

fn request(
    authority: &str,
    flags: &AskFlags,
    wanted: &RequestBody<'_>,
) -> Result<Request<Full<Bytes>>, Failure> {
    let body = serde_json::to_vec(wanted).context("write the request")?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/v1/snapshots")
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json");
    if let Some(path) = &flags.token_file {
        let token = read_token(path, 1)?;
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()));
    }
    if let Some(key) = &flags.idempotency_key {
        let key = HeaderValue::try_from(key.trim()).map_err(|_| {
            let text = "--idempotency-key holds what cannot be sent: want letters and digits";
            Failure::message(Exit::Usage, text)
        })?;
        request = request.header("idempotency-key", key);
    }
    Ok(request
        .body(Full::from(body))
        .context("write the request")?)
}

async fn follow(answer: Response<Incoming>, frame: &Frame) -> Result<Exit, Failure> {
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(refused(status, answer).await);
    }
    let progress = frame.terminal.progress();
    let mut shown = ShownProgress::default();
    let mut body = answer.into_body();
    let mut held = BytesMut::new();
    let mut last = None;
    while let Some(part) = body.frame().await {
        let part = part.context("the daemon's answer broke off; the run continues there")?;
        held.extend_from_slice(part.data_ref().map_or(&[][..], |data| data));
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line = held.split_to(end.saturating_add(1));
            let line: AnswerLine =
                serde_json::from_slice(&line).context("understand the daemon")?;
            shown.update(&line, &progress);
            last = Some(line);
        }
        if held.len() > LINE {
            return Err(Failure::message(
                Exit::Failed,
                "the daemon's answer does not end",
            ));
        }
    }
    drop(progress);
    let last =
        last.ok_or_else(|| Failure::message(Exit::Failed, "the daemon's answer is empty"))?;
    if let Some(result) = last.result {
        let report = RunReport::from_value(result).context("understand the daemon's result")?;
        return report.print(frame);
    }
    let cause = match last.state.as_deref() {
        Some("failed") => last.error.unwrap_or_default(),
        _ => "the answer ended before the run did; see /v1/status".to_owned(),
    };
    Err(Failure::message(
        Exit::Failed,
        format!("the daemon took no restore point: {cause}"),
    ))
}

async fn refused(status: StatusCode, answer: Response<Incoming>) -> Failure {
    #[derive(Deserialize)]
    struct RefusalBody {
        error: String,
    }
    let body = Limited::new(answer.into_body(), REFUSAL).collect().await;
    let body = body
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let why = match serde_json::from_slice::<RefusalBody>(&body) {
        Ok(refusal) => refusal.error,
        Err(_) => String::from_utf8_lossy(&body).chars().take(300).collect(),
    };
    let exit = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Exit::Refused,
        StatusCode::BAD_REQUEST
        | StatusCode::NOT_FOUND
        | StatusCode::MISDIRECTED_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY => Exit::Usage,
        _ => Exit::Failed,
    };
    Failure::message(exit, format!("the daemon refused ({status}): {why}"))
}

/// Part of the run that was shown already.
#[derive(Default)]
struct ShownProgress {
    step: Option<String>,
    bytes: u64,
}

impl ShownProgress {
    fn update(&mut self, line: &AnswerLine, progress: &Arc<dyn Progress>) {
        if line.step.is_some() && line.step != self.step {
            self.step.clone_from(&line.step);
            progress.step(line.step.as_deref().unwrap_or_default(), None);
        }
        progress.advance(line.read_bytes.saturating_sub(self.bytes));
        self.bytes = line.read_bytes;
        if let Some(note) = &line.note {
            progress.note(note);
        }
    }
}
