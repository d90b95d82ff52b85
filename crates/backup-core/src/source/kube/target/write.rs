//! What is written: creates, merges, applies, and the one delete.

use http::Method;
use serde_json::{Value, json};

use super::KubeTarget;
use super::place::{in_version, list_in, place};
use crate::archive::ObjectPath;
use crate::source::kube::discover::Kind;
use crate::source::kube::request::{Write, WriteError};

/// Who is said to have written a field.
pub const MANAGER: &str = "butler-restore";
/// The kind of a merge patch.
const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json";
/// A server-side apply; JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

impl KubeTarget {
    /// Creates `body` at `path`.
    ///
    /// # Errors
    /// As [`WriteError`] says; `AlreadyExists` may also mean that the answer to this very create
    /// was lost.
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

    /// Puts `body`, the whole object, in the place of its status.
    ///
    /// # Errors
    /// As [`WriteError`] says; `Conflict` when its `resourceVersion` is an old one.
    pub async fn put_status(&self, path: &ObjectPath, body: &Value) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "/status");
        self.write(Method::PUT, place, JSON, body, false).await
    }

    /// Applies `body` under our own name, over whoever else set its fields. It must not carry what
    /// belongs to another cluster: an apply that creates keeps all of it.
    ///
    /// # Errors
    /// As [`WriteError`] says.
    pub async fn apply(
        &self,
        path: &ObjectPath,
        body: &Value,
        dry_run: bool,
    ) -> Result<Value, WriteError> {
        let place = place(&self.served(path, body)?, path, "");
        let dry = if dry_run { "&dryRun=All" } else { "" };
        let write = Write {
            method: Method::PATCH,
            path: format!("{place}?fieldManager={MANAGER}&force=true{dry}"),
            content_type: APPLY,
            body,
        };
        self.api.write(&write).await
    }

    /// Merges `patch` into the object.
    ///
    /// # Errors
    /// As [`WriteError`] says; `Conflict` when the patch names an old `resourceVersion`.
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

    /// Merges `patch` into the object's status or another part of it that has a place of its own.
    ///
    /// # Errors
    /// As [`WriteError`] says.
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

    /// Deletes the object; only pruning does, and only what nobody else wrote since it was read.
    ///
    /// # Errors
    /// As [`WriteError`] says.
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

    /// Deletes an object whose stored value the server cannot read; nothing of what it stands for is
    /// cleaned up.
    ///
    /// # Errors
    /// As [`WriteError`] says; servers do not do so unless they are told to when they are started.
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
        let write = Write {
            method: Method::DELETE,
            path: place(kind, path, ""),
            content_type: JSON,
            body: options,
        };
        self.api.write(&write).await.map(drop)
    }

    /// The kind at `path`, in the version that `body` names if that is served.
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
        let write = Write {
            method,
            path: format!("{place}?fieldManager={MANAGER}{dry}"),
            content_type,
            body,
        };
        self.api.write(&write).await
    }
}
