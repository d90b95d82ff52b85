//! The configuration: a file and flags become checked values, or a list of what is wrong.

use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_core::crypt::{Identities, Recipient, SigningKey, Trust};
use backup_core::id::{ClusterName, ComponentName};
use backup_core::source::kube::Selection;
use backup_core::store::url::StoreUrl;
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
pub use problem::{ConfigError, Origin, Problem, Sourced};
pub use schedule::{Schedule, ScheduleError};
pub use secret::{read_secret, read_token};

/// A configuration is some kilobytes; more is a wrong file.
const MAX_BYTES: u64 = 1 << 20;

/// The flags that a command has; those that it lacks stay at their default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Given {
    /// Where the configuration and the restore points are.
    pub store: StoreFlags,
    /// Whose restore points are written.
    pub cluster: ClusterFlags,
    /// How the Talos API is reached.
    pub talos: TalosFlags,
    /// How the Kubernetes API is reached.
    pub kube: KubeFlags,
    /// Which objects are taken.
    pub select: SelectFlags,
    /// Who may read and who vouches.
    pub seal: SealFlags,
    /// Whose signatures are believed.
    pub trust: TrustFlags,
    /// What decrypts.
    pub identity: IdentityFlags,
}

/// Checked values. Those that a command cannot do without are asked for by their `need_`.
#[derive(Debug)]
pub struct Config {
    /// The file that was read, if one was.
    pub file: Option<PathBuf>,
    /// The cluster's name.
    pub cluster: Option<ClusterName>,
    /// Where restore points are kept.
    pub store: Option<StoreUrl>,
    /// How the Talos API is reached.
    pub talos: Talos,
    /// How the Kubernetes API is reached, and what is taken there.
    pub kubernetes: Kubernetes,
    /// Who may read what is written.
    pub encryption: Option<Encryption>,
    /// The file with the signing key.
    pub signing_key: Option<Sourced<PathBuf>>,
    /// Files with keys that decrypt.
    pub identities: Vec<Sourced<PathBuf>>,
    /// Whose signatures are believed.
    pub trust: Option<Trust>,
    /// How runs are made.
    pub runs: Runs,
    /// What is backed up, and when.
    pub components: Vec<Component>,
    /// Where definitions and custom resources are mirrored to, if anywhere.
    pub git_mirror: Option<GitMirror>,
    /// Whether leftovers are removed, and when; `None` for never.
    pub leftovers: Option<Leftovers>,
}

/// How objects are removed that runs put and did not live to commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leftovers {
    /// How old they are then.
    pub grace: Duration,
}

impl Leftovers {
    /// The grace time where none was given: whatever a day's runs may be doing is over.
    pub const GRACE: Duration = Duration::from_hours(24);

    /// The shortest grace time beside runs that may take until `deadline`: a run that hangs at its
    /// deadline has some time to end, and clocks may differ.
    #[must_use]
    pub fn shortest(deadline: Duration) -> Duration {
        deadline.saturating_mul(2)
    }
}

/// How the Talos API is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Talos {
    /// The talosconfig, if one was named.
    pub config: Option<PathBuf>,
    /// Its context, if one was named.
    pub context: Option<String>,
    /// The nodes to take snapshots from; empty for those of the context.
    pub nodes: Vec<String>,
    /// How long a stream may give no byte.
    pub idle_timeout: Duration,
    /// How long a whole snapshot may take.
    pub deadline: Duration,
}

/// How the Kubernetes API is reached, and what is taken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    /// The kubeconfig, if one was named.
    pub kubeconfig: Option<PathBuf>,
    /// Its context, if one was named.
    pub context: Option<String>,
    /// How long one request may take.
    pub timeout: Duration,
    /// Kubeconfigs that are files, kept with those of the tenants.
    pub keep_kubeconfigs: Vec<PathBuf>,
    /// Which objects are taken.
    pub selection: Selection,
}

/// Who may read what is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// Everyone with access to the store; asked for by name.
    None,
    /// The holders of the private halves of these keys; at least one.
    Recipients(Vec<Recipient>),
}

/// One component and when it is due.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// When it is due; `None` for on demand only.
    pub schedule: Option<Schedule>,
    /// Up to how much later than due it begins, so that clusters do not all begin at once.
    pub jitter: Duration,
    /// Whether a run that was missed is made up for, once.
    pub catch_up: bool,
    /// Whether its schedule rests.
    pub paused: bool,
    /// Whether it is taken when what it holds changes.
    pub on_change: bool,
}

/// How runs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runs {
    /// How long a run may take in all, its retries included.
    pub deadline: Duration,
    /// How changes are gathered before a run.
    pub on_change: OnChange,
}

/// How changes are gathered: a run begins when none came for a while, or the first has waited long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnChange {
    /// How long it must be quiet.
    pub quiet: Duration,
    /// How long the first change waits at most.
    pub longest: Duration,
}

impl Config {
    /// Reads the file that `given` names, if any, lays the flags over it and checks all values.
    /// `now` is for schedules, which must have a future.
    ///
    /// # Errors
    /// Everything that is wrong, in one error.
    pub fn load(given: &Given, now: Timestamp) -> Result<Self, ConfigError> {
        let raw = match &given.store.config {
            Some(path) => raw::parse(path, &read(path)?)?,
            None => raw::Raw::default(),
        };
        check::check(given, raw, now)
    }

    /// The cluster's name.
    ///
    /// # Errors
    /// When neither file nor flag told it.
    pub fn need_cluster(&self) -> Result<&ClusterName, ConfigError> {
        self.cluster
            .as_ref()
            .ok_or_else(|| missing("which cluster this is", "--cluster NAME", "cluster"))
    }

    /// Where restore points are kept.
    ///
    /// # Errors
    /// When neither file nor flag told it.
    pub fn need_store(&self) -> Result<&StoreUrl, ConfigError> {
        self.store
            .as_ref()
            .ok_or_else(|| missing("where restore points are kept", "--store URL", "store"))
    }

    /// Who may read what is written.
    ///
    /// # Errors
    /// When neither file nor flag told it: leaving encryption out must be asked for.
    pub fn need_encryption(&self) -> Result<&Encryption, ConfigError> {
        let flags = "--recipient KEY (or --encryption none)";
        self.encryption
            .as_ref()
            .ok_or_else(|| missing("who may read what is written", flags, "encryption"))
    }

    /// The key that signs restore points.
    ///
    /// # Errors
    /// When it was not named, cannot be read, is open to others, or is no signing key.
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

    /// The keys that decrypt, none if none were named. `warn` is told of files open to others:
    /// at a restore that must not stop anybody.
    ///
    /// # Errors
    /// When a file cannot be read or holds no key; all of them are named.
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

    /// Whose signatures are believed.
    ///
    /// # Errors
    /// When neither file nor flag told it: believing anything must be asked for.
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
