//! Proxies that connections go through: chosen in one place for every server.
//!
//! The rules are those of curl and Go. The value of a variable may contain a password and is never shown.

use std::fmt;

use http::Uri;
use http::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;

mod dial;

pub use dial::{Dialer, ProxyStream};

/// Hosts never reached through a proxy, which would reach itself, or show its own identity to its cloud.
const NEAR: &str = "localhost,127.0.0.0/8,::1,169.254.0.0/16,fe80::/10,fd00:ec2::254";
/// Server that stands for all servers of its scheme; rules about hosts are applied elsewhere.
const ANY: &str = "https://any.invalid";

/// Error for a proxy that is configured but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The value is not the address of a proxy.
    #[error(
        "{named} is not the address of a proxy; want http://HOST:PORT, https://HOST:PORT or \
         socks5://HOST:PORT"
    )]
    NoAddress {
        /// Name of the variable or field.
        named: String,
    },
    /// S3 connections cannot use it.
    #[error(
        "{named} names a SOCKS proxy, and connections to S3 go through http:// and https:// proxies only; \
         name one of those, or add the store's host to NO_PROXY"
    )]
    SocksForS3 {
        /// Name of the variable.
        named: String,
    },
}

/// Proxy settings from environment variables.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<ProxyVariable>,
    http: Option<ProxyVariable>,
    exempt: Vec<Exemption>,
}

/// Variable and its value.
#[derive(Clone, PartialEq, Eq)]
struct ProxyVariable {
    variable: String,
    value: String,
}

/// Entry of `NO_PROXY`.
#[derive(Clone, PartialEq, Eq)]
struct Exemption {
    host: String,
    /// The only port it applies to, if given.
    port: Option<u16>,
}

/// Proxy to connect through.
#[derive(Clone)]
pub struct Proxy {
    /// Its address with its scheme, without user and password.
    uri: Uri,
    basic: Option<HeaderValue>,
    login: Option<(String, String)>,
    /// The address as it was written, with a scheme.
    written: String,
}

impl Proxies {
    /// Reads the variables from `get`: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, each in capitals or, if
    /// that is empty, in small letters.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Self {
        let find = |name: &str| {
            let small = name.to_ascii_lowercase();
            let names = [name.to_owned(), small];
            names.into_iter().find_map(|variable| {
                let value = get(&variable)?.trim().to_owned();
                (!value.is_empty()).then_some(ProxyVariable { variable, value })
            })
        };
        let exempt = find("NO_PROXY").map(|named| named.value);
        let entries = exempt.as_deref().unwrap_or_default();
        let entries = entries.split(|c: char| c == ',' || c.is_whitespace());
        Self {
            https: find("HTTPS_PROXY"),
            http: find("HTTP_PROXY"),
            exempt: entries.filter_map(Exemption::read).collect(),
        }
    }

    /// Returns the proxy for connections to `server`; `None` for a direct connection.
    ///
    /// # Errors
    /// [`ProxyError`] when the value of the proxy variable cannot be parsed.
    pub fn of(&self, server: &Uri) -> Result<Option<Proxy>, ProxyError> {
        let Some(named) = self.named(server.scheme_str() == Some("https")) else {
            return Ok(None);
        };
        // A value that cannot be parsed is an error even where an exemption would bypass it.
        named.proxy()?;
        let port = port(server);
        // The matcher applies `*` to names only.
        if self
            .exempt
            .iter()
            .any(|entry| entry.host == "*" && entry.is_for(port))
        {
            return Ok(None);
        }
        let exempt = self.exempt(port);
        let matcher = Matcher::builder().all(named.address()).no(exempt).build();
        match matcher.intercept(server) {
            Some(_) => named.proxy().map(Some),
            None => Ok(None),
        }
    }

    /// Returns the proxy for S3 servers of a scheme and port, and the hosts that are reached without it.
    pub fn to_s3(&self, server: &Uri) -> Result<Option<(String, String)>, ProxyError> {
        let Some(proxy) = self.of(server)? else {
            return Ok(None);
        };
        if proxy.is_socks() {
            let named = self.named(server.scheme_str() == Some("https"));
            let named = named.map_or_else(String::new, |named| named.variable.clone());
            return Err(ProxyError::SocksForS3 { named });
        }
        Ok(Some((proxy.written, self.exempt(port(server)))))
    }

    fn named(&self, secure: bool) -> Option<&ProxyVariable> {
        if secure {
            self.https.as_ref()
        } else {
            self.http.as_ref()
        }
    }

    /// Returns the hosts that are reached without a proxy on `port`, for the matcher.
    fn exempt(&self, port: u16) -> String {
        let entries = self.exempt.iter();
        let entries = entries.filter(|entry| entry.is_for(port));
        entries.fold(NEAR.to_owned(), |list, entry| list + "," + &entry.host)
    }
}

impl Exemption {
    fn is_for(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }

    fn read(entry: &str) -> Option<Self> {
        if entry.is_empty() {
            return None;
        }
        let (host, port) = if let Some(bracketed) = entry.strip_prefix('[') {
            let (host, rest) = bracketed.split_once(']')?;
            (host, rest.strip_prefix(':'))
        } else {
            match entry.split_once(':') {
                // Several colons are an IPv6 address.
                Some((host, port)) if !port.contains(':') => (host, Some(port)),
                _ => (entry, None),
            }
        };
        // `*.example.net` means the same as `.example.net`.
        let host = host
            .strip_prefix('*')
            .filter(|rest| rest.starts_with('.'))
            .unwrap_or(host);
        let port = port.map(str::parse).transpose().ok()?;
        Some(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl ProxyVariable {
    fn address(&self) -> String {
        if self.value.contains("://") {
            self.value.clone()
        } else {
            format!("http://{}", self.value)
        }
    }

    fn proxy(&self) -> Result<Proxy, ProxyError> {
        Proxy::read(&self.variable, &self.address())
    }
}

impl Proxy {
    /// Parses the proxy at `address`, which is the value of `named`.
    ///
    /// # Errors
    /// [`ProxyError::NoAddress`].
    pub fn read(named: &str, address: &str) -> Result<Self, ProxyError> {
        let wrong = || ProxyError::NoAddress {
            named: named.to_owned(),
        };
        let address = address.trim();
        // The matcher splits it into scheme, host, user and password.
        let matcher = Matcher::builder().all(address).build();
        let found = matcher
            .intercept(&Uri::from_static(ANY))
            .ok_or_else(wrong)?;
        let uri = found.uri().clone();
        let known = matches!(
            uri.scheme_str(),
            Some("http" | "https" | "socks5" | "socks5h")
        );
        if !known || uri.host().is_none_or(str::is_empty) {
            return Err(wrong());
        }
        let login = found.raw_auth();
        Ok(Self {
            basic: found.basic_auth().cloned(),
            login: login.map(|(user, password)| (user.to_owned(), password.to_owned())),
            uri,
            written: address.to_owned(),
        })
    }

    fn is_socks(&self) -> bool {
        !matches!(self.uri.scheme_str(), Some("http" | "https"))
    }

    /// Returns the address as it was written, for programs that need it; may contain a password.
    pub fn written(&self) -> &str {
        &self.written
    }
}

/// Returns the port of a server, or the usual port of its scheme if none is written.
fn port(server: &Uri) -> u16 {
    let usual = if server.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    server.port_u16().unwrap_or(usual)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map_or("", |a| a.as_str());
        write!(f, "{scheme}://{authority}")
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = [&self.https, &self.http];
        let names = set.into_iter().flatten().map(|named| &named.variable);
        f.debug_list().entries(names).finish()
    }
}

#[cfg(test)]
mod tests;
