//! Explanations of a Talos server's errors: what happened and what to do.

use std::collections::BTreeSet;
use std::error::Error;
use std::time::Duration;

use tonic::{Code, Status};

use super::identity::{ADMIN, SNAPSHOT_ROLES, describe_roles};
use crate::grpc::status::{Cause, ConnectFailure};

/// Name of the read of a machine configuration, which only an administrator may do.
pub(super) const MACHINE_CONFIG: &str = "MachineConfig";
/// Methods that only an administrator may call.
const ADMIN_METHODS: [&str; 2] = ["EtcdRecover", "Bootstrap"];
/// Methods that a node answers with the help of its etcd.
const ETCD_METHODS: [&str; 4] = [
    "EtcdSnapshot",
    "EtcdStatus",
    "EtcdAlarmList",
    "EtcdMemberList",
];

/// Reason why a call failed, as far as a caller acts on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TalosFailureReason {
    /// The endpoint cannot be reached, or cannot reach the node: another endpoint may.
    Unreachable,
    /// The connection to the endpoint fails for a known reason: another endpoint may work.
    Connection(ConnectFailure),
    /// The endpoint itself stopped answering: another endpoint may answer.
    Stalled,
    /// The endpoint is a worker, which answers only for itself: another endpoint may forward.
    NoForwarding,
    /// The certificate's roles do not allow the call.
    Role,
    /// The server does not know the call: the server is older than the call.
    Unknown,
    /// The node is not a control plane node, so it has no etcd.
    Worker,
    /// No answer came in time: the node's etcd is down, joining, or without quorum.
    Hung,
    /// Any other reason.
    Other,
}

/// Failure of a call.
#[derive(Debug)]
pub(super) struct TalosFailure {
    /// Reason, as far as a caller acts on it.
    pub(super) reason: TalosFailureReason,
    /// Status code from the server or the transport.
    pub(super) code: Code,
    /// Method, node and endpoint of the call.
    pub(super) at: String,
    /// Meaning of the failure, and what to do.
    pub(super) advice: String,
    /// Error text of the server or the transport.
    pub(super) cause: Cause,
}

impl TalosFailureReason {
    /// Reports whether the endpoint is the cause, so that another one may succeed.
    pub(super) fn of_endpoint(self) -> bool {
        matches!(
            self,
            Self::Unreachable | Self::Connection(_) | Self::Stalled | Self::NoForwarding
        )
    }
}

impl TalosFailure {
    /// Returns the operation and place, what the failure means and what to do; without the cause.
    pub(super) fn text(&self) -> String {
        format!("{}: {}", self.at, self.advice)
    }

    /// Merges failures that have the same reason into one: the last, with the places of all.
    pub(super) fn merge(failures: Vec<Self>) -> Option<Self> {
        let mut merged: Option<Self> = None;
        for failure in failures {
            merged = Some(match merged {
                None => failure,
                Some(before) => {
                    let cause = if before.cause == failure.cause {
                        failure.cause
                    } else {
                        Cause(format!("{}; {}", before.cause, failure.cause))
                    };
                    Self {
                        at: format!("{}, {}", before.at, failure.at),
                        cause,
                        ..failure
                    }
                }
            });
        }
        merged
    }
}

impl std::fmt::Display for TalosFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.at, self.advice, self.cause)
    }
}

/// Description of a call: method, endpoint and node.
#[derive(Debug, Clone, Copy)]
pub(super) struct TalosCall<'a> {
    /// Name of the method.
    pub(super) method: &'static str,
    /// Endpoint as dialled.
    pub(super) endpoint: &'a str,
    /// Node as configured; `None` if the endpoint itself was called.
    pub(super) node: Option<&'a str>,
    /// Roles of the client's certificate.
    pub(super) roles: &'a BTreeSet<String>,
}

impl TalosCall<'_> {
    fn at(&self) -> String {
        match self.node {
            Some(node) => format!(
                "{} at node {node} over endpoint {}",
                self.method, self.endpoint
            ),
            None => format!("{} at endpoint {}", self.method, self.endpoint),
        }
    }

    /// Returns the failure of a call that had no answer within `limit`.
    pub(super) fn hung(&self, limit: Duration) -> TalosFailure {
        let cause = Cause(format!("no answer within {} s", limit.as_secs_f64()));
        self.failure(TalosFailureReason::Hung, Code::DeadlineExceeded, cause)
    }

    /// Returns the failure of a call that had no answer within `limit`, at an endpoint that does not
    /// answer for itself either.
    pub(super) fn stalled(&self, limit: Duration) -> TalosFailure {
        let cause = Cause(format!("no answer within {} s", limit.as_secs_f64()));
        self.failure(TalosFailureReason::Stalled, Code::DeadlineExceeded, cause)
    }

    /// Returns the failure that `status` means.
    pub(super) fn failed(&self, status: &Status) -> TalosFailure {
        let cause = Cause::of(status);
        self.failure(reason(status, &cause), status.code(), cause)
    }

    fn failure(&self, reason: TalosFailureReason, code: Code, cause: Cause) -> TalosFailure {
        TalosFailure {
            reason,
            code,
            at: self.at(),
            advice: self.advice(reason),
            cause,
        }
    }

    fn advice(&self, reason: TalosFailureReason) -> String {
        let text = match reason {
            TalosFailureReason::Unreachable => connect_advice(ConnectFailure::NoAnswer),
            TalosFailureReason::Connection(way) => connect_advice(way),
            TalosFailureReason::Stalled => {
                "the endpoint does not answer, not even for itself: its node is frozen, overloaded or cut \
                 off. This says nothing about the etcd of other nodes: see this node's console, or remove \
                 it from `endpoints`"
            }
            TalosFailureReason::NoForwarding => {
                "this endpoint is a worker node and does not forward requests. Put control plane nodes into \
                 `endpoints`"
            }
            TalosFailureReason::Role if self.method == MACHINE_CONFIG => {
                return format!(
                    "not allowed. The client certificate has {}, but needs {ADMIN}: use an admin \
                     talosconfig, or add the file with `backupd kit add FILE`",
                    describe_roles(self.roles)
                );
            }
            TalosFailureReason::Role if ADMIN_METHODS.contains(&self.method) => {
                return format!(
                    "not allowed. The client certificate has {}, but needs {ADMIN}: use the talosconfig \
                     that `talosctl gen config` or `talosctl config new --roles {ADMIN}` gave; one that is \
                     in the cluster can never restore it",
                    describe_roles(self.roles)
                );
            }
            TalosFailureReason::Role if !ETCD_METHODS.contains(&self.method) => {
                return format!(
                    "not allowed. The client certificate has {}, but needs one of {}: `talosctl config new \
                     --roles {ADMIN}`",
                    describe_roles(self.roles),
                    self.needed()
                );
            }
            TalosFailureReason::Role => {
                return format!(
                    "not allowed. The client certificate has {}, but needs one of {}: `talosctl config new \
                     --roles os:etcd:backup`",
                    describe_roles(self.roles),
                    self.needed()
                );
            }
            TalosFailureReason::Unknown => "this version of Talos does not know the call",
            TalosFailureReason::Worker => {
                "not a control plane node, so it has no etcd. Take it out of `nodes`"
            }
            TalosFailureReason::Hung if !ETCD_METHODS.contains(&self.method) => {
                "no answer. The node is overloaded, restarting or cut off: see `talosctl dmesg` and \
                 its console"
            }
            TalosFailureReason::Hung => {
                "no answer. The node's etcd is down, still joining or without quorum: see \
                 `talosctl service etcd` and `talosctl etcd status`"
            }
            TalosFailureReason::Other => "failed",
        };
        text.to_owned()
    }

    fn needed(&self) -> String {
        match self.method {
            "EtcdSnapshot" => SNAPSHOT_ROLES.join(", "),
            "Version" | "Hostname" | "ServiceList" | "List" | "TimeStatus" => {
                "os:reader, os:operator, os:admin".to_owned()
            }
            "ServiceRestart" => "os:operator, os:admin".to_owned(),
            _ => "os:operator, os:admin, and from Talos 1.11 on os:etcd:backup or os:reader"
                .to_owned(),
        }
    }
}

/// Explains a connection that fails: what it means, and what to do.
fn connect_advice(way: ConnectFailure) -> &'static str {
    match way {
        ConnectFailure::Dns => {
            "the endpoint's name has no address. Check how it is written in `endpoints`, and the DNS of \
             this machine; or write an address"
        }
        ConnectFailure::Authority => {
            "the endpoint's certificate is not signed by the authority in `ca` of the talosconfig. It is of \
             another cluster, or its authority was replaced: check `endpoints`, or get a new talosconfig"
        }
        ConnectFailure::Name => {
            "the endpoint's certificate does not have the name or address that `endpoints` has. Write one \
             that it has, for example the node's address, or add the name to `machine.certSANs`"
        }
        ConnectFailure::Dates => {
            "the endpoint's certificate is not valid at this time. Check the clocks of this machine and \
             of the node"
        }
        ConnectFailure::Certificate => {
            "the endpoint's certificate is not trusted. Check that a Talos API listens there, port 50000"
        }
        ConnectFailure::Client => {
            "the endpoint refuses the client certificate. It is of another cluster, or out of date: get \
             a new talosconfig"
        }
        ConnectFailure::NoAnswer => {
            "not reachable. Check the address, port 50000 and the firewall, and that the node is up. If all \
             that is right, renew the talosconfig: a server that refuses the client certificate looks the \
             same"
        }
    }
}

/// Classifies a status by its meaning.
fn reason(status: &Status, cause: &Cause) -> TalosFailureReason {
    // A status made by the client's own transport has an error below it; a server's status has none.
    if status.source().is_some() {
        return match ConnectFailure::of(cause) {
            ConnectFailure::NoAnswer => TalosFailureReason::Unreachable,
            way => TalosFailureReason::Connection(way),
        };
    }
    let text = status.message();
    match status.code() {
        Code::Unavailable => TalosFailureReason::Unreachable,
        Code::DeadlineExceeded | Code::Cancelled => TalosFailureReason::Hung,
        Code::PermissionDenied if text.contains("no request forwarding") => {
            TalosFailureReason::NoForwarding
        }
        Code::PermissionDenied => TalosFailureReason::Role,
        Code::Unimplemented if text.contains("control plane") || text.contains("machine type") => {
            TalosFailureReason::Worker
        }
        Code::Unimplemented => TalosFailureReason::Unknown,
        Code::FailedPrecondition if text.contains("control plane node") => {
            TalosFailureReason::Worker
        }
        _ => TalosFailureReason::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(method: &'static str, status: &Status) -> TalosFailure {
        let roles = BTreeSet::from(["os:reader".to_owned()]);
        let call = TalosCall {
            method,
            endpoint: "10.0.0.2:50000",
            node: Some("10.0.0.3"),
            roles: &roles,
        };
        call.failed(status)
    }

    #[test]
    fn permission_denied_has_two_meanings() {
        let role = fail("EtcdSnapshot", &Status::permission_denied("not authorized"));
        assert_eq!(role.reason, TalosFailureReason::Role);
        assert!(role.advice.contains("the roles os:reader"), "{role}");
        assert!(
            role.advice
                .contains("os:etcd:backup, os:operator, os:admin")
        );
        let worker = fail(
            "EtcdSnapshot",
            &Status::permission_denied("no request forwarding"),
        );
        assert_eq!(worker.reason, TalosFailureReason::NoForwarding);
        assert!(worker.advice.contains("`endpoints`"), "{worker}");
    }

    #[test]
    fn a_worker_is_told_from_an_old_server() {
        for (code, text, reason) in [
            (
                Code::Unimplemented,
                "EtcdSnapshot is only available on control plane nodes",
                TalosFailureReason::Worker,
            ),
            (
                Code::Unimplemented,
                "machine type is not set",
                TalosFailureReason::Worker,
            ),
            (
                Code::FailedPrecondition,
                "can only be performed on a control plane node",
                TalosFailureReason::Worker,
            ),
            (
                Code::Unimplemented,
                "unknown method EtcdStatus",
                TalosFailureReason::Unknown,
            ),
        ] {
            assert_eq!(
                fail("EtcdStatus", &Status::new(code, text)).reason,
                reason,
                "{text}"
            );
        }
    }

    #[test]
    fn a_servers_text_cannot_move_the_cursor() {
        let failure = fail("EtcdStatus", &Status::internal("a\u{1b}[2Jb\r\n"));
        assert!(!failure.to_string().chars().any(char::is_control));
    }
}
