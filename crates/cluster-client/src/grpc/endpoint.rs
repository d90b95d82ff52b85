//! Parser of endpoints as users write them.

use std::fmt;
use std::net::IpAddr;

/// Host and port to connect to. The host stays as written, since the certificate is checked against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Name or IP address, without brackets.
    host: String,
    port: u16,
}

impl Endpoint {
    /// Parses a host, `host:port`, an IPv6 address with or without brackets, or a URL. Without a port, a
    /// URL gets the port of https, and anything else gets `usual_port`.
    ///
    /// # Errors
    /// When `text` is not an endpoint; the error says what is wrong and which forms are allowed.
    pub(crate) fn parse(text: &str, usual_port: u16) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is not an endpoint: write a host, host:port, [IPv6]:port or \
                 https://host:port"
            )
        };
        // The Go client gives a URL the port of its scheme, and anything else its own.
        let (rest, default_port) = match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (rest, 443),
            Some((scheme, _)) => {
                return Err(format!(
                    "{text:?} has the scheme {scheme}: only https, or none, is possible"
                ));
            }
            None => (text, usual_port),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Self {
                host: rest.to_owned(),
                port: default_port,
            });
        }
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (host, after) = inner.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (
                host,
                after
                    .strip_prefix(':')
                    .or_else(|| after.is_empty().then_some(""))
                    .ok_or_else(bad)?,
            )
        } else {
            rest.split_once(':').unwrap_or((rest, ""))
        };
        let port = if port.is_empty() {
            default_port
        } else {
            port.parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(bad)?
        };
        if rustls_pki_types::ServerName::try_from(host).is_err() {
            return Err(bad());
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// Returns the host as written, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host as an address, or `None` if it is a name.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_endpoint_gets_its_port() {
        for (text, dialled) in [
            ("10.0.0.2", "10.0.0.2:50000"),
            ("10.0.0.2:6000", "10.0.0.2:6000"),
            ("cp.example.com", "cp.example.com:50000"),
            ("talos.default", "talos.default:50000"),
            ("https://cp.example.com", "cp.example.com:443"),
            ("https://cp.example.com/", "cp.example.com:443"),
            ("https://cp.example.com:50000", "cp.example.com:50000"),
            ("fd00::1", "[fd00::1]:50000"),
            ("[fd00::1]", "[fd00::1]:50000"),
            ("[fd00::1]:6000", "[fd00::1]:6000"),
            ("https://[fd00::1]", "[fd00::1]:443"),
        ] {
            assert_eq!(Endpoint::parse(text, 50_000).unwrap().to_string(), dialled);
        }
    }

    #[test]
    fn an_ipv6_literal_loses_its_brackets() {
        let endpoint = Endpoint::parse("[fd00::1]:6000", 50_000).unwrap();
        assert_eq!(endpoint.host(), "fd00::1");
        assert!(endpoint.ip().is_some());
    }

    #[test]
    fn nonsense_is_refused_with_what_is_allowed() {
        for text in [
            "",
            "http://a",
            "a:b",
            "a:0",
            "a:70000",
            "[fd00::1",
            "[a]:1",
            "[fd00::1]x",
            "a b",
        ] {
            assert!(Endpoint::parse(text, 50_000).is_err(), "{text}");
        }
    }
}
