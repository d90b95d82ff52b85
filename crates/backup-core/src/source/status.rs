//! What a gRPC server or the transport below said, in words that fit a terminal.

use std::error::Error;

use tonic::Status;

/// The words of the server, or of the transport below, with all that lies below them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Cause(pub(super) String);

impl Cause {
    /// What a status and all below it say, each thing once.
    pub(super) fn of(status: &Status) -> Self {
        let mut texts: Vec<String> = Vec::new();
        let mut next = status.source();
        while let Some(error) = next {
            let text = printable(&error.to_string());
            // The upper layers of the transport say no more than that they failed.
            if text != "transport error" && !texts.contains(&text) {
                texts.push(text);
            }
            next = error.source();
        }
        if texts.is_empty() {
            texts.push(format!("{:?}", status.code()));
            if !status.message().is_empty() {
                texts.push(printable(status.message()));
            }
        }
        Self(texts.join(": "))
    }
}

/// Why a connection did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoWay {
    /// The name has no address.
    Dns,
    /// The server's certificate is of an authority that is not believed.
    Authority,
    /// The server's certificate does not have the name or address that was dialled.
    Name,
    /// The server's certificate is not valid at this time.
    Dates,
    /// The server's certificate is not believed for another reason.
    Certificate,
    /// The server refuses the client certificate.
    Client,
    /// Nobody answers, or it is not known why.
    Silence,
}

impl NoWay {
    /// What the words of the transport tell.
    pub(super) fn of(cause: &Cause) -> Self {
        let text = cause.0.as_str();
        let has = |word: &str| text.contains(word);
        if has("invalid peer certificate") {
            // Two authorities may have one name, then the signature differs.
            if has("UnknownIssuer") || has("BadSignature") {
                return Self::Authority;
            }
            if has("not valid for name") || has("NotValidForName") {
                return Self::Name;
            }
            if ["expired", "Expired", "not valid yet", "NotValidYet"]
                .into_iter()
                .any(has)
            {
                return Self::Dates;
            }
            return Self::Certificate;
        }
        if has("received fatal alert") {
            return Self::Client;
        }
        if has("dns error") || has("failed to lookup address") {
            return Self::Dns;
        }
        Self::Silence
    }
}

/// A server's text with control characters taken out and of bounded length, fit for a terminal.
pub(super) fn printable(text: &str) -> String {
    /// Longer texts hold stack traces, not reasons.
    const LONGEST: usize = 500;
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
