//! State file that describes the running lab, so that `lab status`, `lab reset` and `lab down` find it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e2e::Folder;
use e2e::butler::Butler;
use serde::{Deserialize, Serialize};

/// Access to a lab.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    /// Folder of the lab, locked while it runs.
    pub(crate) folder: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    /// Talosconfig for each role.
    pub(crate) talosconfigs: BTreeMap<String, PathBuf>,
    pub(crate) etcd: Etcd,
    pub(crate) s3: S3,
    pub(crate) tenants: Vec<Tenant>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    /// Namespace of its TenantCluster.
    pub(crate) namespace: String,
    pub(crate) endpoint: String,
    pub(crate) kubeconfig: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Etcd {
    pub(crate) endpoint: String,
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) store: String,
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) env: BTreeMap<String, String>,
}

/// Returns the default path of the state: below the workspace, outside version control.
pub(crate) fn default_path() -> PathBuf {
    e2e::paths::workspace().join("lab").join("state.json")
}

impl State {
    /// Describes a running lab.
    pub(crate) fn of(lab: &Butler, folder: &Folder) -> Result<Self> {
        let files = lab
            .etcd
            .client_files()
            .context("the lab's etcd has no TLS")?;
        let env = lab.s3.keys().env();
        let tenants = lab.tenants().iter().map(|tenant| Tenant {
            name: tenant.name.clone(),
            namespace: tenant.namespace.clone(),
            endpoint: tenant.kube_apiserver.url(),
            kubeconfig: tenant.kubeconfig(),
        });
        Ok(Self {
            folder: folder.path().to_owned(),
            kubeconfig: lab.kubeconfig(),
            talosconfigs: lab.talosconfigs.clone(),
            etcd: Etcd {
                endpoint: lab.etcd.endpoint(),
                ca: files.ca.clone(),
                certificate: files.certificate.clone(),
                key: files.key.clone(),
            },
            s3: S3 {
                store: lab.store("lab"),
                endpoint: lab.s3.endpoint(),
                bucket: lab.bucket.clone(),
                env: env.map(|(name, value)| (name.to_owned(), value)).into(),
            },
            tenants: tenants.collect(),
        })
    }

    /// Writes the state; makes the folder if it is missing.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making {}", folder.display()))?;
        }
        let text = serde_json::to_vec_pretty(self).context("writing the lab's state")?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads the state at `path`; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let state = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a lab's state; remove it", path.display()))?;
        Ok(Some(state))
    }

    /// Reads the state as [`State::read`] does; `None` too if the lab that wrote it is dead.
    pub(crate) fn of_a_live_lab(path: &Path) -> Result<Option<Self>> {
        Ok(Self::read(path)?.filter(|state| e2e::folder::is_alive(&state.folder)))
    }

    /// Returns the file that `lab down` makes to ask for an end.
    pub(crate) fn down_file(&self) -> PathBuf {
        self.folder.join("down")
    }

    /// Returns the file that `lab reset` makes, and that the lab removes when it has lost its etcd.
    pub(crate) fn reset_file(&self) -> PathBuf {
        self.folder.join("reset")
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "kubeconfig    {}", self.kubeconfig.display())?;
        for tenant in &self.tenants {
            let Tenant {
                name,
                namespace,
                endpoint,
                kubeconfig,
            } = tenant;
            writeln!(f, "tenant        {namespace}/{name} at {endpoint}")?;
            writeln!(f, "  --kubeconfig={}", kubeconfig.display())?;
        }
        for (role, path) in &self.talosconfigs {
            writeln!(f, "talosconfig   {} ({role})", path.display())?;
        }
        let Etcd {
            endpoint,
            ca,
            certificate,
            key,
        } = &self.etcd;
        writeln!(f, "etcd          {endpoint}")?;
        writeln!(f, "  --cacert={}", ca.display())?;
        writeln!(f, "  --cert={}", certificate.display())?;
        writeln!(f, "  --key={}", key.display())?;
        writeln!(f, "S3            {}", self.s3.endpoint)?;
        for (name, value) in &self.s3.env {
            writeln!(f, "  export {name}={value}")?;
        }
        write!(f, "  --store '{}'", self.s3.store)
    }
}
