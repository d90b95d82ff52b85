//! Proxy as companies have them: it opens tunnels and forwards requests, and counts both.
//!
//! For any host it connects to 127.0.0.1: names that nothing else can resolve prove that a connection came
//! through it.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Largest head of a request to a proxy.
const MAX_HEAD: usize = 16 << 10;

type Seen = Arc<Mutex<Vec<String>>>;

/// Running proxy. It ends when dropped.
#[derive(Debug)]
pub struct Forward {
    address: String,
    seen: Seen,
    _server: JoinSet<()>,
}

impl Forward {
    /// Starts a proxy; with `login`, as in `user:password`, it serves only clients that show it.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(login: Option<&str>) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let seen = Seen::default();
        let wanted = login.map(|login| format!("Basic {}", STANDARD.encode(login)));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, Arc::clone(&seen), wanted));
        Ok(Self {
            address,
            seen,
            _server: server,
        })
    }

    /// Returns its address, as in `127.0.0.1:3128`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the requests that it passed so far: `HOST:PORT` of each tunnel, `http://HOST:PORT` of each
    /// request.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// Returns the number of those requests that equal `what`.
    #[must_use]
    pub fn count(&self, what: &str) -> usize {
        self.seen().iter().filter(|seen| *seen == what).count()
    }
}

async fn accept(listener: TcpListener, seen: Seen, wanted: Option<String>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((stream, _)) = connection {
                    let (seen, wanted) = (Arc::clone(&seen), wanted.clone());
                    connections.spawn(async move {
                        // An error is a client or a server that went away.
                        drop(serve(stream, &seen, wanted.as_deref()).await);
                    });
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut client: TcpStream, seen: &Seen, wanted: Option<&str>) -> Result<()> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        anyhow::ensure!(bytes.len() < MAX_HEAD, "no end of the head");
        anyhow::ensure!(client.read_buf(&mut bytes).await? > 0, "it went away");
    };
    let rest = bytes.split_off(end);
    let head = String::from_utf8(bytes)?;
    let (line, headers) = head.split_once("\r\n").context("no headers")?;
    let shown = headers.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("proxy-authorization");
        is_it.then(|| value.trim())
    });
    if wanted.is_some_and(|wanted| shown != Some(wanted)) {
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
        client.write_all(refusal.as_bytes()).await?;
        return Ok(());
    }
    let mut words = line.split(' ');
    let (method, target) = (words.next(), words.next());
    let (method, target) = method.zip(target).context("no request")?;
    let note = |what: String| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(what);
    };
    if method == "CONNECT" {
        let mut server = dial(target).await?;
        note(target.to_owned());
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
        copy_bidirectional(&mut client, &mut server).await?;
        return Ok(());
    }
    let place = target.strip_prefix("http://").context("no whole address")?;
    let (host, path) = place.split_once('/').unwrap_or((place, ""));
    let mut server = dial(host).await?;
    note(format!("http://{host}"));
    // One request for each connection: the next may be for another server.
    let kept = headers.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("connection")
            && !name.eq_ignore_ascii_case("proxy-authorization")
    });
    let kept: Vec<&str> = kept.collect();
    let kept = kept.join("\r\n");
    let head = format!("{method} /{path} HTTP/1.1\r\n{kept}\r\nconnection: close");
    server.write_all(head.as_bytes()).await?;
    server.write_all(&rest).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn dial(target: &str) -> Result<TcpStream> {
    let port = target.rsplit_once(':').map_or("80", |(_, port)| port);
    Ok(TcpStream::connect(("127.0.0.1", port.parse()?)).await?)
}
