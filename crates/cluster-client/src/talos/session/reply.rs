//! Requests and replies in Talos' form: headers, errors inside replies, addresses in URLs.

use std::net::IpAddr;

use tonic::metadata::MetadataValue;
use tonic::{Request, Status};

use crate::talos::proto::common::Metadata;

/// Headers of a call, as `talosctl` sends them.
#[derive(Debug, Clone)]
pub(in super::super) struct TalosHeaders {
    pub(super) node: Option<String>,
    pub(super) cluster: Option<String>,
}

impl TalosHeaders {
    /// Returns a request with these headers.
    ///
    /// Always uses `node`, never `nodes`: with `nodes`, errors hide in replies that are OK.
    pub(in super::super) fn request<M>(&mut self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        let headers = request.metadata_mut();
        headers.insert("runtime", MetadataValue::from_static("Talos"));
        for (name, value) in [("node", &self.node), ("context", &self.cluster)] {
            if let Some(value) = value.as_deref().and_then(|value| value.parse().ok()) {
                headers.insert(name, value);
            }
        }
        request
    }
}

/// Returns the first message of a reply, unless a message carries an error in-band.
pub(in super::super) fn only<M>(
    messages: Vec<M>,
    metadata: impl Fn(&M) -> Option<&Metadata>,
) -> Result<M, Status> {
    for message in &messages {
        in_band(metadata(message))?;
    }
    messages
        .into_iter()
        .next()
        .ok_or_else(|| Status::unknown("the reply holds no message"))
}

/// Returns the error that a reply may carry although the call itself ended with OK.
pub(in super::super) fn in_band(metadata: Option<&Metadata>) -> Result<(), Status> {
    let Some(metadata) = metadata else {
        return Ok(());
    };
    let code = metadata.status.as_ref().map_or(0, |status| status.code);
    if metadata.error.is_empty() && code == 0 {
        return Ok(());
    }
    let code = if code == 0 {
        tonic::Code::Unknown
    } else {
        tonic::Code::from(code)
    };
    let text = if metadata.error.is_empty() {
        metadata
            .status
            .as_ref()
            .map_or("", |status| status.message.as_str())
    } else {
        metadata.error.as_str()
    };
    Err(Status::new(code, text))
}

/// Returns the address in a URL, or `None` if the host is a name.
pub(in super::super) fn host_of(url: &str) -> Option<IpAddr> {
    match url::Url::parse(url).ok()?.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}
