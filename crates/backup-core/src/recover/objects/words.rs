//! What is said of an object: its outcome and the reason, without a value of a Secret.

use crate::recover::journal::{Done, Outcome};
use crate::recover::owners::Resolved;
use crate::recover::spool::Entry;
use crate::source::kube::WriteError;

pub(super) fn done(outcome: Outcome, uid: Option<String>, why: Option<String>) -> Done {
    Done { outcome, uid, why }
}

pub(super) fn failed(why: &str) -> Done {
    done(Outcome::Failed, None, Some(why.to_owned()))
}

pub(super) fn sentence(told: &[String]) -> Option<String> {
    (!told.is_empty()).then(|| told.join("; "))
}

pub(super) fn dropped(owners: &Resolved) -> Option<String> {
    if owners.dropped.is_empty() {
        return None;
    }
    let names = owners.dropped.join(", ");
    Some(format!(
        "without its owner {names}, which is not in this cluster"
    ))
}

pub(super) fn is_of_a_namespace(error: &WriteError) -> bool {
    matches!(error, WriteError::Refused { message, .. } if message.starts_with("namespaces "))
}

/// The server's words for people. Those about a Secret may quote it and are not repeated.
pub(super) fn told(entry: &Entry, error: &WriteError) -> String {
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
            "namespace {namespace} is being deleted in the cluster; see what holds it \
             (`kubectl get namespace {namespace} -o yaml`), wait for its end, then go on"
        );
    }
    if is_of_a_namespace(error) {
        let namespace = entry.path.namespace.as_deref().unwrap_or_default();
        return format!(
            "namespace {namespace} is not there; restore namespaces too, or make it, then go on"
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
    format!("the API server refuses it: {message}")
}
