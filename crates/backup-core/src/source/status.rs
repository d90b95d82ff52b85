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

/// A server's text with control characters taken out and of bounded length, fit for a terminal.
pub(super) fn printable(text: &str) -> String {
    /// Longer texts hold stack traces, not reasons.
    const LONGEST: usize = 500;
    text.chars()
        .take(LONGEST)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
