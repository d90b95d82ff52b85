//! Member of an etcd cluster: its lasting properties, and the start of its process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use crate::Folder;
use crate::pki::{Authority, Files};
use crate::port::Port;
use crate::process::{Process, Program};

/// Quota of the database: twice the largest size advised for etcd, so that the largest databases can be
/// measured.
const QUOTA_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// Lasting properties of a member.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) folder: PathBuf,
    pub(super) program: PathBuf,
    pub(super) client_port: Port,
    pub(super) peer_port: Port,
    pub(super) initial_cluster: String,
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) authority: Arc<Authority>,
    server: Files,
    pub(super) client: Files,
}

impl Member {
    /// Returns its address for clients.
    pub(super) fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    pub(super) fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    pub(super) fn as_initial(&self) -> String {
        format!("{}={}", self.name, self.peer_url())
    }

    /// Starts its process on `data_dir`.
    pub(super) fn start(&self, data_dir: &Path) -> Result<Process> {
        let mut args: Vec<String> = Vec::new();
        let mut flag = |name: &str, value: &str| args.push(format!("--{name}={value}"));
        flag("name", &self.name);
        flag("data-dir", &data_dir.to_string_lossy());
        flag("listen-client-urls", &self.endpoint());
        flag("advertise-client-urls", &self.endpoint());
        flag("listen-peer-urls", &self.peer_url());
        flag("initial-advertise-peer-urls", &self.peer_url());
        flag("initial-cluster", &self.initial_cluster);
        flag("initial-cluster-state", "new");
        flag("quota-backend-bytes", &QUOTA_BYTES.to_string());
        flag("logger", "zap");
        flag("log-level", "warn");
        // The lab's data is never kept over a crash of the machine, only over one of etcd.
        flag("unsafe-no-fsync", "true");
        if let Some(tls) = &self.tls {
            flag("cert-file", &tls.server.certificate.to_string_lossy());
            flag("key-file", &tls.server.key.to_string_lossy());
            flag("trusted-ca-file", &tls.server.ca.to_string_lossy());
            flag("client-cert-auth", "true");
        }
        Process::start(&Program {
            name: &self.name,
            path: &self.program,
            args,
            env: Vec::new(),
            folder: &self.folder,
        })
    }
}

/// Makes certificates for members called `name`, and for a client that may do everything.
pub(super) fn make_tls(folder: &Folder, name: &str) -> Result<Tls> {
    let authority = Authority::new(&format!("{name}-ca"))?;
    let pki = folder.make(format!("{name}-pki"))?;
    Ok(Tls {
        server: authority.write(&pki, "server", &authority.server(name)?)?,
        client: authority.write(&pki, "client", &authority.client("root", None)?)?,
        authority: Arc::new(authority),
    })
}
