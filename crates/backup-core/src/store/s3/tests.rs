//! Tests against servers with answers that no S3 should give, or that only some give.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Credentials, S3Options, S3Store};
use crate::causes;
use crate::digest::Digest;
use crate::store::{Key, Store as _, StoreError};

/// Server that gives every request the same answer, and records the requests.
struct Server {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
    _task: JoinSet<()>,
}

impl Server {
    async fn of(status: &str, headers: &[&str], body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
        for header in headers {
            answer += &format!("{header}\r\n");
        }
        let length = body.len();
        let head = format!("{answer}content-length: {length}\r\n\r\n");
        let (noted, body) = (Arc::clone(&asked), body.to_owned());
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut bytes = Vec::new();
                while !bytes.windows(4).any(|four| four == b"\r\n\r\n") {
                    if client.read_buf(&mut bytes).await.unwrap() == 0 {
                        break;
                    }
                }
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let line = text.lines().next().unwrap_or_default().to_owned();
                let is_head = line.starts_with("HEAD");
                noted.lock().unwrap().push(line);
                client.write_all(head.as_bytes()).await.unwrap();
                if !is_head {
                    client.write_all(body.as_bytes()).await.unwrap();
                }
                // Reads what is still being sent, so that a reset does not lose the answer.
                client.shutdown().await.unwrap();
                let mut rest = Vec::new();
                drop(client.read_to_end(&mut rest).await);
            }
        });
        Self {
            endpoint,
            asked,
            _task: task,
        }
    }

    async fn store(&self, path: &str) -> S3Store {
        let options = S3Options {
            prefix: "prefix".to_owned(),
            endpoint: Some(format!("{}{path}", self.endpoint)),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            credentials: Credentials::fixed("id", "secret".to_owned()),
            tries: 1,
            ..S3Options::new("bucket")
        };
        S3Store::open(options).await.unwrap()
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn key() -> Key {
    "claim.json".parse().unwrap()
}

fn told(error: &StoreError) -> String {
    causes::line(error)
}

const LISTING: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult>";

#[tokio::test]
async fn an_endpoint_with_a_path_keeps_every_slash() {
    let server = Server::of("200 OK", &["etag: \"e\""], "{}").await;
    for path in ["/storage/v1/s3", "/storage/v1/s3/"] {
        server.store(path).await.get(&key()).await.unwrap();
    }
    server.store("").await.get(&key()).await.unwrap();
    let paths: Vec<String> = server
        .asked()
        .iter()
        .map(|line| line.split(['?', ' ']).nth(1).unwrap().to_owned())
        .collect();
    let within = "/storage/v1/s3/bucket/prefix/claim.json";
    assert_eq!(paths, [within, within, "/bucket/prefix/claim.json"]);
}

#[tokio::test]
async fn a_web_page_is_no_store_and_no_damage() {
    let page = "<!DOCTYPE html><html><title>Welcome</title></html>";
    for status in ["200 OK", "404 Not Found", "403 Forbidden"] {
        let server = Server::of(status, &["content-type: text/html"], page).await;
        let store = server.store("").await;
        let bytes = Bytes::from_static(b"{}");
        let digest = Digest::of(&bytes);
        let errors = [
            store.list("", None).await.unwrap_err(),
            store.get(&key()).await.unwrap_err(),
            store.create(&key(), bytes, digest).await.unwrap_err(),
        ];
        for error in errors {
            let told = told(&error);
            assert!(told.contains("there is no S3 at this address"), "{told}");
            assert!(matches!(error, StoreError::Other { .. }), "{told}");
        }
    }
    let server = Server::of("200 OK", &["content-type: text/html"], page).await;
    let error = server.store("").await.head(&key()).await.unwrap_err();
    assert!(told(&error).contains("there is no S3 at this address"));
    for body in ["", "ok", "{}", "<Other/>"] {
        let server = Server::of("200 OK", &["content-type: text/plain"], body).await;
        let error = server.store("").await.list("", None).await.unwrap_err();
        assert!(
            told(&error).contains("no listing"),
            "{body}: {}",
            told(&error)
        );
    }
}

#[tokio::test]
async fn a_time_that_nobody_reads_is_left_out() {
    let object = |time: &str| {
        format!(
            "<Contents><Key>prefix/{}</Key>{time}<Size>2</Size></Contents>",
            key()
        )
    };
    let listing = |time: &str| format!("{LISTING}{}</ListBucketResult>", object(time));
    for (time, known) in [
        (
            "<LastModified>2026-11-23T12:45:00.000Z</LastModified>",
            true,
        ),
        (
            "<LastModified>Mon, 23 Nov 2026 12:45:00 GMT</LastModified>",
            true,
        ),
        ("<LastModified>2026-11-23 12:45</LastModified>", false),
        ("<LastModified></LastModified>", false),
    ] {
        let xml = "content-type: application/xml";
        let server = Server::of("200 OK", &[xml], &listing(time)).await;
        let page = server.store("").await.list("", None).await.unwrap();
        assert_eq!(page.objects[0].key, key());
        assert_eq!(page.objects[0].modified.is_some(), known, "{time}");
    }
    for (time, known) in [
        ("Mon, 23 Nov 2026 12:45:00 GMT", true),
        ("2026-11-23T12:45:00Z", true),
        ("a while ago", false),
    ] {
        let time = format!("last-modified: {time}");
        let server = Server::of("200 OK", &["etag: \"e\"", &time], "{}").await;
        let store = server.store("").await;
        let info = store.head(&key()).await.unwrap();
        assert_eq!(info.modified.is_some(), known, "{time}");
        assert_eq!(store.get(&key()).await.unwrap(), "{}");
    }
}

#[tokio::test]
async fn a_put_whose_condition_is_not_known_is_named_so() {
    let xml = "<Error><Code>NotImplemented</Code><Message>A header you provided implies \
               functionality that is not implemented</Message></Error>";
    for body in [xml, "", "not implemented"] {
        let server = Server::of("501 Not Implemented", &[], body).await;
        let store = server.store("").await;
        let bytes = Bytes::from_static(b"{}");
        let digest = Digest::of(&bytes);
        let put = store.create(&key(), bytes, digest).await.unwrap_err();
        assert!(told(&put).contains("create-if-absent"), "{}", told(&put));
        // Other requests have no condition that could be unknown.
        let list = store.list("", None).await.unwrap_err();
        assert!(!told(&list).contains("create-if-absent"), "{}", told(&list));
    }
}

#[tokio::test]
async fn folder_markers_are_no_objects() {
    let marker =
        |key: &str, size: u8| format!("<Contents><Key>{key}</Key><Size>{size}</Size></Contents>");
    let body = [
        LISTING.to_owned(),
        marker("prefix/", 0),
        marker("prefix/manifests/", 0),
        marker("prefix/packs/", 3),
        "</ListBucketResult>".to_owned(),
    ];
    let server = Server::of("200 OK", &[], &body.concat()).await;
    let page = server.store("").await.list("", None).await.unwrap();
    assert_eq!(page.markers, ["", "manifests/"]);
    assert_eq!(page.foreign, ["packs/"]);
    assert!(page.objects.is_empty());
}

/// Serves an empty listing to all clients with a self-signed certificate; returns its port and the
/// certificate in PEM.
async fn self_signed(is_ca: bool, task: &mut JoinSet<()>) -> (u16, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    let certificate = params.self_signed(&key).unwrap();
    let secret = rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], secret)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    task.spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let Ok(mut client) = acceptor.accept(client).await else {
                continue;
            };
            let mut head = [0; 1024];
            drop(client.read(&mut head).await);
            let body = format!("{LISTING}</ListBucketResult>");
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
            );
            drop(client.write_all(answer.as_bytes()).await);
            drop(client.shutdown().await);
        }
    });
    (port, certificate.pem())
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_pinned_or_the_cause_is_told() {
    let mut task = JoinSet::new();
    for is_ca in [false, true] {
        let (port, pem) = self_signed(is_ca, &mut task).await;
        let options = S3Options {
            endpoint: Some(format!("https://127.0.0.1:{port}")),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            ca: Some(pem.into_bytes()),
            credentials: Credentials::fixed("id", "secret".to_owned()),
            tries: 1,
            ..S3Options::new("bucket")
        };
        let store = S3Store::open(options).await.unwrap();
        match store.list("", None).await {
            Ok(_) => assert!(!is_ca),
            Err(error) => {
                let told = told(&error);
                assert!(is_ca, "{told}");
                assert!(
                    told.contains("certificate of an authority as its own"),
                    "{told}"
                );
            }
        }
    }
}
