//! Command `backupd run`, the daemon.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use backup_cli::exit::Exit;
use backup_cli::failure::Failure;
use backup_cli::program::Frame;

use crate::daemon::election::LeaseName;
use crate::daemon::shard::Shard;
use crate::daemon::{self, Options};
use crate::tls::TlsFiles;

/// Time that the daemon takes beyond the grace time of runs, to end cancelled runs and send the end of
/// streams.
const WIND_DOWN: Duration = Duration::from_secs(15);

/// Run as a daemon: back up clusters by their schedules
///
/// Reads a file, or a folder with a file for each cluster, and reads it again when it changes and on
/// SIGHUP; of a file that is broken, what it said before stays in force. Serves metrics, status and restore points
/// on demand over HTTP. Logs what it does: `--log-level` is `info` here, unless it is given. SIGTERM
/// ends it: no further run begins, and one at work gets the grace time.
#[derive(Debug, clap::Args)]
#[command(after_help = backup_cli::exit::HELP)]
pub(crate) struct Args {
    /// Read the configuration of the clusters from this file, or from each `*.yaml` in this folder
    #[arg(
        long,
        value_name = "PATH",
        env = "BUTLER_BACKUP_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: PathBuf,
    /// Serve metrics, status and restore points here
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Answer probes here, in the clear: `/healthz` and `/readyz`
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:8081")]
    pub(crate) health_listen: SocketAddr,
    /// Answer requests for this name, too; addresses, `localhost`, this machine's name and those of
    /// --tls-cert need none
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Vec<String>,
    /// Let clients with the token in this file read the status and ask for restore points [default:
    /// all read, and only this machine asks]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Take the token without TLS from other machines: a proxy or a mesh encrypts what is sent
    #[arg(long, requires = "token_file")]
    pub(crate) insecure_token: bool,
    /// Let all clients read the status and the restore points, even if they need a token or
    /// certificate to ask for one
    #[arg(long)]
    pub(crate) open_reads: bool,
    /// Serve HTTPS with the certificate in this file, and what was sent along with it
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Serve HTTPS with the private key in this file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Let clients with a certificate of an authority in this file read the status and ask for
    /// restore points
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Let a run at work continue for this many seconds after SIGTERM; some more pass until the end
    #[arg(long, value_name = "SECONDS", default_value_t = 25)]
    pub(crate) grace: u16,
    /// Run only the clusters of this shard, as in `0/3`; each cluster is of exactly one
    #[arg(long, value_name = "I/N", default_value_t = Shard::ALL, hide_default_value = true)]
    pub(crate) shard: Shard,
    /// Make runs only while holding this Lease, so that several daemons take turns; shards have one
    /// each, with their number at its end [default: no election]
    #[arg(long, value_name = "NAMESPACE/NAME", value_parser = lease)]
    pub(crate) lease: Option<LeaseName>,
    /// Reach the API server of the Lease with this kubeconfig [default: `KUBECONFIG`, then the pod's
    /// own service account]
    #[arg(long, value_name = "FILE", requires = "lease")]
    pub(crate) lease_kubeconfig: Option<PathBuf>,
    /// Continue with etcd snapshots when the API server of the Lease has not answered for this many
    /// seconds: they need no Kubernetes
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    pub(crate) alone_after: u16,
}

fn lease(text: &str) -> Result<LeaseName, String> {
    match text.split_once('/') {
        Some((namespace, name))
            if !namespace.is_empty() && !name.is_empty() && !name.contains('/') =>
        {
            Ok(LeaseName {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        }
        _ => Err("want NAMESPACE/NAME".to_owned()),
    }
}

impl Args {
    fn grace(&self) -> Duration {
        Duration::from_secs(u64::from(self.grace))
    }

    /// Returns the files for HTTPS, if they are given.
    fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.client_ca.clone(),
        })
    }

    /// Converts the flags into the options of the daemon.
    fn options(&self) -> Options {
        Options {
            config: self.config.clone(),
            listen: self.listen,
            health_listen: self.health_listen,
            names: self.name.clone(),
            token_file: self.token_file.clone(),
            open_reads: self.open_reads,
            tls: self.tls(),
            grace: self.grace(),
            shard: self.shard,
            lease: self.lease.clone(),
            lease_kubeconfig: self.lease_kubeconfig.clone(),
            alone_after: Duration::from_secs(u64::from(self.alone_after)),
        }
    }

    /// Refuses a token that other machines would send in the clear, where others could read it.
    fn token_stays_private(&self) -> Result<(), Failure> {
        let is_private = self.tls_cert.is_some() || self.listen.ip().is_loopback();
        if self.token_file.is_none() || self.insecure_token || is_private {
            return Ok(());
        }
        let refused = format!(
            "--token-file without TLS: other machines would send the token to {} in the clear",
            self.listen
        );
        Err(Failure::message(Exit::Usage, refused).hint(
            "give --tls-cert and --tls-key, or --listen 127.0.0.1:8080; where a proxy or a mesh \
             encrypts what is sent, --insecure-token says so",
        ))
    }

    pub(crate) fn grace_in_all(&self) -> Duration {
        self.grace().saturating_add(WIND_DOWN)
    }
}

pub(crate) async fn run(args: &Args, frame: &Frame) -> Result<Exit, Failure> {
    args.token_stays_private()?;
    daemon::run(args.options(), frame).await
}
