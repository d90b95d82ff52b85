//! Listener that serves its clients within limits, so that none of them holds up the others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;

use super::access::PeerCertificate;
use crate::tls;

/// Largest head of a request.
const HEAD_BYTES: usize = 16 << 10;
/// Time for the last answers at the end.
const REST: Duration = Duration::from_secs(2);
/// Interval between log lines about refused clients.
const TOLD: Duration = Duration::from_secs(60);

/// Limits of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at the same time.
    connections: usize,
    /// Connections of one client among them.
    of_client: usize,
    /// Whether the oldest connection ends when there is one too many; if not, the newest waits.
    oldest_ends: bool,
    /// Time for a handshake, and for the head of a request; a healthy client sends it at once.
    head: Duration,
    /// Time after which a client that reads nothing of its answer is cut off.
    unread: Duration,
    /// Longest life of a connection; none needs to live longer.
    life: Duration,
    keep_alive: bool,
}

impl Limits {
    /// Limits for metrics, status and restore points: Prometheus, and some people who follow runs.
    pub(crate) const API: Self = Self {
        connections: 64,
        of_client: 16,
        oldest_ends: false,
        head: Duration::from_secs(10),
        unread: Duration::from_secs(10),
        life: Duration::from_hours(3),
        keep_alive: true,
    };

    /// Limits for probes: one request each, answered at once. A new connection is always served; the oldest
    /// one makes room.
    pub(crate) const HEALTH: Self = Self {
        connections: 32,
        of_client: 32,
        oldest_ends: true,
        head: Duration::from_secs(3),
        unread: Duration::from_secs(3),
        life: Duration::from_secs(10),
        keep_alive: false,
    };
}

/// Serves `router` until `over` is cancelled, which comes after the run at work, so that its progress is
/// still served.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<tls::Listener>>,
    router: Router,
    limits: Limits,
    over: CancellationToken,
) {
    let mut table = ConnectionTable::default();
    let mut connections = FuturesUnordered::new();
    loop {
        let room = limits.oldest_ends || connections.len() < limits.connections;
        tokio::select! {
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, peer)) => {
                    if let Some((id, ended)) = table.enter(peer.ip(), &limits) {
                        let served = connection(stream, peer, tls.clone(), router.clone(), limits);
                        connections.push(async move {
                            // A connection that makes room is dropped where it is.
                            ended.run_until_cancelled(served).await;
                            id
                        });
                    }
                }
                // Too many open files, for example: such an error passes, and the pause avoids a busy loop.
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            },
            Some(id) = connections.next() => table.leave(id),
            () = over.cancelled() => break,
        }
    }
    // A client that follows a run gets its end; a client that reads nothing is not waited for.
    let rest = async { while connections.next().await.is_some() {} };
    drop(tokio::time::timeout(REST, rest).await);
}

/// Present connections, oldest first.
#[derive(Debug, Default)]
struct ConnectionTable {
    next: u64,
    here: BTreeMap<u64, (IpAddr, CancellationToken)>,
    told: Option<Instant>,
}

impl ConnectionTable {
    /// Registers a connection; `None` if its client has too many.
    fn enter(&mut self, peer: IpAddr, limits: &Limits) -> Option<(u64, CancellationToken)> {
        let client = client(peer);
        let own = self.here.values().filter(|(other, _)| *other == client);
        if own.count() >= limits.of_client && !limits.oldest_ends {
            if self.told.is_none_or(|told| told.elapsed() >= TOLD) {
                self.told = Some(Instant::now());
                let most = limits.of_client;
                tracing::warn!(%peer, most, "a client has too many connections; more are closed");
            }
            return None;
        }
        if self.here.len() >= limits.connections
            && let Some((_, (_, ended))) = self.here.pop_first()
        {
            ended.cancel();
        }
        let id = self.next;
        self.next = id.saturating_add(1);
        let ended = CancellationToken::new();
        self.here.insert(id, (client, ended.clone()));
        Some((id, ended))
    }

    fn leave(&mut self, id: u64) {
        self.here.remove(&id);
    }
}

/// Returns the identity of a client: an address, or an IPv6 network, because one machine may use all its
/// addresses.
fn client(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

type Stream = Pin<Box<TimeoutWriter<TcpStream>>>;

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<tls::Listener>>,
    router: Router,
    limits: Limits,
) {
    let mut stream: Stream = Box::pin(TimeoutWriter::new(stream));
    stream.as_mut().set_timeout_pinned(Some(limits.unread));
    let Some(tls) = tls else {
        return serve_http(stream, peer, PeerCertificate(false), router, limits).await;
    };
    match tokio::time::timeout(limits.head, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            // A certificate of another authority ends the handshake.
            let shown = stream.get_ref().1.peer_certificates();
            let certified = PeerCertificate(shown.is_some_and(|chain| !chain.is_empty()));
            serve_http(stream, peer, certified, router, limits).await;
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with this client"),
        Err(_) => tracing::debug!(%peer, "a client did not end its handshake"),
    }
}

async fn serve_http<S>(
    stream: S,
    peer: SocketAddr,
    certified: PeerCertificate,
    router: Router,
    limits: Limits,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let service = router
        .layer(axum::Extension(ConnectInfo(peer)))
        .layer(axum::Extension(certified));
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .keep_alive(limits.keep_alive)
        .max_buf_size(HEAD_BYTES);
    let served = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    match tokio::time::timeout(limits.life, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a connection ended"),
        Err(_) => tracing::debug!(%peer, "a connection was cut: it had lived too long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_share_and_no_more() {
        let mut table = ConnectionTable::default();
        let mut of_first = Vec::new();
        for _ in 0..Limits::API.of_client {
            of_first.push(table.enter(ip("10.5.0.2"), &Limits::API).unwrap().0);
        }
        assert!(table.enter(ip("10.5.0.2"), &Limits::API).is_none());
        assert!(table.enter(ip("::ffff:10.5.0.2"), &Limits::API).is_none());
        assert!(table.enter(ip("10.5.0.3"), &Limits::API).is_some());
        table.leave(of_first[3]);
        assert!(table.enter(ip("10.5.0.2"), &Limits::API).is_some());
        // All addresses of one IPv6 network are one client.
        for last in 1..=Limits::API.of_client {
            let peer = ip(&format!("2001:db8::{last}"));
            assert!(table.enter(peer, &Limits::API).is_some());
        }
        assert!(table.enter(ip("2001:db8::ffff"), &Limits::API).is_none());
        assert!(table.enter(ip("2001:db8:0:1::1"), &Limits::API).is_some());
    }

    #[test]
    fn a_probe_is_served_whoever_came_before() {
        let mut table = ConnectionTable::default();
        let mut entered = Vec::new();
        for _ in 0..100 {
            entered.push(table.enter(ip("10.5.0.2"), &Limits::HEALTH).unwrap().1);
        }
        let ended = entered.iter().filter(|ended| ended.is_cancelled()).count();
        assert_eq!(ended, 100 - Limits::HEALTH.connections);
        assert!(entered[0].is_cancelled() && !entered[99].is_cancelled());
        assert_eq!(table.here.len(), Limits::HEALTH.connections);
    }
}
