//! Node state for a restore, converted from replies; texts are fit for a terminal.

use serde::{Deserialize, Serialize};

use crate::at_rest::ConfigFacts;
use crate::grpc::status::printable;
use crate::talos::proto::machine::{EtcdMember, EtcdMemberStatus, FileInfo, ServiceInfo};
use crate::talos::session::host_of;
use backup_core::digest::Digest;

/// Facts of a machine configuration that a restore needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MachineView {
    /// Type of the machine: `controlplane`, `worker` or the old `init`.
    pub kind: Option<String>,
    /// Name of the cluster.
    pub cluster: Option<String>,
    /// SHA-256 of the cluster's id.
    pub cluster_id: Option<Digest>,
    /// Prefixes of the values that the API server encrypts with its keys.
    pub encryption_prefixes: Vec<String>,
    /// Image of etcd, if the configuration names one.
    pub etcd_image: Option<String>,
}

impl From<ConfigFacts> for MachineView {
    fn from(known: ConfigFacts) -> Self {
        Self {
            kind: known.machine.map(|kind| printable(&kind)),
            cluster: known.cluster.map(|name| printable(&name)),
            cluster_id: known.cluster_id,
            encryption_prefixes: known.prefixes.into_iter().collect(),
            etcd_image: known.etcd_image.map(|image| printable(&image)),
        }
    }
}

/// Service of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceView {
    /// State as Talos names it: `Preparing`, `Running`, `Failed` and so on.
    pub state: String,
    /// Whether its last check succeeded; `None` before the first.
    pub healthy: Option<bool>,
    /// Message of its last event.
    pub last_event: Option<String>,
}

impl ServiceView {
    /// Reports whether the service runs and its check has passed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.state == "Running" && self.healthy == Some(true)
    }
}

impl From<ServiceInfo> for ServiceView {
    fn from(service: ServiceInfo) -> Self {
        let health = service.health.filter(|health| !health.unknown);
        let events = service.events.unwrap_or_default().events;
        Self {
            state: printable(&service.state),
            healthy: health.map(|health| health.healthy),
            last_event: events.last().map(|event| printable(&event.msg)),
        }
    }
}

/// Clock of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeView {
    /// Whether it is in sync, or syncing is disabled.
    pub in_sync: bool,
}

impl TimeView {
    /// Reads the text form that older servers send.
    pub(super) fn of_yaml(text: &str) -> Self {
        let says = |key: &str| {
            let mut lines = text.lines();
            lines.any(|line| line.split(':').map(str::trim).eq([key, "true"]))
        };
        Self {
            in_sync: says("synced") || says("syncDisabled"),
        }
    }
}

/// Entries of a folder, or size of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FolderView {
    /// Number of entries seen before the call ended; 0 for an empty folder.
    pub entries: u64,
    /// Size, if it is a file.
    pub file_bytes: Option<u64>,
}

impl FolderView {
    pub(super) fn add(&mut self, entry: &FileInfo) {
        let itself = matches!(entry.relative_name.as_str(), "" | ".");
        if itself && entry.is_dir {
            return;
        }
        self.entries = self.entries.saturating_add(1);
        if !entry.is_dir {
            self.file_bytes = u64::try_from(entry.size).ok();
        }
    }
}

/// Member of an etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Id of the member, 16 hex digits.
    pub id: String,
    /// Name of the member.
    pub name: String,
    /// Whether it is a learner, which has no vote yet.
    pub learner: bool,
    /// Address of its node, if the member reports one that others can use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

impl From<EtcdMember> for MemberView {
    fn from(member: EtcdMember) -> Self {
        let addresses = member.client_urls.iter().filter_map(|url| host_of(url));
        let mut addresses = addresses.filter(|a| !a.is_loopback() && !a.is_unspecified());
        Self {
            id: format!("{:016x}", member.id),
            name: printable(&member.hostname),
            learner: member.is_learner,
            address: addresses.next().map(|address| address.to_string()),
        }
    }
}

/// State of a member, as it reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatusView {
    /// Id of the member, 16 hex digits.
    pub member_id: String,
    /// Version of its etcd.
    pub etcd_version: String,
    /// Whether it knows a leader.
    pub has_leader: bool,
    /// Index of the last raft entry that it applied.
    pub raft_applied_index: u64,
    /// Its own error messages.
    pub errors: Vec<String>,
}

impl From<EtcdMemberStatus> for MemberStatusView {
    fn from(status: EtcdMemberStatus) -> Self {
        /// Maximum number of error messages that are kept.
        const MAX_ERRORS: usize = 8;
        let errors = status.errors.iter().take(MAX_ERRORS);
        Self {
            member_id: format!("{:016x}", status.member_id),
            etcd_version: printable(&status.protocol_version),
            has_leader: status.leader != 0,
            raft_applied_index: status.raft_applied_index,
            errors: errors.map(|text| printable(text)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_its_own_only_entry_is_empty() {
        let entry = |relative: &str, is_dir| FileInfo {
            relative_name: relative.to_owned(),
            is_dir,
            size: 7,
            ..FileInfo::default()
        };
        let mut view = FolderView::default();
        view.add(&entry(".", true));
        assert_eq!(view, FolderView::default());
        view.add(&entry("member", true));
        assert_eq!(view.entries, 1);
        let mut file = FolderView::default();
        file.add(&entry("etcd.snapshot", false));
        assert_eq!(file.file_bytes, Some(7));
    }

    #[test]
    fn a_clock_is_in_sync_if_it_says_so_or_nobody_cares() {
        assert!(TimeView::of_yaml("synced: true\nepoch: 0\n").in_sync);
        assert!(TimeView::of_yaml("synced: false\nsyncDisabled: true\n").in_sync);
        assert!(!TimeView::of_yaml("synced: false\nepoch: 1\n").in_sync);
        assert!(!TimeView::of_yaml("").in_sync);
    }
}
