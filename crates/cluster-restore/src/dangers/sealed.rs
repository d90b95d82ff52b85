//! Check for SealedSecrets that no sealing key opens: they stay sealed.

use serde_json::Value;
use zeroize::Zeroizing;

use super::{DangerChecker, LiveObjects};
use crate::plan::Danger;
use crate::spool::Entry;
use backup_core::format::manifest::Severity;
use cluster_client::kube::sealed::UnsealOutcome;

pub(crate) const SEALED_SECRETS: &str = "sealedsecrets.bitnami.com";
/// Largest number of SealedSecrets that are tried one by one; each takes some milliseconds per key.
const MAX_TRIED: usize = 2000;
/// Largest number of names in the finding.
const MAX_NAMES: usize = 5;

/// Count of all SealedSecrets and of those that no key opens.
#[derive(Debug, Default)]
pub(super) struct SealedSecretCount {
    all: usize,
    unopened: usize,
    first: Vec<String>,
}

impl DangerChecker {
    /// Tries the restored keys and the cluster's keys on a SealedSecret. Must be called
    /// after all keys are known.
    pub(crate) fn prove(&mut self, entry: &Entry, object: &Value, live: &LiveObjects) {
        // The snapshot's keys come back with etcd and are not known here.
        if live.assumed {
            return;
        }
        let count = &mut self.sealed;
        count.all = count.all.saturating_add(1);
        let rings = [&self.keyring, &live.keyring];
        let opened = if count.all > MAX_TRIED {
            rings.iter().any(|ring| !ring.facts().is_empty())
        } else {
            let Ok(text) = serde_json::to_vec(object).map(Zeroizing::new) else {
                return;
            };
            let opens = |proof: UnsealOutcome| !matches!(proof, UnsealOutcome::NotOpened { .. });
            rings.iter().any(|ring| opens(ring.prove(&text)))
        };
        if !opened {
            count.unopened = count.unopened.saturating_add(1);
            if count.first.len() < MAX_NAMES {
                count.first.push(entry.path.object());
            }
        }
    }

    /// Reports the SealedSecrets that stay sealed.
    pub(super) fn unopened(&mut self) {
        let SealedSecretCount {
            all,
            unopened,
            first,
        } = std::mem::take(&mut self.sealed);
        if unopened == 0 {
            return;
        }
        let more = if unopened > first.len() { ", …" } else { "" };
        let cause = format!(
            "no sealing key that is restored or in the cluster opens {unopened} of {all} \
             SealedSecrets, so they stay sealed: {}{more}",
            first.join(", ")
        );
        self.say(
            Some(Danger::MissingSealingKey),
            Severity::Error,
            SEALED_SECRETS.to_owned(),
            cause,
            "restore from a restore point that has component `sealed-secrets`, without a selection that \
             leaves the keys out, or leave SealedSecrets out with `--exclude-resources \
             sealedsecrets.bitnami.com`",
        );
    }
}
