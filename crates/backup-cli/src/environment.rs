//! Environment variables, read once at the start and passed on as values.

use std::path::PathBuf;

use backup_core::proxy::Proxies;

mod aws;

pub use aws::Aws;

/// Environment variables that the programs use in addition to those of their flags. The AWS library reads
/// most AWS variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `TALOSCONFIG`: the talosconfig file.
    pub talosconfig: Option<PathBuf>,
    /// `TALOS_HOME`: the folder with a talosconfig.
    pub talos_home: Option<PathBuf>,
    /// `KUBECONFIG`: the kubeconfig file; the first of several.
    pub kubeconfig: Option<PathBuf>,
    /// Whether `KUBERNETES_SERVICE_HOST` is set, which means that the process runs in a pod.
    pub in_cluster: bool,
    /// `HOME`, which may be missing.
    pub home: Option<PathBuf>,
    /// `HOSTNAME`: name of the machine or the pod.
    pub host: Option<String>,
    /// `TMPDIR`, or the system's folder for temporary files.
    pub temp: PathBuf,
    /// `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`.
    pub proxies: Proxies,
    /// Region and endpoint from `AWS_…`, and a problem with the AWS variables, if any.
    pub aws: Aws,
}

impl Environment {
    /// Reads the environment of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = |name: &str| std::env::var(name).ok();
        let path = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        Self {
            talosconfig: path("TALOSCONFIG"),
            talos_home: path("TALOS_HOME"),
            kubeconfig: path("KUBECONFIG").and_then(|list| std::env::split_paths(&list).next()),
            in_cluster: path("KUBERNETES_SERVICE_HOST").is_some(),
            home: path("HOME"),
            host: text("HOSTNAME")
                .map(|name| name.trim().to_owned())
                .filter(|name| !name.is_empty()),
            temp: std::env::temp_dir(),
            proxies: Proxies::read(text),
            aws: Aws::read(text),
        }
    }
}
