//! Rules for who may call which method, by the version of Talos.

use std::collections::BTreeSet;

/// Version of Talos, as far as the API differs by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TalosVersion(pub u16, pub u16);

impl TalosVersion {
    /// Newest version that the stand-in behaves like.
    pub const NEWEST: Self = Self(1, 14);
}

impl std::fmt::Display for TalosVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "v{}.{}.0", self.0, self.1)
    }
}

/// Reports whether a server of `version` knows `method` at all.
pub(super) fn known(method: &str, version: TalosVersion) -> bool {
    match method {
        "EtcdStatus" | "EtcdAlarmList" => version >= TalosVersion(1, 4),
        _ => true,
    }
}

/// Reports whether one of `roles` may call `method`.
pub(super) fn allowed(method: &str, roles: &BTreeSet<String>, version: TalosVersion) -> bool {
    let since = |minor| version >= TalosVersion(1, minor);
    roles.iter().any(|role| match (role.as_str(), method) {
        ("os:admin", _) => true,
        ("os:operator", "EtcdSnapshot") => since(4),
        (
            "os:operator",
            "EtcdMemberList" | "EtcdStatus" | "EtcdAlarmList" | "Version" | "Hostname"
            | "ServiceList" | "ServiceRestart" | "List" | "TimeStatus",
        )
        | (
            "os:reader",
            "EtcdMemberList" | "Version" | "Hostname" | "ServiceList" | "List" | "TimeStatus",
        )
        | ("os:etcd:backup", "EtcdSnapshot") => true,
        ("os:reader", "EtcdStatus" | "EtcdAlarmList")
        | ("os:etcd:backup", "EtcdMemberList" | "EtcdStatus" | "EtcdAlarmList") => since(11),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_1_11_a_backup_client_may_only_take_snapshots() {
        let backup = BTreeSet::from(["os:etcd:backup".to_owned()]);
        for method in ["EtcdMemberList", "EtcdStatus", "EtcdAlarmList"] {
            assert!(!allowed(method, &backup, TalosVersion(1, 10)));
            assert!(allowed(method, &backup, TalosVersion(1, 11)));
        }
        assert!(allowed("EtcdSnapshot", &backup, TalosVersion(1, 10)));
        for method in ["Version", "ServiceList", "EtcdRecover", "Bootstrap", "Read"] {
            assert!(!allowed(method, &backup, TalosVersion::NEWEST));
        }
    }
}
