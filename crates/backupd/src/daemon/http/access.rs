//! Who may ask for a restore point: who has the token, or, without one, who is on this machine.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use backup_cli::config::{ConfigError, read_token};
use backup_core::digest::Digest;
use secrecy::ExposeSecret as _;

use super::{Api, Refusal};

/// The shortest token; shorter ones can be guessed.
const SHORTEST: usize = 16;

/// A bearer token, kept as its digest: equal ones take as long to compare as others.
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
    /// When it cannot be read, is open to others, or its token is too short.
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

/// Lets a request through, or says what it lacks.
pub(super) async fn guard(
    State(api): State<Arc<Api>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match allowed(api.token.as_ref(), peer.ip(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(refusal) => {
            tracing::warn!(%peer, error = refusal.error, "a request was refused");
            refusal.into_response()
        }
    }
}

fn allowed(token: Option<&Token>, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    if let Some(token) = token {
        return if token.is_in(headers) {
            Ok(())
        } else {
            Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "want the header `Authorization: Bearer TOKEN` with the token of --token-file",
            ))
        };
    }
    // A page in a browser of this machine is not its user.
    if headers.contains_key(header::ORIGIN) {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "not for pages in a browser",
        ));
    }
    if peer.to_canonical().is_loopback() {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "without --token-file the daemon takes requests for restore points only from its own machine",
    ))
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
                allowed(None, peer.parse().unwrap(), &none).is_ok(),
                is,
                "{peer}"
            );
        }
        let page = headers(&[(header::ORIGIN, "https://example.com")]);
        assert!(allowed(None, "127.0.0.1".parse().unwrap(), &page).is_err());
    }

    #[test]
    fn with_a_token_it_is_wanted_of_everybody() {
        let token = Token(Digest::of(b"a token of enough length"));
        let local: IpAddr = "127.0.0.1".parse().unwrap();
        let with = |text: &str| headers(&[(header::AUTHORIZATION, text)]);
        assert!(
            allowed(
                Some(&token),
                local,
                &with("Bearer a token of enough length")
            )
            .is_ok()
        );
        for bad in [
            "Bearer a token",
            "Basic a token of enough length",
            "Bearer ",
        ] {
            assert!(allowed(Some(&token), local, &with(bad)).is_err(), "{bad}");
        }
        assert!(allowed(Some(&token), local, &HeaderMap::new()).is_err());
    }
}
