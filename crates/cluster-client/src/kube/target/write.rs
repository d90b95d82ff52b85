//! Writes of a restore: creates, merges, applies, and the one delete.

use http::Method;
use serde_json::{Value, json};

use super::KubeTarget;
use super::place::{in_version, list_in, place};
use crate::kube::kind::Kind;
use crate::kube::request::{WriteError, WriteRequest};
use backup_core::archive::ObjectPath;

/// Field manager of the writes.
pub const MANAGER: &str = "butler-restore";
/// Media type of a merge patch.
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// Media type of a server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

impl KubeTarget {
    /// Creates `body` at `path`.
    ///
    /// # Errors
    /// See [`WriteError`]; `AlreadyExists` may also mean that the answer to this same create was lost.
    pub async fn create(
        &self,
        path: &ObjectPath,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let kind = &self.served(path, body)?;
        let list = match &path.namespace {
            Some(namespace) => list_in(kind, namespace),
            None => kind.path(),
        };
        self.write(Method::POST, list, JSON, body, dry_run).await
    }

    /// Replaces the object's status by that of `body`, which is the whole object.
    ///
    /// # Errors
    /// See [`WriteError`]; `Conflict` when its `resourceVersion` is outdated.
    pub async fn put_status(&self, path: &ObjectPath, body: &Value) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "/status");
        self.write(Method::PUT, place, JSON, body, false).await
    }

    /// Applies `body` under our own field manager, and takes over fields that others set. `body` must not
    /// contain data of another cluster: an apply that creates keeps all of it.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn apply(
        &self,
        path: &ObjectPath,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "");
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let write = WriteRequest {
            method: Method::PATCH,
            path: format!("{place}?fieldManager={MANAGER}&force=true{dry}"),
            content_type: APPLY,
            body,
        };
        self.cluster.api.write(&write).await
    }

    /// Merges `patch` into the object.
    ///
    /// # Errors
    /// See [`WriteError`]; `Conflict` when the patch names an outdated `resourceVersion`.
    pub async fn patch(
        &self,
        path: &ObjectPath,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, patch)?, path, "");
        self.write(Method::PATCH, place, MERGE, patch, dry_run)
            .await
    }

    /// Merges `patch` into the object's status or another part of it that has its own path.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn patch_part(
        &self,
        path: &ObjectPath,
        part: &'static str,
        patch: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, patch)?, path, part);
        self.write(Method::PATCH, place, MERGE, patch, dry_run)
            .await
    }

    /// Deletes the object if it is unchanged since it was read; used only for pruning.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn delete(
        &self,
        path: &ObjectPath,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), WriteError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": { "uid": uid, "resourceVersion": resource_version },
        });
        self.delete_with(path, &options).await
    }

    /// Deletes an object whose stored value the server cannot read. Nothing that belongs to it is cleaned up.
    ///
    /// # Errors
    /// See [`WriteError`]; servers refuse this unless it was enabled when they were started.
    pub async fn delete_unreadable(&self, path: &ObjectPath) -> Result<(), WriteError> {
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "ignoreStoreReadErrorWithClusterBreakingPotential": true,
        });
        self.delete_with(path, &options).await
    }

    async fn delete_with(&self, path: &ObjectPath, options: &Value) -> Result<(), WriteError> {
        let kind = &self.served(path, &Value::Null)?;
        let write = WriteRequest {
            method: Method::DELETE,
            path: place(kind, path, ""),
            content_type: JSON,
            body: options,
        };
        self.cluster.api.write(&write).await.map(drop)
    }

    /// Returns the kind at `path`, in the version that `body` names if it is served.
    fn served(&self, path: &ObjectPath, body: &Value) -> Result<Kind, WriteError> {
        let Some(kind) = self.kinds.get(&path.resource) else {
            return Err(WriteError::Refused {
                request: format!("write of {path}"),
                status: http::StatusCode::NOT_FOUND,
                reason: "NotFound".to_owned(),
                message: format!("the cluster does not serve {}", path.resource),
                retry_after: None,
            });
        };
        let named = body.get("apiVersion").and_then(Value::as_str);
        Ok(in_version(kind, named))
    }

    async fn write(
        &self,
        method: Method,
        place: String,
        content_type: &'static str,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let write = WriteRequest {
            method,
            path: format!("{place}?fieldManager={MANAGER}{dry}"),
            content_type,
            body,
        };
        self.cluster.api.write(&write).await
    }
}
