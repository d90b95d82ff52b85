//! Stand-in for the servers that an API server calls: conversion webhooks, and extension APIs.
//!
//! A group of an extension API is served as long as the stand-in lives. Its lists can be held back, which
//! stops an export at a known point.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use e2e::pki::Authority;
use e2e::wait;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::kube::Kube;

const SOON: Duration = Duration::from_secs(60);

/// Behaviour of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Correct answers.
    Works,
    /// No answer, until the mood changes.
    Hangs,
    /// This status.
    Fails(u16),
    /// Lists with items that are not objects.
    Mangles,
}

/// Moods by the beginning of a path, and the requested paths.
#[derive(Default)]
struct State {
    moods: BTreeMap<String, Mood>,
    seen: Vec<String>,
}

/// Running stand-in; see the module.
pub(crate) struct Standin {
    port: u16,
    ca: String,
    moods: Moods,
    /// Runtime of its own: the stand-in outlives the test that began it, whose runtime ends with that test.
    runtime: Option<Runtime>,
}

type Moods = Arc<watch::Sender<Arc<Mutex<State>>>>;

impl Standin {
    pub(crate) fn start() -> Result<Self> {
        let authority = Authority::new("standin-ca")?;
        let identity = authority.server("standin")?;
        let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes())?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let moods: Moods = Arc::new(watch::Sender::new(Arc::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        runtime.spawn(accept(listener, acceptor, Arc::clone(&moods)));
        Ok(Self {
            port,
            ca: authority.pem().to_owned(),
            moods,
            runtime: Some(runtime),
        })
    }

    /// Returns the webhook's address for the test `name`.
    pub(crate) fn webhook(&self, name: &str) -> String {
        format!("https://127.0.0.1:{}/convert/{name}", self.port)
    }

    pub(crate) fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.ca)
    }

    /// Sets the behaviour of requests whose path begins with `path`.
    pub(crate) fn mood(&self, path: &str, mood: Mood) {
        self.moods.send_modify(|state| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.moods.insert(path.to_owned(), mood);
        });
    }

    /// Waits until a path that begins with `path` was requested.
    pub(crate) async fn asked(&self, path: &str) -> Result<()> {
        wait::until("a request", SOON, async || {
            let state = Arc::clone(&self.moods.borrow());
            let state = state.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = state.seen.iter().any(|seen| seen.starts_with(path));
            ensure!(asked, "{path} is not in {:?}", state.seen);
            Ok(())
        })
        .await
    }

    /// Registers `group` as an extension API with one kind; waits until it is served.
    pub(crate) async fn register(&self, kube: &Kube, group: &str) -> Result<()> {
        register(kube, group, self.port).await?;
        kube.served(&format!("/apis/{group}/v1")).await?;
        Ok(())
    }
}

/// Registers `group` as an extension API whose server is at `port`.
pub(crate) async fn register(kube: &Kube, group: &str, port: u16) -> Result<()> {
    let name = group.replace('.', "-");
    let service = json!({
        "metadata": { "name": name },
        "spec": { "type": "ExternalName", "externalName": "localhost" },
    });
    kube.create("/api/v1/namespaces/default/services", &service)
        .await?;
    let object = json!({
        "metadata": { "name": format!("v1.{group}") },
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 10,
            "versionPriority": 10,
            "insecureSkipTLSVerify": true,
            "service": { "namespace": "default", "name": name, "port": port },
        },
    });
    let services = "/apis/apiregistration.k8s.io/v1/apiservices";
    kube.create(services, &object).await.map(drop)
}

impl Drop for Standin {
    fn drop(&mut self) {
        // Dropping it where tasks run would block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Plural of the kind that every extension API has: listed before all kinds of tests.
pub(crate) const PLURAL: &str = "aaas";

async fn accept(listener: std::net::TcpListener, acceptor: TlsAcceptor, moods: Moods) {
    let Ok(listener) = TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&moods)));
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, moods: Moods) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| {
        let moods = Arc::clone(&moods);
        async move { answer(request, &moods).await }
    });
    // An error here is a connection that the API server gave up.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn answer(request: Request<Incoming>, moods: &Moods) -> Result<Response<Full<Bytes>>> {
    let path = request.uri().path().to_owned();
    let mut changes = moods.subscribe();
    let state = Arc::clone(&moods.borrow());
    let locked = || state.lock().unwrap_or_else(PoisonError::into_inner);
    locked().seen.push(path.clone());
    let mood = || {
        let state = locked();
        // The longest beginning wins.
        let moods = state.moods.iter().rev();
        let mut fitting = moods.filter(|(start, _)| path.starts_with(start.as_str()));
        fitting.next().map_or(Mood::Works, |(_, mood)| *mood)
    };
    while mood() == Mood::Hangs {
        changes.changed().await.context("the stand-in ended")?;
    }
    if let Mood::Fails(status) = mood() {
        return reply(
            StatusCode::from_u16(status)?,
            &json!({ "message": "out of order" }),
        );
    }
    if path.starts_with("/convert/") {
        let body = request.into_body().collect().await?.to_bytes();
        return reply(StatusCode::OK, &converted(&serde_json::from_slice(&body)?));
    }
    match *path.split('/').collect::<Vec<_>>() {
        ["", "apis", group, "v1"] => reply(StatusCode::OK, &kinds(group)),
        ["", "apis", group, "v1", PLURAL] if mood() == Mood::Mangles => {
            let mut list = list(group);
            list["items"] = json!([
                { "metadata": { "name": 7 } },
                { "metadata": { "name": "../../../escapes" } },
                { "metadata": {} },
                list["items"][0],
            ]);
            reply(StatusCode::OK, &list)
        }
        ["", "apis", group, "v1", PLURAL] => reply(StatusCode::OK, &list(group)),
        _ => reply(StatusCode::NOT_FOUND, &json!({ "message": "no such path" })),
    }
}

fn reply(status: StatusCode, body: &Value) -> Result<Response<Full<Bytes>>> {
    let reply = Response::builder().status(status);
    let reply = reply.header(http::header::CONTENT_TYPE, "application/json");
    Ok(reply.body(Full::from(serde_json::to_vec(body)?))?)
}

/// Converts by renaming, as most conversions do.
fn converted(review: &Value) -> Value {
    let request = &review["request"];
    let objects = request["objects"].as_array().cloned().unwrap_or_default();
    let objects = objects.into_iter().map(|mut object| {
        object["apiVersion"] = request["desiredAPIVersion"].clone();
        object
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "ConversionReview",
        "response": {
            "uid": request["uid"],
            "result": { "status": "Success" },
            "convertedObjects": objects.collect::<Vec<_>>(),
        },
    })
}

fn kinds(group: &str) -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{group}/v1"),
        "resources": [{
            "name": PLURAL,
            "singularName": "aaa",
            "namespaced": false,
            "kind": "Aaa",
            "verbs": ["get", "list"],
        }],
    })
}

fn list(group: &str) -> Value {
    json!({
        "kind": "AaaList",
        "apiVersion": format!("{group}/v1"),
        "metadata": {},
        "items": [{ "metadata": { "name": "only", "uid": "1" } }],
    })
}
