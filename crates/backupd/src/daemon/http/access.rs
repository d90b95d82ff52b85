//! Access rules: a request needs the token or a certificate. Where neither is configured, only this machine
//! may ask for restore points, and everyone may read.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use backup_cli::config::{ConfigError, read_token};
use backup_core::digest::Digest;
use secrecy::ExposeSecret as _;

use super::{Api, Refusal};

/// Shortest accepted token; a shorter token can be guessed.
const SHORTEST: usize = 16;

/// Credentials that requests need.
#[derive(Debug, Default)]
pub(crate) struct AccessRules {
    pub(crate) token: Option<Token>,
    /// Whether a certificate is accepted as well.
    pub(crate) certificates: bool,
    /// Whether reads need no credentials.
    pub(crate) open_reads: bool,
}

/// Purpose of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RequestKind {
    /// Reading.
    Reads,
    /// Taking a restore point.
    Writes,
}

/// Whether the client of a connection has shown a certificate of the authority.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerCertificate(pub(crate) bool);

/// Bearer token, kept as its digest so that comparing takes the same time for right and wrong tokens.
pub(crate) struct Token(Digest);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads the token's file.
    ///
    /// # Errors
    /// Fails when the file cannot be read or is open to others, or its token is too short.
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = read_token(path, SHORTEST)?;
        Ok(Self(Digest::of(text.expose_secret().as_bytes())))
    }

    fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        given.is_some_and(|given| Digest::of(given.trim().as_bytes()) == self.0)
    }
}

/// Passes a request on, or answers with the missing credentials.
pub(super) async fn guard(
    State((api, wants)): State<(Arc<Api>, RequestKind)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(certified): Extension<PeerCertificate>,
    request: Request,
    next: Next,
) -> Response {
    let (uri, headers) = (request.uri(), request.headers());
    // A page in a browser does not act for its user, whatever credentials the browser adds to its requests.
    let checked = check_origin(headers)
        .and_then(|()| api.names.check(uri, headers))
        .and_then(|()| match wants {
            RequestKind::Reads => check_read(&api.access, certified, headers),
            RequestKind::Writes => check_write(&api.access, peer.ip(), certified, headers),
        });
    match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::warn!(%peer, error = refusal.error, "a request was refused");
            refusal.into_response()
        }
    }
}

fn check_origin(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(header::ORIGIN) {
        let error = "not for pages in a browser";
        return Err(Refusal::new(StatusCode::FORBIDDEN, error));
    }
    Ok(())
}

fn check_read(
    access: &AccessRules,
    certified: PeerCertificate,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let configured = access.token.is_some() || access.certificates;
    if access.open_reads || !configured {
        return Ok(());
    }
    check_credentials(access, certified, headers)
}

fn check_write(
    access: &AccessRules,
    peer: IpAddr,
    certified: PeerCertificate,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if access.token.is_some() || access.certificates {
        return check_credentials(access, certified, headers);
    }
    if peer.to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "without --token-file or --client-ca the daemon takes requests for restore points only from its own machine",
    ))
}

/// Checks that the client shows the configured credentials.
fn check_credentials(
    access: &AccessRules,
    certified: PeerCertificate,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    if access.certificates && certified.0 {
        return Ok(());
    }
    let wanted = match (&access.token, access.certificates) {
        (Some(token), _) if token.is_in(headers) => return Ok(()),
        (Some(_), true) => "want the token of --token-file, or a certificate of --client-ca",
        (Some(_), false) => {
            "want the header `Authorization: Bearer TOKEN` with the token of --token-file"
        }
        (None, _) => "want a certificate of --client-ca",
    };
    Err(Refusal::new(StatusCode::UNAUTHORIZED, wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()));
        pairs.collect()
    }

    #[test]
    fn without_a_token_only_this_machine_is_heard() {
        let none = HeaderMap::new();
        for (peer, is) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.5.0.2", false),
            ("::ffff:10.5.0.2", false),
        ] {
            assert_eq!(
                asks(&AccessRules::default(), peer, false, &none),
                is,
                "{peer}"
            );
        }
    }

    #[test]
    fn a_page_in_a_browser_is_refused_before_anything_else() {
        let page = headers(&[
            (header::ORIGIN, "https://example.com"),
            (header::AUTHORIZATION, "Bearer a token of enough length"),
        ]);
        let refused = check_origin(&page).unwrap_err();
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert!(check_origin(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn reads_want_what_is_configured_unless_they_are_open() {
        let good = headers(&[(header::AUTHORIZATION, "Bearer a token of enough length")]);
        let none = HeaderMap::new();
        let reads = |access: &AccessRules, certified, headers: &HeaderMap| {
            check_read(access, PeerCertificate(certified), headers).is_ok()
        };
        assert!(reads(&AccessRules::default(), false, &none));
        for (token, certificates) in [(true, false), (false, true), (true, true)] {
            let mut access = AccessRules {
                token: token.then(|| Token(Digest::of(b"a token of enough length"))),
                certificates,
                open_reads: false,
            };
            assert!(!reads(&access, false, &none));
            assert_eq!(reads(&access, false, &good), token);
            assert_eq!(reads(&access, true, &none), certificates);
            access.open_reads = true;
            assert!(reads(&access, false, &none));
        }
    }

    fn asks(access: &AccessRules, peer: &str, certified: bool, headers: &HeaderMap) -> bool {
        let peer = peer.parse().unwrap();
        check_write(access, peer, PeerCertificate(certified), headers).is_ok()
    }

    #[test]
    fn what_is_configured_is_wanted_of_everybody() {
        let token = || Some(Token(Digest::of(b"a token of enough length")));
        let with = |text: &str| headers(&[(header::AUTHORIZATION, text)]);
        let (none, good) = (HeaderMap::new(), with("Bearer a token of enough length"));
        let bad = [
            with("Bearer a token"),
            with("Basic a token of enough length"),
            with("Bearer "),
            none.clone(),
        ];
        for certificates in [false, true] {
            let access = AccessRules {
                token: token(),
                certificates,
                ..AccessRules::default()
            };
            assert!(asks(&access, "10.5.0.2", false, &good));
            for bad in &bad {
                assert!(!asks(&access, "127.0.0.1", false, bad), "{bad:?}");
                assert_eq!(
                    asks(&access, "127.0.0.1", true, bad),
                    certificates,
                    "{bad:?}"
                );
            }
        }
        let access = AccessRules {
            certificates: true,
            ..AccessRules::default()
        };
        assert!(asks(&access, "10.5.0.2", true, &none));
        assert!(!asks(&access, "127.0.0.1", false, &none));
        assert!(!asks(&access, "127.0.0.1", false, &good));
    }
}
