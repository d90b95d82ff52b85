//! Explanations of etcd's errors: what happened and what to do.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::grpc::status::{Cause, NoWay};
use backup_core::source::SourceError;

/// Reason why a call failed, as far as a caller acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// The endpoint does not answer.
    Unreachable,
    /// The endpoint's name has no address.
    NoAddress,
    /// The server's certificate is not trusted.
    Impostor,
    /// The server refuses the client certificate.
    Stranger,
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

impl Reason {
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
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// Operation and endpoint, what the failure means and what to do; without the cause.
    pub(super) text: String,
    pub(super) cause: Cause,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.cause)
    }
}

impl From<Failure> for SourceError {
    fn from(failure: Failure) -> Self {
        Self {
            try_other_member: !failure.reason.everywhere(),
            operation: failure.text,
            source: Some(Box::new(failure.cause)),
        }
    }
}

/// Description of a call for messages.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// Name of the method.
    pub(super) method: &'static str,
    /// Endpoint as dialled.
    pub(super) endpoint: String,
    /// Owner of the etcd, for messages.
    pub(super) owner: String,
    /// User that made the call, if any.
    pub(super) user: Option<String>,
}

impl Call {
    /// Returns the failure of a call that had no answer within `limit`.
    pub(super) fn hung(&self, limit: Duration) -> Failure {
        let cause = Cause(format!("no answer within {} s", limit.as_secs_f64()));
        self.failure(Reason::Hung, cause)
    }

    /// Returns the failure that `status` means.
    pub(super) fn failed(&self, status: &Status) -> Failure {
        let cause = Cause::of(status);
        self.failure(reason(status, &cause), cause)
    }

    fn failure(&self, reason: Reason, cause: Cause) -> Failure {
        let Self {
            method,
            endpoint,
            owner,
            ..
        } = self;
        Failure {
            reason,
            text: format!("{method} at {endpoint} of {owner}: {}", self.advice(reason)),
            cause,
        }
    }

    fn advice(&self, reason: Reason) -> String {
        let user = match &self.user {
            Some(user) => format!("the user `{user}`"),
            None => "a client without a name".to_owned(),
        };
        let text = match reason {
            Reason::Unreachable => {
                "not reachable. Check that this etcd runs, and that its endpoint can be reached from \
                 here; one that refuses the client certificate may look the same"
            }
            Reason::NoAddress => {
                "its name has no address. Check how the endpoint is written, and the DNS of this \
                 machine"
            }
            Reason::Impostor => {
                "its certificate is not believed. Check that `certificateAuthority` is the authority \
                 of this etcd, and that the endpoint is written as in its certificate"
            }
            Reason::Stranger => {
                "the client certificate was refused. It must be of the authority that this etcd was \
                 given as `--trusted-ca-file`: renew `clientCertificate`"
            }
            Reason::Anonymous => {
                "auth is on, and nobody has signed in. The client certificate's common name must be \
                 that of a user, or user and password must be given"
            }
            Reason::NoUser => {
                return format!(
                    "it has no user `{}`. The client certificate's common name must be that of a user \
                     with the role `root`",
                    self.user.as_deref().unwrap_or_default()
                );
            }
            Reason::Login => "user or password is wrong. Put right `basicAuth`",
            Reason::NotPermitted if self.method == super::keys::METHOD => {
                return format!(
                    "{user} may not. Counting keys needs a role that may read them, such as `root`"
                );
            }
            Reason::NotPermitted => {
                return format!(
                    "{user} may not. A snapshot needs the role `root`: `etcdctl user grant-role USER \
                     root`, or use the certificate of a user who has it"
                );
            }
            Reason::Hung => {
                "no answer. This etcd is overloaded, still starting or without quorum: see \
                 `etcdctl endpoint status`"
            }
            Reason::Other => "failed",
        };
        text.to_owned()
    }
}

/// Classifies a status by its meaning.
fn reason(status: &Status, cause: &Cause) -> Reason {
    // A status made by the client's own transport has an error below it; a server's status has none.
    if std::error::Error::source(status).is_some() {
        return match NoWay::of(cause) {
            NoWay::Authority | NoWay::Name | NoWay::Dates | NoWay::Certificate => Reason::Impostor,
            NoWay::Client => Reason::Stranger,
            NoWay::Dns => Reason::NoAddress,
            NoWay::Silence => Reason::Unreachable,
        };
    }
    let text = status.message();
    match status.code() {
        Code::PermissionDenied => Reason::NotPermitted,
        Code::InvalidArgument if text.contains("user name is empty") => Reason::Anonymous,
        // etcd reports a user without a password with the code Unknown.
        _ if text.contains("authentication failed") => Reason::Login,
        _ if text.contains("user name not found") => Reason::NoUser,
        Code::Unauthenticated => Reason::Anonymous,
        Code::Unavailable => Reason::Unreachable,
        Code::DeadlineExceeded | Code::Cancelled => Reason::Hung,
        _ => Reason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(status: &Status) -> Failure {
        let call = Call {
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
                Reason::Anonymous,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                Reason::Login,
            ),
            (
                Code::Unauthenticated,
                "etcdserver: invalid auth token",
                Reason::Anonymous,
            ),
            (
                Code::PermissionDenied,
                "etcdserver: permission denied",
                Reason::NotPermitted,
            ),
            (
                Code::FailedPrecondition,
                "etcdserver: user name not found",
                Reason::NoUser,
            ),
            (
                Code::InvalidArgument,
                "etcdserver: something else",
                Reason::Other,
            ),
        ] {
            let failure = fail(&Status::new(code, text));
            assert_eq!(failure.reason, reason, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_user_and_what_is_needed() {
        let failure = fail(&Status::permission_denied("etcdserver: permission denied"));
        insta::assert_snapshot!(failure, @"Maintenance.Snapshot at 10.0.0.2:2379 of DataStore `default`: the user `tenant` may not. A snapshot needs the role `root`: `etcdctl user grant-role USER root`, or use the certificate of a user who has it (PermissionDenied: etcdserver: permission denied)");
        let error = SourceError::from(failure);
        assert!(!error.try_other_member);
    }
}
