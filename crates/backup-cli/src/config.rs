//! Configuration loader that turns a file and flags into checked values, or into a list of problems.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_core::crypt::{Identities, Recipient, SigningKey, Trust};
use backup_core::id::{ClusterName, ComponentName};
use backup_core::store::url::StoreUrl;
use cluster_client::kube::Selection;
use jiff::Timestamp;

use crate::flags::{
    ClusterFlags, IdentityFlags, KubeFlags, SealFlags, SelectFlags, StoreFlags, TalosFlags,
    TrustFlags,
};

mod check;
mod files;
mod mirror;
mod problem;
mod raw;
mod schedule;
mod secret;

pub use files::{ConfigFile, MAX_FILES, read_files};
pub use mirror::GitMirror;
pub use problem::{ConfigError, ConfigValue, Origin, Problem};
pub use schedule::{Schedule, ScheduleError};
pub use secret::{read_secret, read_token};

/// Largest configuration file. A configuration is some kilobytes; a larger file is the wrong file.
const MAX_BYTES: u64 = 1 << 20;

/// Flags that a command has; flags that it lacks stay at their default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigFlags {
    /// Location of the configuration and the restore points.
    pub store: StoreFlags,
    /// Cluster whose restore points are written.
    pub cluster: ClusterFlags,
    /// Access to the Talos API.
    pub talos: TalosFlags,
    /// Access to the Kubernetes API.
    pub kube: KubeFlags,
    /// Selection of objects.
    pub select: SelectFlags,
    /// Recipients and the signing key.
    pub seal: SealFlags,
    /// Signatures that are trusted.
    pub trust: TrustFlags,
    /// Identities that decrypt.
    pub identity: IdentityFlags,
}

/// Checked values. A command gets the values that it cannot do without from the `need_` functions.
#[derive(Debug)]
pub struct Config {
    /// Configuration file that was read, if any.
    pub file: Option<PathBuf>,
    /// Name of the cluster.
    pub cluster: Option<ClusterName>,
    /// Store of the restore points.
    pub store: Option<StoreUrl>,
    /// Access to the Talos API.
    pub talos: Talos,
    /// Access to the Kubernetes API, and the selection of objects.
    pub kubernetes: Kubernetes,
    /// Recipients of what is written.
    pub encryption: Option<Encryption>,
    /// File with the signing key.
    pub signing_key: Option<ConfigValue<PathBuf>>,
    /// Files with keys that decrypt.
    pub identities: Vec<ConfigValue<PathBuf>>,
    /// Signatures that are trusted.
    pub trust: Option<Trust>,
    /// Settings of the runs.
    pub runs: Runs,
    /// Components that are backed up, with their schedules.
    pub components: Vec<Component>,
    /// Git mirror of definitions and custom resources, if any.
    pub git_mirror: Option<GitMirror>,
    /// Removal of leftovers; `None` for never.
    pub leftovers: Option<Leftovers>,
}

/// Removal of objects that a run put into the store but did not commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// Age from which leftovers are removed.
    pub grace: Duration,
}

impl Leftovers {
    /// Default grace time. A day is longer than any run takes.
    pub const GRACE: Duration = Duration::from_hours(24);

    /// Returns the shortest grace time beside runs that may take until `deadline`. A run that hangs at its
    /// deadline needs some time to end, and clocks may differ.
    #[must_use]
    pub fn shortest(deadline: Duration) -> Duration {
        deadline.saturating_mul(2)
    }
}

/// Access to the Talos API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talos {
    /// The talosconfig, if one was named.
    pub config: Option<PathBuf>,
    /// Context of the talosconfig, if one was named.
    pub context: Option<String>,
    /// Nodes to take snapshots from; empty for the nodes of the context.
    pub nodes: Vec<String>,
    /// Longest time without a byte of a stream.
    pub idle_timeout: Duration,
    /// Time limit for a whole snapshot.
    pub deadline: Duration,
}

/// Access to the Kubernetes API, and the selection of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, if one was named.
    pub context: Option<String>,
    /// Time limit for one request.
    pub timeout: Duration,
    /// Kubeconfig files to keep with those of the tenants.
    pub keep_kubeconfigs: Vec<PathBuf>,
    /// Selection of objects.
    pub selection: Selection,
}

/// Recipients of what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// No encryption, asked for by name: everyone with access to the store can read.
    None,
    /// Encryption to at least one public key, whose private half decrypts.
    Recipients(Vec<Recipient>),
}

/// One component and its schedule.
#[derive(Debug, Clone)]
pub struct Component {
    /// Name of the component.
    pub name: ComponentName,
    /// Schedule of the component; `None` for on demand only.
    pub schedule: Option<Schedule>,
    /// Largest random delay of a scheduled run, so that clusters do not all begin at once.
    pub jitter: Duration,
    /// Whether a missed run is made up for once.
    pub catch_up: bool,
    /// Whether the schedule is paused.
    pub paused: bool,
    /// Whether a change of its objects starts a run.
    pub on_change: bool,
}

/// Settings of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// Time limit for a whole run, including its retries.
    pub deadline: Duration,
    /// Gathering of changes before a run.
    pub on_change: OnChange,
}

/// Gathering of changes: a run begins when no change came for a while, or when the first change has waited
/// long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnChange {
    /// Quiet time after the last change.
    pub quiet: Duration,
    /// Longest wait of the first change.
    pub longest: Duration,
}

impl Config {
    /// Reads the file that `given` names, if any, applies the flags over it and checks all values. `now` is
    /// for schedules, which must be due in the future.
    ///
    /// # Errors
    /// Returns all problems in one error.
    pub fn load(given: &ConfigFlags, now: Timestamp) -> Result<Self, ConfigError> {
        let raw = match &given.store.config {
            Some(path) => raw::parse(path, &read(path)?)?,
            None => raw::RawConfig::default(),
        };
        check::check(given, raw, now)
    }

    /// Returns the cluster's name.
    ///
    /// # Errors
    /// Fails when neither the file nor a flag gives it.
    pub fn need_cluster(&self) -> Result<&ClusterName, ConfigError> {
        self.cluster
            .as_ref()
            .ok_or_else(|| missing("which cluster this is", "--cluster NAME", "cluster"))
    }

    /// Returns the location of the restore points.
    ///
    /// # Errors
    /// Fails when neither the file nor a flag gives it.
    pub fn need_store(&self) -> Result<&StoreUrl, ConfigError> {
        self.store
            .as_ref()
            .ok_or_else(|| missing("where restore points are kept", "--store URL", "store"))
    }

    /// Returns the recipients of what is written.
    ///
    /// # Errors
    /// Fails when neither the file nor a flag gives them: writing without encryption must be asked for.
    pub fn need_encryption(&self) -> Result<&Encryption, ConfigError> {
        let flags = "--recipient KEY (or --encryption none)";
        self.encryption
            .as_ref()
            .ok_or_else(|| missing("who may read what is written", flags, "encryption"))
    }

    /// Reads the key that signs restore points.
    ///
    /// # Errors
    /// Fails when no key is named, or its file cannot be read, is open to others, or does not contain a
    /// signing key.
    pub fn need_signing_key(&self) -> Result<SigningKey, ConfigError> {
        let path = self.signing_key.as_ref().ok_or_else(|| {
            missing(
                "what signs restore points",
                "--signing-key FILE",
                "signing.key",
            )
        })?;
        let text = secret::read_closed("signing key", path)?;
        let name = path.value.display().to_string();
        SigningKey::parse(&name, &text)
            .map_err(|e| Problem::new(path.origin.clone(), e.to_string()).into())
    }

    /// Reads the keys that decrypt; none if none were named. Calls `warn` for files that are open to others,
    /// because open files must not stop a restore.
    ///
    /// # Errors
    /// Fails when a file cannot be read or does not contain a key; the error names all such files.
    pub fn identities(&self, mut warn: impl FnMut(&str)) -> Result<Identities, ConfigError> {
        let mut identities = Identities::none();
        let mut problems = Vec::new();
        for path in &self.identities {
            match secret::read("identity", path) {
                Err(problem) => problems.push(problem),
                Ok(secret) => {
                    if let Some(exposed) = secret.exposed {
                        warn(&exposed);
                    }
                    let name = path.value.display().to_string();
                    if let Err(e) = identities.add(&name, &secret.text) {
                        problems.push(Problem::new(path.origin.clone(), e.to_string()));
                    }
                }
            }
        }
        if problems.is_empty() {
            Ok(identities)
        } else {
            Err(ConfigError::new(problems))
        }
    }

    /// Returns the signatures that are trusted.
    ///
    /// # Errors
    /// Fails when neither the file nor a flag gives them: trusting any signature must be asked for.
    pub fn need_trust(&self) -> Result<&Trust, ConfigError> {
        let flags = "--trust PUBKEY";
        self.trust
            .as_ref()
            .ok_or_else(|| missing("whose signatures to believe", flags, "reading.trust"))
    }
}

fn missing(what: &str, flag: &str, key: &str) -> ConfigError {
    ConfigError::missing(format!(
        "{what}; give {flag}, or the key `{key}` in the file of --config"
    ))
}

fn read(path: &Path) -> Result<String, ConfigError> {
    use std::io::Read as _;
    let problem = |why: String| {
        let message = format!("cannot read {}: {why}", path.display());
        ConfigError::from(Problem::new(Origin::Flag("--config"), message))
    };
    let file = std::fs::File::open(path).map_err(|e| problem(e.to_string()))?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    let read = read.map_err(|e| problem(e.to_string()))?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(problem(
            "it is above 1 MiB, so it is another file".to_owned(),
        ));
    }
    let text = backup_core::text::decode(&bytes).map_err(|e| problem(e.to_string()))?;
    Ok(text.as_str().to_owned())
}

#[cfg(test)]
mod tests;
