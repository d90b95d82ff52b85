//! Call of `kubectl kustomize`, without a network where the system supports that.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::runner::{CallLimits, piped, run};
use crate::child::{self, Environment};

/// Program that builds kustomizations.
pub(super) const KUBECTL: &str = "kubectl";
/// Limits of a program that does nothing.
const TRY: CallLimits = CallLimits {
    time: Duration::from_secs(10),
    output: 16 << 10,
};

/// Way in which a program is kept from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NetworkIsolation {
    /// In its own network without connections, by these arguments of `unshare`.
    Separate(&'static [&'static str]),
    /// Not at all: the system does not support it.
    None,
}

/// Arguments that create a separate network: as any user, and as root where users may not do that.
const WAYS: [&[&str]; 2] = [
    &["--user", "--map-root-user", "--net", "--"],
    &["--net", "--"],
];

/// Returns how this system keeps a program from the network.
pub(super) async fn network_isolation() -> NetworkIsolation {
    for way in WAYS {
        let mut tried = child::command("unshare", Environment::Least);
        tried.args(way).arg("true");
        piped(&mut tried);
        let what = "try a network that leads nowhere";
        if run(tried, what, TRY).await.is_ok() {
            return NetworkIsolation::Separate(way);
        }
    }
    NetworkIsolation::None
}

/// Returns `kubectl kustomize` of `folder`; `home` is an empty folder where it looks for settings.
pub(super) fn kustomize(folder: &Path, home: &Path, apart: NetworkIsolation) -> Command {
    let mut command = match apart {
        NetworkIsolation::Separate(way) => {
            let mut command = child::command("unshare", Environment::Least);
            command.args(way).arg(KUBECTL);
            command
        }
        NetworkIsolation::None => child::command(KUBECTL, Environment::Least),
    };
    command.arg("kustomize").arg(folder);
    command.env("HOME", home).env("KUBECONFIG", "/dev/null");
    piped(&mut command);
    command
}
