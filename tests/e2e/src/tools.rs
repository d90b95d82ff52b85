//! Real programs of the lab, found in `KUBEBUILDER_ASSETS` or in the per-user cache, or built.

mod build;
mod module;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

use self::module::Module;
use crate::paths;

/// Real program of the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tool {
    /// The etcd server.
    Etcd,
    /// etcd's tool for files: status and restore of snapshots.
    Etcdutl,
    /// etcd's client.
    Etcdctl,
    /// The etcd server of the line before.
    Etcd35,
    /// Its tool for files.
    Etcdutl35,
    /// The etcd server of the line after.
    Etcd37,
    /// Its tool for files.
    Etcdutl37,
    /// The Kubernetes API server.
    KubeApiserver,
    /// Kubernetes' own controllers, the garbage collector among them.
    KubeControllerManager,
    /// Kubernetes' client.
    Kubectl,
    /// The controller that opens sealed Secrets.
    SealedSecretsController,
    /// The client that seals Secrets.
    Kubeseal,
    /// The S3 server.
    Versitygw,
    /// Flux's own generator of what `flux bootstrap` commits.
    FluxSync,
}

impl Tool {
    /// All tools, the quick ones to build first.
    pub const ALL: &[Self] = &[
        Self::Etcd,
        Self::Etcdutl,
        Self::Etcdctl,
        Self::Etcd35,
        Self::Etcdutl35,
        Self::Etcd37,
        Self::Etcdutl37,
        Self::Versitygw,
        Self::FluxSync,
        Self::SealedSecretsController,
        Self::Kubeseal,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::Kubectl,
    ];

    /// Returns the executable's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd | Self::Etcd35 | Self::Etcd37 => "etcd",
            Self::Etcdutl | Self::Etcdutl35 | Self::Etcdutl37 => "etcdutl",
            Self::Etcdctl => "etcdctl",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::SealedSecretsController => "sealed-secrets-controller",
            Self::Kubeseal => "kubeseal",
            Self::Versitygw => "versitygw",
            Self::FluxSync => "flux-sync",
        }
    }

    /// Returns the folder below `tools/` that pins it.
    fn module(self) -> &'static str {
        match self {
            Self::Etcd | Self::Etcdutl | Self::Etcdctl => "etcd",
            Self::Etcd35 | Self::Etcdutl35 => "etcd-3.5",
            Self::Etcd37 | Self::Etcdutl37 => "etcd-3.7",
            Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => "kubernetes",
            Self::SealedSecretsController | Self::Kubeseal => "sealed-secrets",
            Self::Versitygw => "versitygw",
            Self::FluxSync => "flux",
        }
    }

    /// Returns the Go module whose version is the tool's version.
    fn go_module(self) -> &'static str {
        match self {
            Self::Etcd | Self::Etcd35 | Self::Etcd37 => "go.etcd.io/etcd/server/v3",
            Self::Etcdutl | Self::Etcdutl35 | Self::Etcdutl37 => "go.etcd.io/etcd/etcdutl/v3",
            Self::Etcdctl => "go.etcd.io/etcd/etcdctl/v3",
            Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => {
                "k8s.io/kubernetes"
            }
            Self::SealedSecretsController | Self::Kubeseal => "github.com/bitnami/sealed-secrets",
            Self::Versitygw => "github.com/versity/versitygw",
            Self::FluxSync => "github.com/fluxcd/flux2/v2",
        }
    }

    /// Returns the Go package to build.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd
            | Self::Etcdutl
            | Self::Etcdctl
            | Self::Etcd35
            | Self::Etcdutl35
            | Self::Etcd37
            | Self::Etcdutl37 => self.go_module(),
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            // The lab's own main program around the controller's packages.
            Self::SealedSecretsController => "./controller",
            Self::Kubeseal => "github.com/bitnami/sealed-secrets/cmd/kubeseal",
            Self::Versitygw => "github.com/versity/versitygw/cmd/versitygw",
            // The lab's own main program around Flux's package.
            Self::FluxSync => "./generator",
        }
    }

    /// Returns the variables that the linker sets to the version, for programs that report it to their
    /// clients.
    fn version_variables(self) -> &'static [&'static str] {
        match self {
            Self::KubeApiserver | Self::KubeControllerManager | Self::Kubectl => &[
                "k8s.io/component-base/version.gitVersion",
                "k8s.io/client-go/pkg/version.gitVersion",
            ],
            Self::Kubeseal => &["main.VERSION"],
            _ => &[],
        }
    }

    /// Returns the lab's own files that go into the build, in the module's folder.
    fn sources(self) -> &'static [&'static str] {
        match self {
            Self::SealedSecretsController => &["controller/main.go", "controller/linked.s"],
            Self::FluxSync => &["generator/main.go"],
            _ => &[],
        }
    }

    /// Returns roughly how long a build takes on two idle cores, so that a person knows what to expect.
    fn build_time(self) -> &'static str {
        match self {
            Self::KubeApiserver => "three to five minutes",
            Self::Etcdutl | Self::Etcdutl35 | Self::Etcdutl37 => "some seconds",
            _ => "about a minute",
        }
    }
}

/// Minor version of etcd that clusters run: a server and its tool for files. Each is a tools module of its
/// own, because one module holds one version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EtcdLine {
    /// Version, as in `3.6`.
    pub version: &'static str,
    /// Storage version that its snapshots contain: etcd writes none before 3.6.
    pub storage: Option<&'static str>,
    /// Server.
    pub etcd: Tool,
    /// Tool for files.
    pub etcdutl: Tool,
}

impl EtcdLine {
    /// Version of Steward, and of Talos up to 1.10.
    pub const V3_5: Self = Self {
        version: "3.5",
        storage: None,
        etcd: Tool::Etcd35,
        etcdutl: Tool::Etcdutl35,
    };
    /// Version of Talos 1.11 to 1.13, and the lab's own wherever no version is named.
    pub const LAB: Self = Self {
        version: "3.6",
        storage: Some("3.6.0"),
        etcd: Tool::Etcd,
        etcdutl: Tool::Etcdutl,
    };
    /// Version of Talos 1.14.
    pub const V3_7: Self = Self {
        version: "3.7",
        storage: Some("3.7.0"),
        etcd: Tool::Etcd37,
        etcdutl: Tool::Etcdutl37,
    };
    /// All versions, the oldest first.
    pub const ALL: &[Self] = &[Self::V3_5, Self::LAB, Self::V3_7];

    fn has(self, tool: Tool) -> bool {
        self.etcd == tool || self.etcdutl == tool
    }
}

/// Origin of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Folder that `KUBEBUILDER_ASSETS` names.
    Assets,
    /// Per-user cache.
    Cache,
    /// Built just now, into the cache.
    Built,
}

/// Tool on the disk.
#[derive(Debug, Clone)]
pub struct Found {
    /// Tool that was found.
    pub tool: Tool,
    /// Executable.
    pub path: PathBuf,
    /// Pinned version, such as `v3.6.16`; unknown for a tool from `KUBEBUILDER_ASSETS`.
    pub version: Option<String>,
    /// Origin of the tool.
    pub origin: Origin,
}

/// Finds `tool`, or builds it; `say` gets a line at intervals during a build. Builds run one after another,
/// over all processes of this user.
///
/// # Errors
/// Go is missing, or the build failed.
pub fn ensure(tool: Tool, say: &dyn Fn(&str)) -> Result<Found> {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    if let Some(path) = in_assets(tool, assets.as_deref()) {
        return Ok(Found {
            tool,
            path,
            version: None,
            origin: Origin::Assets,
        });
    }
    let module = Module::read(tool)?;
    let folder = paths::cache()?.join("tools").join(module.key());
    let (path, origin) = build::ensure(tool, &module, &folder, say)
        .with_context(|| format!("getting {} {}", tool.name(), module.version()))?;
    Ok(Found {
        tool,
        path,
        version: Some(module.version().to_owned()),
        origin,
    })
}

/// Returns the path of the executable of `tool`. Progress of a build goes to standard error. The result is
/// kept for the life of this process.
///
/// # Errors
/// As [`ensure`].
pub async fn path(tool: Tool) -> Result<PathBuf> {
    tokio::task::spawn_blocking(move || path_blocking(tool))
        .await
        .context("looking for a tool")?
}

/// Returns the path as [`path`] does, for callers that are not async.
///
/// # Errors
/// As [`ensure`].
pub fn path_blocking(tool: Tool) -> Result<PathBuf> {
    static FOUND: [OnceLock<PathBuf>; Tool::ALL.len()] =
        [const { OnceLock::new() }; Tool::ALL.len()];
    let kept = Tool::ALL
        .iter()
        .zip(&FOUND)
        .find_map(|(one, kept)| (*one == tool).then_some(kept));
    if let Some(path) = kept.and_then(OnceLock::get) {
        return Ok(path.clone());
    }
    let path = ensure(tool, &say_on_stderr)?.path;
    if let Some(kept) = kept {
        return Ok(kept.get_or_init(|| path).clone());
    }
    Ok(path)
}

/// Prints progress for callers without a screen of their own.
pub fn say_on_stderr(line: &str) {
    use std::io::Write;
    // An error here cannot be reported, because standard error itself is gone.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn in_assets(tool: Tool, assets: Option<&Path>) -> Option<PathBuf> {
    // The folder has one version of etcd, and the other lines need their own.
    let mut lines = EtcdLine::ALL.iter().filter(|line| **line != EtcdLine::LAB);
    if lines.any(|line| line.has(tool)) {
        return None;
    }
    Some(assets?.join(tool.name())).filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assets_come_first_where_they_have_the_tool() {
        let assets = tempfile::tempdir().unwrap();
        std::fs::write(assets.path().join("etcd"), b"").unwrap();
        let found = in_assets(Tool::Etcd, Some(assets.path()));
        assert_eq!(found, Some(assets.path().join("etcd")));
        assert_eq!(in_assets(Tool::Etcdutl, Some(assets.path())), None);
        assert_eq!(in_assets(Tool::Etcd, None), None);
        // The folder has one version, of unknown number.
        assert_eq!(in_assets(Tool::Etcd35, Some(assets.path())), None);
    }

    #[test]
    fn every_tool_is_pinned() {
        for tool in Tool::ALL {
            let module = Module::read(*tool).unwrap();
            assert!(
                module.version().starts_with('v'),
                "{tool:?}: {}",
                module.version()
            );
        }
        for line in EtcdLine::ALL {
            for tool in [line.etcd, line.etcdutl] {
                let module = Module::read(tool).unwrap();
                let line = format!("v{}.", line.version);
                assert!(module.version().starts_with(&line), "{tool:?}");
            }
        }
    }
}
