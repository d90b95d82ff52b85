//! Checker that applies flags over the file, checks each value and collects all problems.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_core::crypt::{PublicKey, Recipient, Trust};
use jiff::{SignedDuration, Timestamp};
use serde_saphyr::Spanned;

use super::problem::{ConfigError, ConfigValue, Origin, Problem};
use super::raw::{NoneOr, RawConfig, RawEncryption, RawKubernetes, RawTalos, Text};
use super::{Config, ConfigFlags, Encryption, Kubernetes, Talos};
use crate::flags::TalosFlags;

/// Default longest pause inside a snapshot. A healthy server never pauses this long; the limit covers a slow
/// disk's fsync.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Default time limit for a snapshot: 8 GiB, the largest etcd that its authors advise, at 5 MB/s.
const DEADLINE: Duration = Duration::from_mins(30);
/// Default time limit for a Kubernetes request. The API server gives a hanging conversion webhook 30 s and
/// then reports its name.
const KUBERNETES_TIMEOUT: Duration = Duration::from_secs(45);
/// Longest duration that a file may set. No wait here is useful beyond a day.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);

mod leftovers;
mod mirror;
mod runs;
mod selection;

pub(super) fn check(
    given: &ConfigFlags,
    raw: RawConfig,
    now: Timestamp,
) -> Result<Config, ConfigError> {
    let mut checker = Checker {
        file: given.store.config.clone(),
        problems: Vec::new(),
    };
    let c = &mut checker;
    let store = &given.store;
    let cluster = c.pick(
        "--cluster",
        given.cluster.cluster.as_ref(),
        "cluster",
        raw.cluster,
    );
    let url = c.pick("--store", store.store.as_ref(), "store", raw.store);
    let (runs, components) = c.runs(
        raw.runs.unwrap_or_default(),
        raw.components.unwrap_or_default(),
        now,
    );
    let cluster = cluster.and_then(|text| c.parsed(text));
    let config = Config {
        file: store.config.clone(),
        git_mirror: raw
            .git_mirror
            .and_then(|mirror| c.git_mirror(mirror, cluster.as_ref())),
        leftovers: raw.leftovers.and_then(|l| c.leftovers(l, &runs)),
        cluster,
        store: url.and_then(|text| c.parsed(text)),
        talos: c.talos(&given.talos, raw.talos.unwrap_or_default()),
        kubernetes: c.kubernetes(given, raw.kubernetes.unwrap_or_default()),
        encryption: c.encryption(given, raw.encryption),
        signing_key: c.path(
            "--signing-key",
            given.seal.signing_key.as_ref(),
            "signing.key",
            raw.signing.unwrap_or_default().key,
        ),
        identities: Vec::new(),
        trust: None,
        runs,
        components,
    };
    let reading = raw.reading.unwrap_or_default();
    let config = Config {
        identities: c.identities(given, reading.identities.unwrap_or_default()),
        trust: c.trust(given, reading.trust),
        ..config
    };
    if checker.problems.is_empty() {
        Ok(config)
    } else {
        Err(ConfigError::new(checker.problems))
    }
}

struct Checker {
    file: Option<PathBuf>,
    problems: Vec<Problem>,
}

impl Checker {
    fn at<T>(&self, value: &Spanned<T>, field: &str) -> Origin {
        Origin::File {
            path: self.file.clone().unwrap_or_default(),
            line: value.referenced.line(),
            column: value.referenced.column(),
            field: field.to_owned(),
        }
    }

    fn wrong(&mut self, origin: Origin, message: impl Into<String>) {
        self.problems.push(Problem::new(origin, message));
    }

    fn sourced(&self, text: Text, field: &str) -> ConfigValue<String> {
        let origin = self.at(&text, field);
        ConfigValue::new(text.value, origin)
    }

    /// Returns the flag's value if it was given, or the file's value.
    fn pick(
        &self,
        name: &'static str,
        flag: Option<&String>,
        field: &str,
        file: Option<Text>,
    ) -> Option<ConfigValue<String>> {
        match flag {
            Some(value) => Some(ConfigValue::new(value.clone(), Origin::Flag(name))),
            None => file.map(|text| self.sourced(text, field)),
        }
    }

    fn path(
        &self,
        name: &'static str,
        flag: Option<&PathBuf>,
        field: &str,
        file: Option<Text>,
    ) -> Option<ConfigValue<PathBuf>> {
        match flag {
            Some(value) => Some(ConfigValue::new(value.clone(), Origin::Flag(name))),
            None => file.map(|text| self.file_path(text, field)),
        }
    }

    /// Resolves a path of the file; a relative path begins at the file's folder.
    fn file_path(&self, text: Text, field: &str) -> ConfigValue<PathBuf> {
        let text = self.sourced(text, field);
        ConfigValue::new(self.beside_file(Path::new(&text.value)), text.origin)
    }

    fn beside_file(&self, path: &Path) -> PathBuf {
        match self.file.as_deref().and_then(Path::parent) {
            Some(folder) => folder.join(path),
            None => path.to_owned(),
        }
    }

    fn parsed<T>(&mut self, text: ConfigValue<String>) -> Option<T>
    where
        T: std::str::FromStr<Err: std::fmt::Display>,
    {
        match text.value.parse() {
            Ok(value) => Some(value),
            Err(e) => {
                self.wrong(text.origin, e.to_string());
                None
            }
        }
    }

    fn talos(&mut self, flags: &TalosFlags, raw: RawTalos) -> Talos {
        let config = self.path(
            "--talosconfig",
            flags.talosconfig.as_ref(),
            "talos.config",
            raw.config,
        );
        let context = self.pick(
            "--context",
            flags.context.as_ref(),
            "talos.context",
            raw.context,
        );
        let nodes = if flags.nodes.is_empty() {
            let nodes = raw.nodes.unwrap_or_default().into_iter();
            nodes.map(|node| node.value).collect()
        } else {
            flags.nodes.clone()
        };
        Talos {
            config: config.map(|c| c.value),
            context: context.map(|c| c.value),
            nodes,
            idle_timeout: self
                .duration(raw.idle_timeout, "talos.idle-timeout")
                .unwrap_or(IDLE_TIMEOUT),
            deadline: self
                .duration(raw.deadline, "talos.deadline")
                .unwrap_or(DEADLINE),
        }
    }

    fn duration(&mut self, text: Option<Text>, field: &str) -> Option<Duration> {
        let text = self.sourced(text?, field);
        self.duration_up_to(text, LONGEST)
    }

    fn duration_up_to(
        &mut self,
        text: ConfigValue<String>,
        longest: SignedDuration,
    ) -> Option<Duration> {
        match text.value.parse::<SignedDuration>() {
            Ok(duration) if duration.is_positive() && duration <= longest => {
                Some(duration.unsigned_abs())
            }
            Ok(_) => {
                let message = format!(
                    "`{}` is out of range; want more than 0s, up to {}h",
                    text.value,
                    longest.as_hours()
                );
                self.wrong(text.origin, message);
                None
            }
            Err(_) => {
                let message = format!(
                    "`{}` is not a duration; want a number with its unit, as in `60s`, `30m` or \
                     `1h 30m`",
                    text.value
                );
                self.wrong(text.origin, message);
                None
            }
        }
    }

    fn encryption(
        &mut self,
        given: &ConfigFlags,
        raw: Option<Spanned<NoneOr<RawEncryption>>>,
    ) -> Option<Encryption> {
        if given.seal.encryption.is_some() {
            return Some(Encryption::None);
        }
        let flags = given.seal.recipients.iter();
        let flags = flags.map(|key| ConfigValue::new(key.clone(), Origin::Flag("--recipient")));
        let mut keys: Vec<_> = flags.collect();
        if keys.is_empty() {
            let raw = raw?;
            let origin = self.at(&raw, "encryption");
            let NoneOr::Some(raw) = raw.value else {
                return Some(Encryption::None);
            };
            if raw.recipients.is_empty() {
                self.wrong(
                    origin,
                    "`recipients` is empty; want one key or more, or `encryption: none`",
                );
                return None;
            }
            let texts = raw.recipients.into_iter().enumerate();
            keys = texts
                .map(|(i, text)| self.sourced(text, &format!("encryption.recipients[{i}]")))
                .collect();
        }
        let recipients: Vec<Recipient> = keys
            .into_iter()
            .filter_map(|key| self.parsed(key))
            .collect();
        Some(Encryption::Recipients(recipients))
    }

    fn identities(&self, given: &ConfigFlags, raw: Vec<Text>) -> Vec<ConfigValue<PathBuf>> {
        if given.identity.identities.is_empty() {
            let files = raw.into_iter().enumerate();
            return files
                .map(|(i, text)| self.file_path(text, &format!("reading.identities[{i}]")))
                .collect();
        }
        let flags = given.identity.identities.iter();
        flags
            .map(|path| ConfigValue::new(path.clone(), Origin::Flag("--identity")))
            .collect()
    }

    fn trust(
        &mut self,
        given: &ConfigFlags,
        raw: Option<Spanned<NoneOr<Vec<Text>>>>,
    ) -> Option<Trust> {
        let flags = given.trust.trust.iter();
        let mut keys: Vec<_> = flags
            .map(|key| ConfigValue::new(key.clone(), Origin::Flag("--trust")))
            .collect();
        if keys.iter().any(|key| key.value == "none") {
            if keys.len() > 1 {
                self.wrong(
                    Origin::Flag("--trust"),
                    "`none` cannot be mixed with keys; give keys or `none`",
                );
            }
            return Some(Trust::Anyone);
        }
        if keys.is_empty() {
            let NoneOr::Some(texts) = raw?.value else {
                return Some(Trust::Anyone);
            };
            let texts = texts.into_iter().enumerate();
            keys = texts
                .map(|(i, text)| self.sourced(text, &format!("reading.trust[{i}]")))
                .collect();
        }
        let keys: Vec<_> = keys
            .into_iter()
            .filter_map(|key| self.public_key(key))
            .collect();
        Some(Trust::Keys(keys))
    }

    /// Parses a public key, given as text or as the file that contains it.
    fn public_key(&mut self, key: ConfigValue<String>) -> Option<PublicKey> {
        let error = match PublicKey::parse(&key.value) {
            Ok(public) => return Some(public),
            Err(error) => error,
        };
        let path = match key.origin {
            Origin::File { .. } => self.beside_file(Path::new(&key.value)),
            _ => PathBuf::from(&key.value),
        };
        let read = match path.metadata() {
            // A `.pub` file has two lines; any larger file is not worth reading.
            Ok(metadata) if metadata.len() <= 4096 => {
                std::fs::read(&path).and_then(|bytes| Ok(backup_core::text::decode(&bytes)?))
            }
            Ok(_) => Err(std::io::ErrorKind::FileTooLarge.into()),
            Err(e) => Err(e),
        };
        let message = match read.map(|text| PublicKey::parse(&text)) {
            Ok(Ok(public)) => return Some(public),
            Ok(Err(_)) => {
                format!(
                    "the file {} holds no minisign public key; want a `.pub` file",
                    path.display()
                )
            }
            Err(e) => format!("{error}, or the path of one ({e})"),
        };
        self.wrong(key.origin, message);
        None
    }

    fn kubernetes(&mut self, given: &ConfigFlags, mut raw: RawKubernetes) -> Kubernetes {
        let selection = self.selection(&given.select, &mut raw);
        let kubeconfig = self.path(
            "--kubeconfig",
            given.kube.kubeconfig.as_ref(),
            "kubernetes.kubeconfig",
            raw.kubeconfig,
        );
        let context = self.pick(
            "--kube-context",
            given.kube.kube_context.as_ref(),
            "kubernetes.context",
            raw.context,
        );
        let kept = raw.keep_kubeconfigs.unwrap_or_default().into_iter();
        let kept = kept.map(|text| self.file_path(text, "kubernetes.keep-kubeconfigs").value);
        let kept = kept.collect();
        let timeout = self.duration(raw.timeout, "kubernetes.timeout");
        Kubernetes {
            kubeconfig: kubeconfig.map(|k| k.value),
            context: context.map(|c| c.value),
            timeout: timeout.unwrap_or(KUBERNETES_TIMEOUT),
            keep_kubeconfigs: kept,
            selection,
        }
    }
}
