//! Proxy before the S3 server that fails on purpose and counts requests.

mod quirk;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::SignedDuration;
use jiff::fmt::rfc2822::{self, DateTimePrinter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

type Body = UnsyncBoxBody<Bytes, anyhow::Error>;

/// Fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server does not get it; the answer is this status with this code.
    Answer(u16, &'static str),
    /// The server does not get it, and the connection is cut.
    Cut,
    /// The server executes it; instead of its answer the connection is cut.
    LoseReply,
    /// A bit of the request's body is flipped.
    FlipRequest,
    /// A bit of the answer's body is flipped.
    FlipReply,
    /// The answer's body breaks off in the middle.
    CutReply,
    /// The server does not get it, and there is never an answer.
    Hold,
    /// The server executes it, and there is never an answer.
    HoldReply,
    /// The answer's date is off by this many seconds.
    Date(i64),
    /// Packs are archived in this class or tier: heads report it, and reads are refused. A listing reports a
    /// class, but not a tier.
    Archived(&'static str),
    /// A listing ends after this many objects, and claims to be whole.
    CutList(usize),
    /// The same, and a listing gets the same answer wherever it is to start.
    CutListDeaf(usize),
}

/// Duration of a fault.
#[derive(Debug, Clone, Copy)]
pub enum Lasting {
    /// This many requests.
    Times(u32),
    /// From the first such request on, for this time.
    For(Duration, Option<Instant>),
    /// All requests after this many successful ones.
    After(u32),
}

impl Lasting {
    /// Reports whether the fault happens to one more request; counts it.
    fn happens(&mut self) -> bool {
        match self {
            Self::Times(0) => false,
            Self::Times(left) => {
                *left -= 1;
                true
            }
            Self::For(time, began) => {
                let began = began.get_or_insert_with(Instant::now);
                began.elapsed() < *time
            }
            Self::After(0) => true,
            Self::After(left) => {
                *left -= 1;
                false
            }
        }
    }
}

/// Request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path, without the query.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
}

#[derive(Default)]
struct State {
    faults: Vec<Rule>,
    seen: Vec<Seen>,
    now: usize,
    most: usize,
    /// Requests that are held.
    held: usize,
    /// Requests that are neither answered nor held.
    passing: usize,
    /// First answer to the listing of each prefix, where listings ignore their start.
    said: HashMap<String, Bytes>,
}

/// Fault for requests with one method or all, whose path contains a text.
struct Rule {
    method: Option<Method>,
    part: String,
    fault: Fault,
    lasting: Lasting,
}

impl Rule {
    /// Returns the fault, if it happens to a request like this one.
    fn happens(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let concerned = self.method.as_ref().is_none_or(|only| only == method);
        let happens = concerned && path.contains(&self.part) && self.lasting.happens();
        happens.then_some(self.fault)
    }
}

/// Running proxy. It ends when dropped.
pub struct Proxy {
    endpoint: String,
    state: Arc<Mutex<State>>,
    holds: Arc<Notify>,
    _server: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy before `target`, an address such as `http://127.0.0.1:9000`.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(target: &str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let state = Arc::new(Mutex::new(State::default()));
        let holds = Arc::new(Notify::new());
        let line = Line {
            target: target.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(HttpConnector::new()),
            state: Arc::clone(&state),
            holds: Arc::clone(&holds),
        };
        let mut server = JoinSet::new();
        server.spawn(accept(listener, line));
        Ok(Self {
            endpoint,
            state,
            holds,
            _server: server,
        })
    }

    /// Returns its own address.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// Lets `fault` happen to requests with this method.
    pub fn on(&self, method: Method, fault: Fault, lasting: Lasting) {
        self.on_path(Some(method), "", fault, lasting);
    }

    /// Lets `fault` happen to requests with this method, or any, whose path contains `part`.
    pub fn on_path(&self, method: Option<Method>, part: &str, fault: Fault, lasting: Lasting) {
        lock(&self.state).faults.push(Rule {
            method,
            part: part.to_owned(),
            fault,
            lasting,
        });
    }

    /// Removes all faults and forgets all requests. Held requests stay held.
    pub fn forget(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.seen.clear();
        state.most = 0;
        state.held = 0;
    }

    /// Waits until a request is held. The caller sets the limit.
    pub async fn holding(&self) {
        loop {
            let notified = self.holds.notified();
            if lock(&self.state).held > 0 {
                return;
            }
            notified.await;
        }
    }

    /// Reports whether every request is answered or held, so that the server gets no more of the requests
    /// that arrived here.
    #[must_use]
    pub fn idle(&self) -> bool {
        lock(&self.state).passing == 0
    }

    /// Returns all requests so far.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// Returns the number of requests with this method.
    #[must_use]
    pub fn count(&self, method: &Method) -> usize {
        self.seen()
            .iter()
            .filter(|seen| seen.method == *method)
            .count()
    }

    /// Returns the largest number of concurrent requests.
    #[must_use]
    pub fn most(&self) -> usize {
        lock(&self.state).most
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Clone)]
struct Line {
    target: String,
    client: Client<HttpConnector, Full<Bytes>>,
    state: Arc<Mutex<State>>,
    holds: Arc<Notify>,
}

/// Request between its arrival and its answer, counted even if the client goes away.
struct Passing(Arc<Mutex<State>>);

impl Drop for Passing {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.passing = state.passing.saturating_sub(1);
    }
}

async fn accept(listener: TcpListener, line: Line) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            connection = listener.accept() => {
                if let Ok((stream, _)) = connection {
                    connections.spawn(serve(stream, line.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, line: Line) {
    let service = service_fn(move |request| {
        let line = line.clone();
        async move { line.pass(request).await }
    });
    // An error here is a connection cut on purpose, or by the client.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

impl Line {
    /// Passes a request on. An error cuts the connection.
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>> {
        let (fault, passing) = self.enter(&request);
        let result = self.pass_with(request, fault, passing).await;
        let mut state = lock(&self.state);
        state.now = state.now.saturating_sub(1);
        result
    }

    async fn pass_with(
        &self,
        request: Request<Incoming>,
        fault: Option<Fault>,
        passing: Passing,
    ) -> Result<Response<Body>> {
        let (mut parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let body = if fault == Some(Fault::FlipRequest) {
            flip(&body)
        } else {
            body
        };
        match fault {
            Some(Fault::Cut) => anyhow::bail!("cut on purpose"),
            Some(Fault::Hold) => return self.hold(passing).await,
            Some(Fault::Answer(status, code)) => {
                let text =
                    format!("<Error><Code>{code}</Code><Message>on purpose</Message></Error>");
                let body = if parts.method == Method::HEAD {
                    String::new()
                } else {
                    text
                };
                return Ok(Response::builder()
                    .status(StatusCode::from_u16(status)?)
                    .header("content-type", "application/xml")
                    .body(whole(body.into()))?);
            }
            _ => {}
        }
        if let Some(Fault::Archived(_)) = fault
            && parts.method == Method::GET
            && quirk::is_pack(parts.uri.path())
        {
            return Ok(Response::builder()
                .status(StatusCode::FORBIDDEN)
                .header("content-type", "application/xml")
                .body(whole(quirk::INVALID_STATE.into()))?);
        }
        let asked = (parts.method.clone(), parts.uri.path().to_owned());
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let prefix = quirk::prefix(path);
        parts.uri = format!("{}{path}", self.target).parse()?;
        let reply = self
            .client
            .request(Request::from_parts(parts, Full::new(body)))
            .await?;
        let (mut parts, body) = reply.into_parts();
        if let Some(Fault::Date(seconds)) = fault {
            let date = parts.headers.get(header::DATE).context("no date")?;
            let date = rfc2822::parse(date.to_str()?)?.timestamp();
            let date = date.checked_add(SignedDuration::from_secs(seconds))?;
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date)?;
            parts.headers.insert(header::DATE, date.parse()?);
        }
        if let Some(Fault::Archived(class)) = fault
            && asked.0 == Method::HEAD
            && quirk::is_pack(&asked.1)
        {
            quirk::head(class, &mut parts.headers)?;
        }
        let body = body.collect().await?.to_bytes();
        let listed = match fault {
            Some(Fault::Archived(class)) => quirk::archive_listing(&body, class),
            Some(Fault::CutList(most)) => quirk::cut(&body, most),
            Some(Fault::CutListDeaf(most)) => quirk::cut(&body, most).map(|body| {
                let mut state = lock(&self.state);
                let said = state.said.entry(prefix).or_insert(body);
                said.clone()
            }),
            _ => None,
        };
        if let Some(body) = listed {
            parts.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(parts, whole(body)));
        }
        let body = match fault {
            Some(Fault::LoseReply) => anyhow::bail!("lost on purpose"),
            Some(Fault::HoldReply) => return self.hold(passing).await,
            Some(Fault::FlipReply) => whole(flip(&body)),
            Some(Fault::CutReply) => {
                let half = body.slice(..body.len() / 2);
                let frames = [
                    Ok(Frame::data(half)),
                    Err(anyhow::anyhow!("cut on purpose")),
                ];
                StreamBody::new(stream::iter(frames)).boxed_unsync()
            }
            _ => whole(body),
        };
        Ok(Response::from_parts(parts, body))
    }

    /// Gives no answer. It ends with the client or the proxy.
    async fn hold(&self, passing: Passing) -> Result<Response<Body>> {
        lock(&self.state).held += 1;
        drop(passing);
        self.holds.notify_waiters();
        std::future::pending().await
    }

    /// Records a request, and returns its fault.
    fn enter(&self, request: &Request<Incoming>) -> (Option<Fault>, Passing) {
        let mut state = lock(&self.state);
        state.now += 1;
        state.passing += 1;
        state.most = state.most.max(state.now);
        let path = request.uri().path().to_owned();
        // The first rule that applies; later rules do not count this request.
        let fault = state
            .faults
            .iter_mut()
            .find_map(|rule| rule.happens(request.method(), &path));
        state.seen.push(Seen {
            method: request.method().clone(),
            path,
            headers: request.headers().clone(),
        });
        (fault, Passing(Arc::clone(&self.state)))
    }
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    bytes.into()
}
