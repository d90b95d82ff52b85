//! Explanations of etcd's errors: what happened and what to do.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::grpc::status::{Cause, ConnectFailure};
use backup_core::source::SourceError;

/// Name of the read of keys, which needs the permission to read them all.
pub(super) const KEYS: &str = "KV.Range";

/// Reason why a call failed, as far as a caller acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EtcdFailureReason {
    /// The endpoint does not answer.
    Unreachable,
    /// The endpoint's name has no address.
    NoAddress,
    /// The server's certificate is not trusted.
    UntrustedServer,
    /// The server refuses the client certificate.
    RefusedClient,
    /// Auth is on, and the call had no user.
    Anonymous,
    /// The client's user does not exist there.
    NoUser,
    /// The name or the password is wrong.
    Login,
    /// The user lacks permission.
    NotPermitted,
    /// No answer came in time.
    Hung,
    /// Any other reason.
    Other,
}

impl EtcdFailureReason {
    /// Whether every member would give the same answer.
    fn everywhere(self) -> bool {
        matches!(
            self,
            Self::Anonymous | Self::NoUser | Self::Login | Self::NotPermitted
        )
    }
}

/// Failure of a call.
#[derive(Debug)]
pub(super) struct EtcdFailure {
    pub(super) reason: EtcdFailureReason,
    /// Operation and endpoint, what the failure means and what to do; without the cause.
    pub(super) text: String,
    pub(super) cause: Cause,
}

impl fmt::Display for EtcdFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.cause)
    }
}

impl From<EtcdFailure> for SourceError {
    fn from(failure: EtcdFailure) -> Self {
        Self {
            try_other_member: !failure.reason.everywhere(),
            operation: failure.text,
            source: Some(Box::new(failure.cause)),
        }
    }
}

/// Description of a call for messages.
#[derive(Debug, Clone)]
pub(super) struct EtcdCall {
    /// Name of the method.
    pub(super) method: &'static str,
    /// Endpoint as dialled.
    pub(super) endpoint: String,
    /// Owner of the etcd, for messages.
    pub(super) owner: String,
    /// User that made the call, if any.
    pub(super) user: Option<String>,
}

impl EtcdCall {
    /// Returns the failure of a call that had no answer within `limit`.
    pub(super) fn hung(&self, limit: Duration) -> EtcdFailure {
        let cause = Cause(format!("no answer within {} s", limit.as_secs_f64()));
        self.failure(EtcdFailureReason::Hung, cause)
    }

    /// Returns the failure that `status` means.
    pub(super) fn failed(&self, status: &Status) -> EtcdFailure {
        let cause = Cause::of(status);
        self.failure(reason(status, &cause), cause)
    }

    fn failure(&self, reason: EtcdFailureReason, cause: Cause) -> EtcdFailure {
        let Self {
            method,
            endpoint,
            owner,
            ..
        } = self;
        EtcdFailure {
            reason,
            text: format!("{method} at {endpoint} of {owner}: {}", self.advice(reason)),
            cause,
        }
    }

    fn advice(&self, reason: EtcdFailureReason) -> String {
        let user = match &self.user {
            Some(user) => format!("the user `{user}`"),
            None => "a client without a name".to_owned(),
        };
        let text = match reason {
            EtcdFailureReason::Unreachable => {
                "not reachable. Check that this etcd runs, and that its endpoint can be reached from \
                 here; one that refuses the client certificate may look the same"
            }
            EtcdFailureReason::NoAddress => {
                "its name has no address. Check how the endpoint is written, and the DNS of this \
                 machine"
            }
            EtcdFailureReason::UntrustedServer => {
                "its certificate is not trusted. Check that `certificateAuthority` is the authority of this \
                 etcd, and that the endpoint is written as in its certificate"
            }
            EtcdFailureReason::RefusedClient => {
                "the client certificate was refused. It must be signed by the authority in this etcd's \
                 `--trusted-ca-file`: renew `clientCertificate`"
            }
            EtcdFailureReason::Anonymous => {
                "auth is on, and nobody has signed in. The client certificate's common name must be \
                 that of a user, or user and password must be given"
            }
            EtcdFailureReason::NoUser => {
                return format!(
                    "it has no user `{}`. The client certificate's common name must be that of a user \
                     with the role `root`",
                    self.user.as_deref().unwrap_or_default()
                );
            }
            EtcdFailureReason::Login => "user or password is wrong. Correct `basicAuth`",
            EtcdFailureReason::NotPermitted if self.method == KEYS => {
                return format!(
                    "{user} has no permission. To count keys, it needs a role that may read them, for \
                     example `root`"
                );
            }
            EtcdFailureReason::NotPermitted => {
                return format!(
                    "{user} has no permission. A snapshot needs the role `root`: `etcdctl user grant-role \
                     USER root`, or use the certificate of a user who has it"
                );
            }
            EtcdFailureReason::Hung => {
                "no answer. This etcd is overloaded, still starting or without quorum: see \
                 `etcdctl endpoint status`"
            }
            EtcdFailureReason::Other => "failed",
        };
        text.to_owned()
    }
}

/// Classifies a status by its meaning.
fn reason(status: &Status, cause: &Cause) -> EtcdFailureReason {
    // A status made by the client's own transport has an error below it; a server's status has none.
    if std::error::Error::source(status).is_some() {
        return match ConnectFailure::of(cause) {
            ConnectFailure::Authority
            | ConnectFailure::Name
            | ConnectFailure::Dates
            | ConnectFailure::Certificate => EtcdFailureReason::UntrustedServer,
            ConnectFailure::Client => EtcdFailureReason::RefusedClient,
            ConnectFailure::Dns => EtcdFailureReason::NoAddress,
            ConnectFailure::NoAnswer => EtcdFailureReason::Unreachable,
        };
    }
    let text = status.message();
    match status.code() {
        Code::PermissionDenied => EtcdFailureReason::NotPermitted,
        Code::InvalidArgument if text.contains("user name is empty") => {
            EtcdFailureReason::Anonymous
        }
        // etcd reports a user without a password with the code Unknown.
        _ if text.contains("authentication failed") => EtcdFailureReason::Login,
        _ if text.contains("user name not found") => EtcdFailureReason::NoUser,
        Code::Unauthenticated => EtcdFailureReason::Anonymous,
        Code::Unavailable => EtcdFailureReason::Unreachable,
        Code::DeadlineExceeded | Code::Cancelled => EtcdFailureReason::Hung,
        _ => EtcdFailureReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(status: &Status) -> EtcdFailure {
        let call = EtcdCall {
            method: "Maintenance.Snapshot",
            endpoint: "10.0.0.2:2379".to_owned(),
            owner: "DataStore `default`".to_owned(),
            user: Some("tenant".to_owned()),
        };
        call.failed(status)
    }

    #[test]
    fn what_etcd_says_of_users_is_told_apart() {
        for (code, text, reason) in [
            (
                Code::InvalidArgument,
                "etcdserver: user name is empty",
                EtcdFailureReason::Anonymous,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                EtcdFailureReason::Login,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                EtcdFailureReason::Anonymous,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                EtcdFailureReason::NotPermitted,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: user name not found",
                EtcdFailureReason::NoUser,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: something else",
                EtcdFailureReason::Other,
            ),
        ] {
            let failure = fail(&Status::new(code, text));
            assert_eq!(failure.reason, reason, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_user_and_what_is_needed() {
        let failure = fail(&Status::permission_denied("etcdserver: permission denied"));
        insta::assert_snapshot!(failure, @"Maintenance.Snapshot at 10.0.0.2:2379 of DataStore `default`: the user `tenant` has no permission. A snapshot needs the role `root`: `etcdctl user grant-role USER root`, or use the certificate of a user who has it (PermissionDenied: etcdserver: permission denied)");
        let error = SourceError::from(failure);
        assert!(!error.try_other_member);
    }
}
