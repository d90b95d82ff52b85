//! Sources of a run: the Talos API, the Kubernetes API and tenants' databases, as far as they are configured.

use std::collections::BTreeSet;
use std::sync::Arc;

use backup_cli::config::Config;
use backup_cli::open::kube_options;
use backup_core::archive::ResourceName;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::causes;
use backup_core::clock::Clock;
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::Finding;
use backup_core::id::ComponentName;
use backup_core::source::{ClusterSource, ObjectTap, SourceError};
use cluster_client::etcd::EtcdSource;
use cluster_client::kube::datastores::{self, DatastoreAccess};
use cluster_client::kube::{KeptObjectsUse, KubeArchive, KubeExport, KubeOptions, KubeSource};
use cluster_client::talos::{MachineConfigSource, TalosSource};

use super::RunContext;
use super::talos_access::talos_options;

/// Parses a component that this version can back up.
pub(crate) fn component(text: &str) -> Result<ComponentName, String> {
    let known = components();
    match text.parse::<ComponentName>() {
        Ok(name) if known.contains(&name) || name.datastore_name().is_some() => Ok(name),
        Ok(_) => {
            let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
            Err(format!("this version backs up {}", known.join(", ")))
        }
        Err(e) => Err(e.to_string()),
    }
}

/// Returns the components that can be asked for, in the order in which they are taken.
pub(crate) fn components() -> Vec<ComponentName> {
    let mut all = vec![ComponentName::etcd(), ComponentName::machine_config()];
    all.extend(KubeArchive::ALL.into_iter().map(KubeArchive::component));
    all.push(ComponentName::datastores());
    all
}

/// Requested components.
struct ComponentSelection<'a>(&'a [ComponentName]);

impl ComponentSelection<'_> {
    fn everything(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, name: &ComponentName) -> bool {
        self.everything() || self.0.contains(name)
    }

    fn has_datastore(&self, name: &str) -> bool {
        let datastores = ComponentName::datastores();
        self.everything()
            || self
                .0
                .iter()
                .any(|n| *n == datastores || n.datastore_name() == Some(name))
    }

    fn has_datastores(&self) -> bool {
        let datastores = ComponentName::datastores();
        self.everything()
            || self
                .0
                .iter()
                .any(|n| *n == datastores || n.datastore_name().is_some())
    }
}

/// Sources of a run; see the module.
pub(crate) struct Sources {
    etcd: Option<TalosSource>,
    machine_config: Option<MachineConfigSource>,
    export: Option<Arc<KubeExport>>,
    archives: Vec<KubeSource>,
    databases: Vec<(ComponentName, EtcdSource)>,
    missing: Vec<ComponentName>,
    /// Components without a source, each with the reason.
    nowhere: Vec<(ComponentName, SourceError)>,
    /// Reason why nothing comes through the Kubernetes API.
    unreached: Option<SourceError>,
    findings: Vec<Finding>,
}

impl Sources {
    /// Opens the sources that `wanted` needs; empty means everything that is configured. A source that cannot
    /// be opened costs only its own component.
    pub(crate) async fn open(
        config: &Config,
        wanted: &[ComponentName],
        context: &RunContext,
    ) -> Self {
        let wanted = ComponentSelection(wanted);
        let options = talos_options(&config.talos, &context.environment);
        let talos = TalosSource::new(options, Arc::clone(&context.clock));
        let mut sources = Self {
            etcd: None,
            machine_config: None,
            export: None,
            archives: Vec::new(),
            databases: Vec::new(),
            missing: Vec::new(),
            nowhere: Vec::new(),
            unreached: None,
            findings: Vec::new(),
        };
        if wanted.has(&ComponentName::machine_config()) {
            sources.machine_config(&talos, &wanted).await;
        }
        if wanted.has(&ComponentName::etcd()) {
            sources.etcd = Some(talos);
        }
        let archives = KubeArchive::ALL.into_iter();
        let archives: Vec<KubeArchive> = archives.filter(|a| wanted.has(&a.component())).collect();
        if archives.is_empty() && !wanted.has_datastores() {
            return sources;
        }
        match kube_options(config, &context.environment) {
            Some(options) => {
                context.progress.step("asking the Kubernetes API", None);
                if let Err(error) = sources.export(&options, config, &archives, context).await {
                    sources.no_export(&archives, &wanted, error);
                }
                sources.databases(&wanted, context).await;
            }
            None if wanted.everything() => sources.findings.push(not_configured(&archives)),
            None => sources.no_export(&archives, &wanted, no_way()),
        }
        sources
    }

    /// Notes that nothing comes through the Kubernetes API.
    fn no_export(
        &mut self,
        archives: &[KubeArchive],
        wanted: &ComponentSelection<'_>,
        why: SourceError,
    ) {
        let names = archives.iter().map(|archive| archive.component());
        let datastores = wanted.has_datastores().then(ComponentName::datastores);
        // With everything wanted, DataStores are taken if there are any, and that is unknown here.
        let datastores = datastores.filter(|_| !wanted.everything());
        self.missing.extend(names.chain(datastores));
        self.unreached = Some(why);
    }

    async fn machine_config(&mut self, talos: &TalosSource, wanted: &ComponentSelection<'_>) {
        let source = talos.machine_config();
        let why = match source.forbidden().await {
            Ok(None) => {
                self.machine_config = Some(source);
                return;
            }
            // This is the usual role of a backup: a known and reported gap, not a failure.
            Ok(Some(finding)) if wanted.everything() => {
                self.findings.push(finding);
                return;
            }
            Ok(Some(finding)) => SourceError {
                operation: format!("{}; {}", finding.cause, finding.remedy),
                try_other_member: false,
                source: None,
            },
            Err(error) => error,
        };
        self.nowhere.push((ComponentName::machine_config(), why));
    }

    async fn export(
        &mut self,
        options: &KubeOptions,
        config: &Config,
        archives: &[KubeArchive],
        context: &RunContext,
    ) -> Result<(), SourceError> {
        let selection = config.kubernetes.selection.clone();
        let kept = config.kubernetes.keep_kubeconfigs.clone();
        let clock = Arc::clone(&context.clock);
        let memory = context.memory.as_ref();
        let memory = memory.map(|m| KeptObjectsUse::new(m.kept.clone(), m.anew));
        let export = KubeExport::begin_with(options, selection, kept, clock, memory).await?;
        let export = Arc::new(export);
        self.archives = archives.iter().map(|a| export.archive(*a)).collect();
        self.export = Some(export);
        Ok(())
    }

    /// Finds the tenants' databases.
    async fn databases(&mut self, wanted: &ComponentSelection<'_>, context: &RunContext) {
        let Some(export) = self.export.as_ref().filter(|_| wanted.has_datastores()) else {
            return;
        };
        let found = match datastores::datastores(export.client(), context.clock.now()).await {
            Ok(found) => found,
            Err(e) => {
                self.missing.push(ComponentName::datastores());
                self.findings.push(Finding::error(
                    "datastores.steward.butlerlabs.dev",
                    format!(
                        "the DataStores could not be found: {}",
                        causes::line_below(&e)
                    ),
                    "apply deploy/rbac.yaml, then take another restore point",
                ));
                // The number of DataStores is unknown: none of them was taken.
                self.missing.push(ComponentName::datastores());
                return;
            }
        };
        let found: Vec<_> = found
            .into_iter()
            .filter(|store| wanted.has_datastore(&store.name))
            .collect();
        self.findings.extend(datastores::unmet(&found));
        for store in found {
            let Ok(name) = ComponentName::datastore(&store.name) else {
                continue;
            };
            match store.access {
                DatastoreAccess::Etcd(options) => {
                    let source = EtcdSource::new(*options, Arc::clone(&context.clock));
                    self.databases.push((name, source));
                }
                DatastoreAccess::Broken { .. } => self.missing.push(name),
                DatastoreAccess::NotCovered { .. } => {}
            }
        }
    }

    /// Adds findings from before the run.
    pub(crate) fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.findings.extend(findings);
    }

    /// Returns the kinds whose objects a mirror takes; `None` if none of them is read.
    pub(crate) fn mirrored(&self) -> Option<BTreeSet<ResourceName>> {
        let mut archives = self.archives.iter().map(KubeSource::archive);
        archives.find(|archive| is_mirrored(*archive))?;
        Some(self.export.as_ref()?.custom_kinds())
    }

    /// Attaches `tap` to the archives whose objects a mirror takes.
    pub(crate) fn show_to(&mut self, tap: &Arc<dyn ObjectTap>) {
        for source in self
            .archives
            .iter_mut()
            .filter(|s| is_mirrored(s.archive()))
        {
            source.show_to(Arc::clone(tap));
        }
    }

    /// Returns the present tenants; `None` if the Kubernetes API was not reached.
    pub(crate) async fn tenants(&self, clock: &dyn Clock) -> Option<Vec<TenantFacts>> {
        let (tenants, _) = self.export.as_ref()?.tenants(clock).await;
        Some(tenants)
    }

    /// Returns the plan of the run.
    pub(crate) fn plan(&mut self) -> BackupPlan<'_> {
        let mut nowhere = std::mem::take(&mut self.nowhere);
        let others = self.etcd.is_some()
            || self.machine_config.is_some()
            || !self.archives.is_empty()
            || !self.databases.is_empty();
        match (self.unreached.take(), self.missing.first()) {
            // The error becomes the component's failure, which decides the exit code, because there is
            // nothing else to report.
            (Some(why), Some(_)) if !others && nowhere.is_empty() => {
                nowhere.push((self.missing.remove(0), why));
            }
            (Some(why), _) => self.findings.push(not_reached(&why)),
            (None, _) => {}
        }
        let mut parts = Vec::new();
        if let Some(etcd) = &self.etcd {
            parts.push((ComponentName::etcd(), Origin::Snapshot(etcd)));
        }
        if let Some(source) = &self.machine_config {
            parts.push((ComponentName::machine_config(), Origin::Archive(source)));
        }
        for archive in &self.archives {
            parts.push((archive.archive().component(), Origin::Archive(archive)));
        }
        for (name, source) in &self.databases {
            parts.push((name.clone(), Origin::Snapshot(source)));
        }
        let nowhere = nowhere.into_iter();
        parts.extend(nowhere.map(|(name, why)| (name, Origin::Nowhere(why))));
        BackupPlan {
            parts,
            cluster: self.export.as_deref().map(cluster_source),
            missing: self.missing.clone(),
            findings: self.findings.clone(),
        }
    }
}

fn is_mirrored(archive: KubeArchive) -> bool {
    matches!(archive, KubeArchive::Crds | KubeArchive::Resources)
}

fn cluster_source(export: &KubeExport) -> &dyn ClusterSource {
    export
}

fn not_configured(archives: &[KubeArchive]) -> Finding {
    let names: Vec<String> = archives.iter().map(|a| a.component().to_string()).collect();
    Finding::warning(
        "Kubernetes API",
        format!(
            "no way to it is configured, so there is no {}",
            names.join(", ")
        ),
        "give --kubeconfig FILE, or ask for `--component etcd` alone",
    )
}

fn not_reached(error: &SourceError) -> Finding {
    Finding::error(
        "Kubernetes API",
        format!("nothing was exported: {}", causes::line_below(error)),
        "see that the API server runs and lets backupd in, then take another restore point",
    )
}

fn no_way() -> SourceError {
    SourceError {
        operation: "no way to the Kubernetes API is configured; give --kubeconfig FILE, the key \
                    `kubernetes.kubeconfig`, or KUBECONFIG"
            .to_owned(),
        try_other_member: false,
        source: None,
    }
}
