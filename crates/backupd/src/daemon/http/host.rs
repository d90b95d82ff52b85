//! Check of the requested host name: a request for another name is refused.
//!
//! A page in a browser can point its own DNS name at this machine, and could then read answers as its own.
//! The requested host name reveals such a request.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::Arc;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use super::Refusal;
use crate::tls;

/// Names that the listener answers to, in addition to addresses and `localhost`.
#[derive(Debug, Default)]
pub(crate) struct HostNames {
    /// Names from the flags, and the machine's own name.
    pub(crate) given: Vec<String>,
    /// Listener whose certificate contains further names.
    pub(crate) tls: Option<Arc<tls::Listener>>,
}

impl HostNames {
    /// Accepts a request if it names this listener.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        let bad = |error: &str| Refusal::new(StatusCode::BAD_REQUEST, error);
        let mut asked = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (asked.next(), asked.next()) else {
            return Err(bad("want the header Host, once"));
        };
        let host = host.to_str().ok().and_then(|h| Authority::from_str(h).ok());
        let host = host.ok_or_else(|| bad("the header Host is not a host"))?;
        for authority in [Some(&host), uri.authority()].into_iter().flatten() {
            let host = authority.host().trim_matches(['[', ']']);
            if !self.has(host.trim_end_matches('.')) {
                let error = format!(
                    "`{host}` is not a name of this daemon; use its address, or start it with \
                     --name {host}"
                );
                return Err(Refusal::new(StatusCode::MISDIRECTED_REQUEST, error));
            }
        }
        Ok(())
    }

    fn has(&self, host: &str) -> bool {
        // A page that rebinds its DNS name asks for a name, never for an address.
        host.parse::<IpAddr>().is_ok()
            || host.eq_ignore_ascii_case("localhost")
            || self
                .given
                .iter()
                .any(|name| name.eq_ignore_ascii_case(host))
            || self.tls.as_ref().is_some_and(|tls| tls.is_named(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(names: &HostNames, host: &str, uri: &str) -> Result<(), StatusCode> {
        let headers = [(header::HOST, host.parse().unwrap())];
        let uri = uri.parse().unwrap();
        let checked = names.check(&uri, &headers.into_iter().collect());
        checked.map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_request_for_another_name_is_refused() {
        let names = HostNames {
            given: vec!["butler.example.org".to_owned(), "pod-1".to_owned()],
            tls: None,
        };
        for own in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.5.0.2:80",
            "localhost:8080",
            "LocalHost",
            "Butler.Example.org:8080",
            "butler.example.org.",
            "pod-1",
        ] {
            assert_eq!(answers(&names, own, "/v1/status"), Ok(()), "{own}");
        }
        for other in [
            "attacker.example.com",
            "attacker.example.com:8080",
            "127.0.0.1.attacker.example.com",
            "localhost.attacker.example.com",
            "xbutler.example.org",
        ] {
            let refused = answers(&names, other, "/v1/status");
            assert_eq!(refused, Err(StatusCode::MISDIRECTED_REQUEST), "{other}");
        }
        // The name in the request line counts as well.
        let refused = answers(&names, "localhost", "http://attacker.example.com/v1/status");
        assert_eq!(refused, Err(StatusCode::MISDIRECTED_REQUEST));
        for none in ["", "a b", "@"] {
            assert!(answers(&names, none, "/v1/status").is_err(), "{none:?}");
        }
        let missing = names.check(&Uri::from_static("/"), &HeaderMap::new());
        assert!(missing.is_err());
    }
}
