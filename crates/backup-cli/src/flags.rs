//! Command-line flags that both programs or several commands have.
//!
//! Flags win over the configuration file. Each help text begins with an imperative and has no full stop at
//! its end.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::logging::{LogFormat, LogLevel};
use crate::output::Format;

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct CommonFlags {
    /// Write data to stdout in this form
    #[arg(
        long,
        short,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value_t
    )]
    pub output: Format,
    /// Show no progress and no status, only data, warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log to stderr from this level on, also by module as in `info,backup_core::store=debug`
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        env = "LOG_LEVEL",
        default_value = "warn",
        hide_env_values = true
    )]
    pub log_level: LogLevel,
    /// Write log lines in this form
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        env = "LOG_FORMAT",
        default_value_t,
        hide_env_values = true
    )]
    pub log_format: LogFormat,
}

/// Where the configuration and the restore points are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Restore points")]
pub struct StoreFlags {
    /// Read the configuration from this file; flags win over it
    #[arg(
        long,
        value_name = "FILE",
        env = "BUTLER_BACKUP_CONFIG",
        hide_env_values = true
    )]
    pub config: Option<PathBuf>,
    /// Find or keep restore points here: `s3://BUCKET/PREFIX?endpoint=URL&region=R&path-style=true` or
    /// `file:///FOLDER`; S3 credentials come from the usual AWS variables and files
    #[arg(long, value_name = "URL")]
    pub store: Option<String>,
}

/// Whose restore points are written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Restore points")]
pub struct ClusterFlags {
    /// Call the cluster by this name
    #[arg(long, value_name = "NAME")]
    pub cluster: Option<String>,
}

/// How the cluster's Talos API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Talos")]
pub struct TalosFlags {
    /// Read certificates and endpoints from this talosconfig [default: `TALOSCONFIG`, then
    /// `TALOS_HOME` or the home folder, then the pod's own]
    #[arg(long, value_name = "FILE")]
    pub talosconfig: Option<PathBuf>,
    /// Use this context of the talosconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT")]
    pub context: Option<String>,
    /// Take snapshots from these control plane nodes [default: those of the context]
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub nodes: Vec<String>,
}

/// How the cluster's Kubernetes API is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Kubernetes")]
pub struct KubeFlags {
    /// Reach the Kubernetes API with this kubeconfig [default: `KUBECONFIG`, then the pod's own
    /// service account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Use this context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "CONTEXT")]
    pub kube_context: Option<String>,
}

/// Which objects are taken, in the words of Velero.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectFlags {
    /// Take only objects in these namespaces [default: all]
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub include_namespaces: Vec<String>,
    /// Take no objects in these namespaces
    #[arg(long, value_name = "NAMESPACE", value_delimiter = ',')]
    pub exclude_namespaces: Vec<String>,
    /// Take only these kinds, as `plural`, `plural.group` or kind; `*` for every kind but run-time
    /// noise [default: what a restore needs]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub include_resources: Vec<String>,
    /// Take none of these kinds
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub exclude_resources: Vec<String>,
    /// Take only objects with these labels, as in `team=blue,tier!=test`
    #[arg(long, short = 'l', value_name = "LABELS")]
    pub selector: Option<String>,
    /// Take kinds without a namespace [default: unless only some namespaces are included]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub include_cluster_resources: Option<bool>,
}

/// Who may read what is written, and who vouches for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Keys")]
pub struct SealFlags {
    /// Encrypt to this public key (`age1…`, `ssh-ed25519 …`, `ssh-rsa …`); may be repeated
    #[arg(long = "recipient", value_name = "KEY", conflicts_with = "encryption")]
    pub recipients: Vec<String>,
    /// Store everything unencrypted, for anyone with access to the store to read
    #[arg(long, value_enum, value_name = "none")]
    pub encryption: Option<NoEncryption>,
    /// Sign restore points with this key, as `backupd keygen` wrote it
    #[arg(long, value_name = "FILE")]
    pub signing_key: Option<PathBuf>,
}

/// The one word that `--encryption` takes: leaving it out must be asked for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NoEncryption {
    /// Store everything unencrypted.
    None,
}

/// Whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Keys")]
pub struct TrustFlags {
    /// Believe restore points that this minisign public key signed (`RW…` or a `.pub` file); may
    /// be repeated; `none` believes anything
    #[arg(long, value_name = "PUBKEY")]
    pub trust: Vec<String>,
}

/// What opens encrypted restore points.
#[derive(Debug, Clone, PartialEq, Eq, Default, Args)]
#[command(next_help_heading = "Keys")]
pub struct IdentityFlags {
    /// Decrypt with the age or SSH private key in this file; may be repeated
    #[arg(long = "identity", short, value_name = "FILE")]
    pub identities: Vec<PathBuf>,
}
