//! Command that wipes a node's etcd data. It is only shown, never run: a wipe cannot be undone.

use serde::{Deserialize, Serialize};

use super::version_check::MinorVersion;

/// Command that wipes the etcd data of one node, and what it destroys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WipeCommand {
    /// Command.
    pub command: String,
    /// Description of what it destroys.
    pub destroys: String,
}

impl WipeCommand {
    /// Returns the command for `node`; `version` is its version of Talos, if known.
    #[must_use]
    pub fn of(node: &str, version: Option<&str>) -> Self {
        let own_partition = version
            .and_then(MinorVersion::of)
            .is_none_or(|version| version >= MinorVersion(1, 14));
        // Without a list of partitions everything is wiped, including STATE on the system disk.
        let mut command = format!(
            "talosctl reset --nodes {node} --graceful=false --reboot \
             --system-labels-to-wipe EPHEMERAL"
        );
        let mut destroys = format!(
            "everything on the partition EPHEMERAL of node {node}: the data of its etcd member, \
             its images, logs and what pods keep there. A graceful reset is not possible without a \
             quorum. Do not wipe a node whose etcd data is the newest you have"
        );
        if own_partition {
            destroys.push_str(
                ". Where etcd has a partition of its own (from Talos 1.14 on, see `talosctl get \
                 volumestatus ETCD`), add `--system-labels-to-wipe ETCD`: wiping EPHEMERAL alone \
                 keeps the data of etcd then",
            );
        }
        command.shrink_to_fit();
        Self { command, destroys }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wipe_names_its_partitions_and_what_is_lost() {
        let new = WipeCommand::of("10.0.0.2", Some("v1.14.0"));
        assert!(new.command.contains("--nodes 10.0.0.2 "));
        assert!(new.command.contains("--system-labels-to-wipe EPHEMERAL"));
        assert!(new.destroys.contains("--system-labels-to-wipe ETCD"));
        let old = WipeCommand::of("10.0.0.2", Some("v1.13.2"));
        assert!(!old.destroys.contains("ETCD"));
        assert!(WipeCommand::of("10.0.0.2", None).destroys.contains("ETCD"));
    }
}
