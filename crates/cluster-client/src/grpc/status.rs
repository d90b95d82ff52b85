//! Error texts of a gRPC server or of the transport below it, made fit for a terminal.

use backup_core::causes;
use tonic::Status;

/// Error text of the server or of the transport, with the texts of all errors below it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Cause(pub(crate) String);

impl Cause {
    /// Joins the texts of a status and of all errors below it, each text once.
    pub(crate) fn of(status: &Status) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for error in causes::below(status) {
            let text = printable(&error.to_string());
            // The upper layers of the transport report only that they failed.
            if text != "transport error" && !texts.contains(&text) {
                texts.push(text);
            }
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

/// Reason why a connection failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectFailure {
    /// The name has no address.
    Dns,
    /// The server's certificate is signed by an authority that is not trusted.
    Authority,
    /// The server's certificate does not contain the name or address that was dialled.
    Name,
    /// The server's certificate is not valid at this time.
    Dates,
    /// The server's certificate is rejected for another reason.
    Certificate,
    /// The server refuses the client certificate.
    Client,
    /// The server does not answer, or the reason is unknown.
    NoAnswer,
}

impl ConnectFailure {
    /// Derives the reason from the error text of the transport.
    pub(crate) fn of(cause: &Cause) -> Self {
        let text = cause.0.as_str();
        let has = |word: &str| text.contains(word);
        if has("invalid peer certificate") {
            // Two authorities may have the same name; then the signature does not match.
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
        Self::NoAnswer
    }
}

/// Returns a server's text without control characters and of bounded length, fit for a terminal.
pub(crate) fn printable(text: &str) -> String {
    /// Longest text, in characters; longer texts hold stack traces, not reasons.
    const LONGEST: usize = 500;
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
