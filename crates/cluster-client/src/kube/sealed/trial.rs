//! Trial of the keys on every SealedSecret, with its findings.

use serde::Deserialize;

use super::open::UnsealOutcome;
use super::{KeyProblem, Keyring};
use backup_core::format::export::SealedFacts;
use backup_core::format::manifest::Finding;
use backup_core::num::to_u64;

/// Maximum number of SealedSecrets that are named for each outcome.
const MAX_NAMED: usize = 20;

/// Trial of a restore point's keys on its SealedSecrets.
#[derive(Debug, Default)]
pub struct SealingKeyTrial {
    keyring: Keyring,
    problems: Vec<Finding>,
    facts: SealedFacts,
    closed: OutcomeList,
    compromised: OutcomeList,
}

/// Objects with one outcome, the first of them by name.
#[derive(Debug, Default)]
struct OutcomeList {
    objects: u64,
    first: Vec<(String, String)>,
}

#[derive(Deserialize)]
struct SealedSecretHead {
    metadata: SealedSecretName,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SealedSecretName {
    namespace: String,
    name: String,
}

impl OutcomeList {
    fn add(&mut self, name: impl FnOnce() -> String, why: String) {
        self.objects = self.objects.saturating_add(1);
        if self.first.len() < MAX_NAMED {
            self.first.push((name(), why));
        }
    }

    /// Returns the number of objects that are not named.
    fn more(&self) -> u64 {
        let named = to_u64(self.first.len());
        self.objects.saturating_sub(named)
    }
}

impl SealingKeyTrial {
    /// Creates a trial without keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sealing key; all keys come before the first SealedSecret. A key that cannot be used becomes a
    /// finding.
    pub fn key(&mut self, secret_json: &[u8]) {
        if let Err(problem) = self.keyring.add(secret_json) {
            self.problem(&problem);
        }
    }

    fn problem(&mut self, problem: &KeyProblem) {
        if self.problems.len() < MAX_NAMED {
            self.problems.push(problem.finding());
        }
    }

    /// Tries the keys on a SealedSecret.
    pub fn sealed_secret(&mut self, json: &[u8]) {
        self.facts.sealed_secrets = self.facts.sealed_secrets.saturating_add(1);
        let name = || match serde_json::from_slice::<SealedSecretHead>(json) {
            Ok(SealedSecretHead { metadata }) => {
                format!("{}/{}", metadata.namespace, metadata.name)
            }
            Err(_) => "without a name".to_owned(),
        };
        match self.keyring.prove(json) {
            UnsealOutcome::Opened { key, compromised } => {
                self.facts.opened = self.facts.opened.saturating_add(1);
                if compromised {
                    self.compromised.add(name, key);
                }
            }
            UnsealOutcome::NotOpened { why } => self.closed.add(name, why),
            // It contains nothing that could be lost.
            UnsealOutcome::Empty => self.facts.opened = self.facts.opened.saturating_add(1),
        }
    }

    /// Returns the facts and findings of the trial.
    #[must_use]
    pub fn finish(self) -> (SealedFacts, Vec<Finding>) {
        let mut facts = self.facts;
        facts.keys = self.keyring.facts();
        let mut findings = self.problems;
        let more = self.closed.more();
        for (name, why) in self.closed.first {
            findings.push(Finding::error(
                format!("sealedsecrets.bitnami.com {name}"),
                format!("no sealing key of this restore point opens it: {why}"),
                "find the key that sealed it and label its Secret as a sealing key, or seal the \
                 Secret again",
            ));
        }
        if more > 0 {
            findings.push(Finding::error(
                "sealedsecrets.bitnami.com",
                format!("{more} more are not opened by any sealing key either"),
                "start with those that are named: most often one key is missing",
            ));
        }
        if self.compromised.objects > 0 {
            let more = self.compromised.more();
            let first = self.compromised.first.iter();
            let mut names: Vec<String> = first.map(|(n, key)| format!("{n} ({key})")).collect();
            if more > 0 {
                names.push(format!("{more} more"));
            }
            findings.push(Finding::warning(
                "sealedsecrets.bitnami.com",
                format!(
                    "only a key marked as compromised opens {}; the sealed-secrets controller \
                     does not read such keys when it starts",
                    names.join(", ")
                ),
                "seal them again with the active key; until then a restored controller leaves them \
                 sealed",
            ));
        }
        (facts, findings)
    }
}
