//! Listener of a node: TLS with client certificates, and checks of the traffic.

use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::pki::{Pki, ServerPair};

/// Verifier that refuses client certificates whose extended key usage is not exactly clientAuth.
#[derive(Debug)]
struct ExactUsage(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for ExactUsage {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let refused =
            || rustls::Error::InvalidCertificate(rustls::CertificateError::InvalidPurpose);
        let verified = self.0.verify_client_cert(end_entity, intermediates, now)?;
        let (_, certificate) = X509Certificate::from_der(end_entity).map_err(|_| refused())?;
        let usage = certificate.extended_key_usage().map_err(|_| refused())?;
        let usage = usage.ok_or_else(refused)?.value;
        let more = usage.any
            || usage.server_auth
            || usage.code_signing
            || usage.email_protection
            || usage.time_stamping
            || usage.ocsp_signing
            || !usage.other.is_empty();
        if usage.client_auth && !more {
            Ok(verified)
        } else {
            Err(refused())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Returns the TLS configuration as apid uses it.
pub(super) fn server_config(pki: &Pki, pair: ServerPair) -> anyhow::Result<Arc<ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in pki.authorities() {
        roots.add(authority)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(ExactUsage(verifier)))
        .with_single_cert(pair.chain, pair.key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Facts about a connection.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// Values of O in the client's certificate.
    pub(super) roles: BTreeSet<String>,
}

/// Reachability of a node.
#[derive(Debug, Clone)]
pub(super) struct Door {
    /// Whether each connection is closed at once, and open ones break.
    pub(super) shut: Arc<AtomicBool>,
    /// Whether connections are accepted without any traffic on them.
    pub(super) frozen: Arc<AtomicBool>,
}

/// Accepts connections until the receiver is gone.
pub(super) async fn accept(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    door: Door,
    pings: Arc<AtomicU64>,
    accepted: mpsc::Sender<io::Result<Watched>>,
) {
    let acceptor = TlsAcceptor::from(config);
    let mut handshakes = tokio::task::JoinSet::new();
    loop {
        while handshakes.try_join_next().is_some() {}
        let stream = tokio::select! {
            () = accepted.closed() => return,
            stream = listener.accept() => stream,
        };
        let Ok((stream, _)) = stream else { continue };
        if door.shut.load(Ordering::SeqCst) {
            continue;
        }
        let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
        let (door, pings) = (door.clone(), Arc::clone(&pings));
        handshakes.spawn(async move {
            if door.frozen.load(Ordering::SeqCst) {
                // The kernel accepted the connection; the node never does.
                std::future::pending::<()>().await;
            }
            let _no_delay = stream.set_nodelay(true);
            // A client that fails the handshake notices it; the server goes on.
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let roles = roles_of(stream.get_ref().1.peer_certificates());
            let watched = Watched {
                stream,
                peer: Peer { roles },
                door,
                frames: Frames::default(),
                strikes: 0,
                pings,
            };
            let _gone = accepted.send(Ok(watched)).await;
        });
    }
}

fn roles_of(chain: Option<&[CertificateDer<'_>]>) -> BTreeSet<String> {
    let Some(Ok((_, certificate))) = chain
        .and_then(<[_]>::first)
        .map(|leaf| X509Certificate::from_der(leaf))
    else {
        return BTreeSet::new();
    };
    certificate
        .subject()
        .iter_organization()
        .filter_map(|organization| organization.as_str().ok())
        .map(str::to_owned)
        .collect()
}

/// Connection whose HTTP/2 frames are counted by kind, and that breaks when its node does.
pub(super) struct Watched {
    stream: TlsStream<TcpStream>,
    peer: Peer,
    door: Door,
    frames: Frames,
    /// Pings of this connection.
    strikes: u64,
    pings: Arc<AtomicU64>,
}

impl Connected for Watched {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl Watched {
    fn broken(&self) -> Option<io::Error> {
        /// Number of pings that the real server allows within 5 minutes.
        const STRIKES: u64 = 2;
        (self.door.shut.load(Ordering::SeqCst) || self.strikes > STRIKES)
            .then(|| io::Error::from(io::ErrorKind::ConnectionReset))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(error) = self.broken() {
            return Poll::Ready(Err(error));
        }
        // A waiting reader is not woken: a test ends with its nodes frozen.
        if self.door.frozen.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(new) = buf.filled().get(before..) {
            let pings = self.frames.count_pings(new);
            self.strikes += pings;
            self.pings.fetch_add(pings, Ordering::SeqCst);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.broken() {
            Some(error) => Poll::Ready(Err(error)),
            None if self.door.frozen.load(Ordering::SeqCst) => Poll::Pending,
            None => Pin::new(&mut self.stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Parser that follows a client's HTTP/2 frames by their headers alone.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes seen of the 24 that open a connection.
    preface: usize,
    header: Vec<u8>,
    /// Bytes of the present frame still to come.
    payload: u32,
}

impl Frames {
    /// Counts the pings that begin in `bytes`, except answers to the server's own.
    fn count_pings(&mut self, bytes: &[u8]) -> u64 {
        const PREFACE: usize = 24;
        const PING: u8 = 6;
        const ACK: u8 = 1;
        let mut pings = 0;
        for &byte in bytes {
            if self.preface < PREFACE {
                self.preface += 1;
            } else if self.payload > 0 {
                self.payload -= 1;
            } else {
                self.header.push(byte);
                if let &[a, b, c, kind, flags, _, _, _, _] = self.header.as_slice() {
                    self.payload = u32::from_be_bytes([0, a, b, c]);
                    pings += u64::from(kind == PING && flags & ACK == 0);
                    self.header.clear();
                }
            }
        }
        pings
    }
}

#[cfg(test)]
mod tests {
    use super::Frames;

    #[test]
    fn pings_are_told_from_their_answers_in_any_split() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        for (kind, flags, length) in [(4, 0, 6), (6, 0, 8), (6, 1, 8), (0, 0, 3), (6, 0, 8)] {
            bytes.extend([0, 0, length, kind, flags, 0, 0, 0, 0]);
            bytes.extend(std::iter::repeat_n(6, usize::from(length)));
        }
        for size in [1, 2, 7, 1000] {
            let mut frames = Frames::default();
            let pings: u64 = bytes
                .chunks(size)
                .map(|part| frames.count_pings(part))
                .sum();
            assert_eq!(pings, 2, "in parts of {size}");
        }
    }
}
