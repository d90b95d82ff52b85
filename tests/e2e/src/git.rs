//! Git host: `git http-backend`, as web servers run it, with bare repositories and a token.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::port::Port;
use crate::run::{Command, Output};

/// Largest request; a test's push is small.
const MAX_BODY: usize = 64 << 20;
/// User for the token.
const USER: &str = "git";

/// Running host. It is away while it is stopped, and ends when dropped.
pub struct GitHost {
    folder: PathBuf,
    token: Option<String>,
    port: Port,
    server: JoinSet<()>,
}

impl GitHost {
    /// Serves the repositories in `folder`, to clients that show `token`, if there is one.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(folder: &Path, token: Option<&str>) -> Result<Self> {
        let mut host = Self {
            folder: folder.to_owned(),
            token: token.map(str::to_owned),
            port: Port::reserve()?,
            server: JoinSet::new(),
        };
        host.again().await?;
        Ok(host)
    }

    /// Stops listening.
    pub async fn stop(&mut self) {
        self.server.shutdown().await;
    }

    /// Starts listening again.
    ///
    /// # Errors
    /// The port is no longer free.
    pub async fn again(&mut self) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port.number())).await?;
        let backend = Backend {
            folder: self.folder.clone(),
            basic: self
                .token
                .as_ref()
                .map(|token| format!("Basic {}", STANDARD.encode(format!("{USER}:{token}")))),
        };
        self.server.spawn(accept(listener, Arc::new(backend)));
        Ok(())
    }

    /// Makes a [`bare`] repository that may be pushed to; returns its folder.
    ///
    /// # Errors
    /// `git` failed.
    pub async fn bare(&self, name: &str) -> Result<PathBuf> {
        let path = bare(&self.folder, name).await?;
        git(&path, &["config", "http.receivepack", "true"]).await?;
        Ok(path)
    }

    /// Returns the address of a repository.
    #[must_use]
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }
}

/// Runs `git` in `folder`, with no settings but those of the repository.
///
/// # Errors
/// It failed.
pub async fn git(folder: &Path, args: &[&str]) -> Result<Output> {
    let command = Command::new("git").arg("-C").arg(folder);
    let command = command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
    let command = command.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
    command.args(args).output().await?.ended_with(0)
}

/// Makes an empty bare repository in `folder` that refuses forced pushes; returns its folder.
///
/// # Errors
/// `git` failed.
pub async fn bare(folder: &Path, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    let init = ["init", "--quiet", "--bare", "--initial-branch=main"];
    git(folder, &[&init[..], &[name]].concat()).await?;
    git(&path, &["config", "receive.denyNonFastForwards", "true"]).await?;
    Ok(path)
}

/// Returns the content of all objects of a repository, in a branch or not.
///
/// # Errors
/// `git` failed.
pub async fn everything(bare: &Path) -> Result<String> {
    let all = ["cat-file", "--batch-all-objects", "--batch"];
    Ok(git(bare, &all).await?.stdout)
}

struct Backend {
    folder: PathBuf,
    basic: Option<String>,
}

async fn accept(listener: TcpListener, backend: Arc<Backend>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((stream, _)) = connection {
                    connections.spawn(serve(stream, Arc::clone(&backend)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, backend: Arc<Backend>) {
    let service = service_fn(move |request| {
        let backend = Arc::clone(&backend);
        async move { backend.answer(request).await }
    });
    // An error here is a connection cut by the client.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

impl Backend {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>> {
        let (parts, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
        let text = |name: &str| text(&parts.headers, name);
        if self
            .basic
            .as_ref()
            .is_some_and(|basic| text("authorization") != *basic)
        {
            return Ok(Response::builder()
                .status(StatusCode::UNAUTHORIZED)
                .header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")
                .body(Full::default())?);
        }
        let mut backend = tokio::process::Command::new("git");
        backend
            .arg("http-backend")
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.folder)
            .env("GIT_PROJECT_ROOT", &self.folder)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("REMOTE_USER", USER)
            .env("REQUEST_METHOD", parts.method.as_str())
            .env("PATH_INFO", parts.uri.path())
            .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
            .env("CONTENT_TYPE", text("content-type"))
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", text("content-encoding"))
            .env("GIT_PROTOCOL", text("git-protocol"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = backend.spawn().context("running git http-backend")?;
        let mut stdin = child.stdin.take().context("no input")?;
        let send = async move {
            // It may end before it has read everything.
            drop(stdin.write_all(&body).await);
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), send);
        answer_of(&output?.stdout)
    }
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_owned()
}

/// Parses the answer of a CGI program.
fn answer_of(output: &[u8]) -> Result<Response<Full<Bytes>>> {
    let end = output.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.context("the backend gave no headers")?;
    let (head, body) = (output.get(..end), output.get(end + 4..));
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(head.unwrap_or_default()).lines() {
        let (name, value) = line.split_once(':').context("no header")?;
        if name.eq_ignore_ascii_case("status") {
            let code = value.trim().split(' ').next().unwrap_or_default();
            response = response.status(code.parse::<u16>()?);
        } else {
            response = response.header(name, value.trim());
        }
    }
    let body = Bytes::copy_from_slice(body.unwrap_or_default());
    Ok(response.body(Full::new(body))?)
}
