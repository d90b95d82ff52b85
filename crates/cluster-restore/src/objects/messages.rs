//! Messages about an object: its outcome and the reason, without any value of a Secret.

use crate::journal::{ObjectResult, Outcome};
use crate::spool::Entry;
use backup_core::archive::ObjectPath;
use cluster_client::kube::{KubeError, WriteError};

pub(super) fn done(outcome: Outcome, uid: Option<String>, why: Option<String>) -> ObjectResult {
    ObjectResult { outcome, uid, why }
}

pub(super) fn failed(why: &str) -> ObjectResult {
    done(Outcome::Failed, None, Some(why.to_owned()))
}

pub(super) fn sentence(told: &[String]) -> Option<String> {
    (!told.is_empty()).then(|| told.join("; "))
}

pub(super) fn is_of_a_namespace(error: &WriteError) -> bool {
    matches!(error, WriteError::Refused { message, .. } if message.starts_with("namespaces "))
}

/// Describes why a live object cannot be read and what to do. The server's message about a Secret is not
/// repeated.
pub(super) fn unreadable(entry: &Entry, error: &KubeError) -> String {
    let path = &entry.path;
    let KubeError::Status {
        status, message, ..
    } = error
    else {
        return format!("it cannot be read: {}", error.line());
    };
    let message: String = message.chars().take(200).collect();
    let said = if path.resource.as_str() == "secrets" {
        String::new()
    } else {
        format!(": {message}")
    };
    let way = if status.is_server_error() {
        format!(
            "; if its stored value is lost, delete it and create it again with `restore-cli plan \
             --replace-unreadable {}`",
            by_name(path)
        )
    } else {
        String::new()
    };
    format!("the API server cannot read the live one and answers {status}{said}{way}")
}

/// Describes why an unreadable object could not be deleted and what to do.
pub(super) fn undeleted(entry: &Entry) -> String {
    let path = &entry.path;
    let (group, plural) = (path.resource.group(), path.resource.plural());
    let group = if group.is_empty() || !group.contains('.') || group.ends_with(".k8s.io") {
        String::new()
    } else {
        format!("{group}/")
    };
    format!(
        "the API server cannot read the live one and does not delete it; delete its key from etcd, \
         `etcdctl del /registry/{group}{plural}/{}`, or start the API server with feature gate \
         AllowUnsafeMalformedObjectDeletion; then `restore-cli resume`",
        path.object()
    )
}

/// Returns the name that `--replace-unreadable` takes.
pub(super) fn by_name(path: &ObjectPath) -> String {
    let namespace = path.namespace.as_deref().map(|n| format!("{n}/"));
    let namespace = namespace.unwrap_or_default();
    format!("{}/{namespace}{}", path.resource, path.name)
}

/// Formats the server's error for people. A message about a Secret may quote it and is not repeated.
pub(super) fn write_error_text(entry: &Entry, error: &WriteError) -> String {
    let WriteError::Refused {
        status,
        reason,
        message,
        ..
    } = error
    else {
        return error.line();
    };
    if message.contains("being terminated") {
        let namespace = entry.path.namespace.as_deref().unwrap_or_default();
        return format!(
            "namespace {namespace} is being deleted in the cluster; see what holds it (`kubectl \
             get namespace {namespace} -o yaml`), wait until it is gone, then continue"
        );
    }
    if is_of_a_namespace(error) {
        let namespace = entry.path.namespace.as_deref().unwrap_or_default();
        return format!(
            "namespace {namespace} is not there; restore namespaces too, or create it, then \
             continue"
        );
    }
    if entry.path.resource.as_str() == "secrets" {
        let reason = if reason.is_empty() {
            status.as_str()
        } else {
            reason
        };
        return format!("the API server refuses it: {reason}");
    }
    let message: String = message.chars().take(400).collect();
    let way = if reason == "Invalid" {
        let resource = &entry.path.resource;
        format!("; `restore-cli plan --fill {resource}.FIELD=VALUE` gives a field another value")
    } else {
        String::new()
    };
    format!("the API server refuses it: {message}{way}")
}
