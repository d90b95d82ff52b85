//! Refusals of an API server, as errors that quote no object.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

use super::Api;
use crate::kube::failure::KubeError;

/// Server's description of an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ApiStatus {
    pub(super) message: String,
    pub(super) reason: String,
    metadata: StatusMeta,
    pub(super) details: StatusDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatusMeta {
    #[serde(rename = "continue")]
    token: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusDetails {
    pub(super) retry_after_seconds: u64,
}

impl Api {
    /// Returns the error that an answer with an error status stands for.
    pub(super) fn refused(
        &self,
        path: &str,
        status: StatusCode,
        after: Option<u64>,
        text: &[u8],
    ) -> KubeError {
        let told: ApiStatus = serde_json::from_slice(text).unwrap_or_default();
        let message = if told.message.is_empty() {
            String::from_utf8_lossy(text).chars().take(300).collect()
        } else {
            told.message
        };
        let message = without_content(message.trim());
        let path = path.to_owned();
        match status {
            StatusCode::FORBIDDEN => KubeError::Forbidden { message },
            StatusCode::UNAUTHORIZED => KubeError::Unauthorized {
                server: self.server.clone(),
                message,
            },
            StatusCode::GONE => KubeError::Gone {
                path,
                token: Some(told.metadata.token).filter(|t| !t.is_empty()),
            },
            _ => {
                let seconds = after.unwrap_or(told.details.retry_after_seconds);
                KubeError::Status {
                    path,
                    status,
                    message,
                    retry_after: Some(Duration::from_secs(seconds)).filter(|d| !d.is_zero()),
                }
            }
        }
    }
}

/// Removes the quoted object from a server's message about a failed decoding: it may be a Secret.
fn without_content(message: &str) -> String {
    const QUOTED: &str = " is missing in '";
    match message.split_once(QUOTED) {
        Some((before, _)) => format!("{before} is missing"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::without_content;

    #[test]
    fn an_object_that_is_quoted_is_not_told() {
        let quoted = r#"Object 'Kind' is missing in '{"data":{"password":"aHVudGVyMg=="}}'"#;
        assert_eq!(without_content(quoted), "Object 'Kind' is missing");
        assert_eq!(
            without_content("no matching prefix found"),
            "no matching prefix found"
        );
    }
}
