//! Parts of an `s3://` URL.

use std::fmt;
use std::path::PathBuf;

use url::Url;
use url::form_urlencoded::Serializer;

use super::{ParseUrlError, has_user};

/// Longest prefix; with the 512 bytes of a key it stays below the 1 024 that S3 allows.
const MAX_PREFIX: usize = 500;

/// Parameters after `?`, for messages.
const KEYS: &str = "want endpoint=URL, region=NAME, path-style=true|false or ca=FILE";

/// `s3://BUCKET/PREFIX?endpoint=URL&region=R&path-style=true&ca=FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Url {
    /// The bucket.
    pub bucket: String,
    /// Prefix of keys, without slashes at its ends; may be empty.
    pub prefix: String,
    /// The server, `http` or `https`; `None` for AWS.
    pub endpoint: Option<String>,
    /// The region, if given.
    pub region: Option<String>,
    /// Whether the bucket goes into the path. Defaults to true where an endpoint is given: few servers except
    /// AWS have a host name per bucket.
    pub path_style: bool,
    /// A file of CA certificates in PEM to trust for the endpoint.
    pub ca: Option<PathBuf>,
}

impl S3Url {
    pub(super) fn parse(url: &Url) -> Result<Self, ParseUrlError> {
        let bucket = bucket(url)?;
        let prefix = prefix(url)?;
        let mut endpoint = None;
        let mut region = None;
        let mut path_style = None;
        let mut ca = None;
        for (name, value) in url.query_pairs() {
            let part = || format!("`{name}`");
            let slot = match name.as_ref() {
                "endpoint" => &mut endpoint,
                "region" => &mut region,
                "path-style" => &mut path_style,
                "ca" => &mut ca,
                _ => return Err(ParseUrlError::new(part(), format!("is not known; {KEYS}"))),
            };
            if value.is_empty() {
                return Err(ParseUrlError::new(part(), format!("is empty; {KEYS}")));
            }
            if slot.replace(value.into_owned()).is_some() {
                return Err(ParseUrlError::new(part(), "is given twice"));
            }
        }
        let endpoint = endpoint.as_deref().map(server).transpose()?;
        let path_style = match path_style.as_deref() {
            Some("true") => true,
            Some("false") => false,
            None => endpoint.is_some(),
            Some(_) => return Err(ParseUrlError::new("`path-style`", "must be true or false")),
        };
        Ok(Self {
            bucket,
            prefix,
            endpoint,
            region: region.as_deref().map(region_name).transpose()?,
            path_style,
            ca: ca.map(PathBuf::from),
        })
    }
}

fn bucket(url: &Url) -> Result<String, ParseUrlError> {
    let bucket = url.host_str().unwrap_or_default();
    if bucket.is_empty() {
        let problem = "is missing; want s3://BUCKET/PREFIX";
        return Err(ParseUrlError::new("the bucket", problem));
    }
    if url.port().is_some() {
        return Err(ParseUrlError::new(
            "the bucket",
            "has a port, as if it were a server; want s3://BUCKET/PREFIX?endpoint=https://HOST:PORT",
        ));
    }
    // Wider than AWS' own current rule, since other servers and older buckets are.
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if bucket.len() < 3 || bucket.len() > 255 || !bucket.bytes().all(allowed) {
        return Err(ParseUrlError::new(
            format!("the bucket `{bucket}`"),
            "must be 3 to 255 letters, digits, dots, hyphens and underscores",
        ));
    }
    Ok(bucket.to_owned())
}

fn prefix(url: &Url) -> Result<String, ParseUrlError> {
    let prefix = url.path().trim_matches('/');
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-=+@".contains(&b);
    let segment = |s: &str| !s.is_empty() && s.bytes().all(allowed);
    if prefix.len() > MAX_PREFIX || !(prefix.is_empty() || prefix.split('/').all(segment)) {
        return Err(ParseUrlError::new(
            "the prefix",
            format!(
                "must be names of letters, digits and ._-=+@ with single slashes between them, \
                 {MAX_PREFIX} characters at most"
            ),
        ));
    }
    Ok(prefix.to_owned())
}

fn server(text: &str) -> Result<String, ParseUrlError> {
    let wrong = || {
        let problem = "must be a URL like https://s3.example.net:9000";
        ParseUrlError::new("`endpoint`", problem)
    };
    let url = Url::parse(text).map_err(|_| wrong())?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(has_user("`endpoint`"));
    }
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    if !plain || !matches!(url.scheme(), "http" | "https") {
        return Err(wrong());
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn region_name(text: &str) -> Result<String, ParseUrlError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    let problem = "must be letters, digits and hyphens, as in eu-central-1";
    Err(ParseUrlError::new("`region`", problem))
}

impl fmt::Display for S3Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}", self.bucket)?;
        if !self.prefix.is_empty() {
            write!(f, "/{}", self.prefix)?;
        }
        let mut query = Serializer::new(String::new());
        if let Some(endpoint) = &self.endpoint {
            query.append_pair("endpoint", endpoint);
        }
        if let Some(region) = &self.region {
            query.append_pair("region", region);
        }
        if self.path_style != self.endpoint.is_some() {
            query.append_pair("path-style", if self.path_style { "true" } else { "false" });
        }
        if let Some(ca) = &self.ca {
            query.append_pair("ca", &ca.to_string_lossy());
        }
        let query = query.finish();
        // Unescaped where a URL allows it after `?`, since people read and copy this.
        let query = query.replace("%3A", ":").replace("%2F", "/");
        if query.is_empty() {
            return Ok(());
        }
        write!(f, "?{query}")
    }
}
