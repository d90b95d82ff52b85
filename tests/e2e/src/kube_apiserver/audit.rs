//! Requests of a user to an API server, from its own audit log.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::{KubeApiserver, Storage};
use crate::Folder;
use crate::etcd::Etcd;
use crate::folder::write_private;

/// File of the log, in the server's folder.
const LOG: &str = "audit.log";

/// Request that was answered, or is being answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Verb, such as `get`, `list` or `watch`.
    pub verb: String,
    /// Plural and group of the objects; empty for a request without objects.
    pub resource: String,
    /// Path and query.
    pub uri: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    #[serde(default)]
    object_ref: Option<ObjectRef>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectRef {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    api_group: String,
}

/// Returns the flags of a server in `folder` that logs the requests of `user`.
pub(super) fn flags(folder: &Path, user: &str) -> Result<[(&'static str, String); 2]> {
    let policy = folder.join("audit-policy.yaml");
    let text = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        // Requests that last are logged when their answer begins, all others at its end.
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata", "users": [user] }, { "level": "None" }],
    });
    write_private(&policy, text.to_string().as_bytes())?;
    Ok([
        ("audit-policy-file", policy.display().to_string()),
        ("audit-log-path", folder.join(LOG).display().to_string()),
    ])
}

impl KubeApiserver {
    /// Starts a server as [`KubeApiserver::start`] does, with a log of the requests of `user`.
    ///
    /// # Errors
    /// The server cannot be found, built or started.
    pub async fn start_audited(
        folder: &Folder,
        name: &str,
        etcd: &Etcd,
        user: &str,
    ) -> Result<Self> {
        Self::start_told(folder, name, &Storage::whole(etcd), Some(user)).await
    }

    /// Returns the requests since the start, in the order of the answers.
    ///
    /// # Errors
    /// There is no such log, or it cannot be read.
    pub fn audited(&self) -> Result<Vec<Request>> {
        let path = self.folder.join(LOG);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("reading {}", path.display()))?;
        // The last line may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole.lines().filter(|line| !line.is_empty());
        let requests = lines.map(|line| {
            let line: Line = serde_json::from_str(line).context("reading the audit log")?;
            let resource = line.object_ref.map(|r| match r.api_group.as_str() {
                "" => r.resource,
                group => format!("{}.{group}", r.resource),
            });
            Ok(Request {
                verb: line.verb,
                resource: resource.unwrap_or_default(),
                uri: line.request_uri,
            })
        });
        requests.collect()
    }
}
