//! Build of kustomizations with `kubectl`: without a network where the system supports that, and
//! only if they need nothing from elsewhere.

use std::path::Path;
use std::time::Duration;

use super::GitError;
use super::documents::{CheckoutFolders, DocumentSet};
use super::kustomize::{self, KUBECTL, NetworkIsolation};
use super::refusals::refusals;
use super::runner::{CallLimits, run};
use crate::child;
use backup_core::format::manifest::Finding;

/// Limits of building one folder. The output is held in memory.
const BUILD: CallLimits = CallLimits {
    time: Duration::from_secs(60),
    output: 64 << 20,
};
/// Largest number of refusals that are listed for one kustomization.
const MAX_REFUSED: usize = 10;

impl DocumentSet {
    /// Returns how kustomize is kept from the network, and reports if it is not.
    pub(super) async fn network_isolation(&mut self) -> NetworkIsolation {
        let apart = kustomize::network_isolation().await;
        if apart == NetworkIsolation::None {
            self.findings.push(Finding::info(
                "kustomize",
                "this system gives a program no network of its own (`unshare --net` fails), so \
                 kustomizations are built where there is one",
                "nothing: a kustomization that names a part in another place is refused before \
                 it is built",
            ));
        }
        apart
    }

    /// Builds the kustomization in `folder`, if it needs nothing that is refused.
    pub(super) async fn kustomization(
        &mut self,
        place: CheckoutFolders<'_>,
        folder: &Path,
        name: &impl Fn(&Path) -> String,
        apart: NetworkIsolation,
    ) -> Result<(), GitError> {
        let refused = refusals(place.tree, folder);
        let more = refused.len().saturating_sub(MAX_REFUSED);
        for refusal in refused.iter().take(MAX_REFUSED) {
            let line = refusal.line.map(|line| format!(":{line}"));
            let object = format!("{}{}", name(&refusal.file), line.unwrap_or_default());
            let more = if more > 0 {
                format!(" (and {more} more there)")
            } else {
                String::new()
            };
            let (why, folder) = (&refusal.why, name(folder));
            self.warn(
                object,
                &format!("it {why}{more}; that is refused, and nothing of {folder} was taken"),
            );
        }
        if !refused.is_empty() {
            return Ok(());
        }
        if !child::is_there(KUBECTL) {
            self.warn(
                name(folder),
                "it holds a kustomization, and `kubectl`, which builds it, was not found; nothing \
                 of it was taken",
            );
            return Ok(());
        }
        let what = format!("build {}", name(folder));
        let home = place.home.join("home");
        std::fs::create_dir_all(&home).map_err(|e| GitError::read(&home, e))?;
        let build = kustomize::kustomize(folder, &home, apart);
        match run(build, &what, BUILD).await {
            Ok(bytes) => self.text(&name(folder), &bytes)?,
            // The message names files of the checkout, which is gone afterwards.
            Err(e) => {
                let said = e.to_string().replace(&place.tree.display().to_string(), "");
                self.warn(name(folder), &format!("{said}; nothing of it was taken"));
            }
        }
        Ok(())
    }
}
