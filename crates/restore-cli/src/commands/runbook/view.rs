//! View of the facts, with the nouns that the templates use.

use backup_cli::human;
use backup_core::crypt::Trust;
use backup_core::format::export::{KindFacts, Skipped};
use backup_core::format::manifest::{Finding, Severity};
use backup_core::store::url::StoreUrl;
use cluster_restore::etcd::{Restart, WipeCommand, restarts_on};
use cluster_restore::orchestrate::PastDurations;
use cluster_restore::pause::{self, PauseMarker};
use cluster_restore::quiesce::{PARKED, REPLICAS};
use serde::Serialize;
use serde_json::json;

use self::cluster::{
    ComponentView, ControlPlaneView, DatastoreView, EtcdView, KubernetesView, TenantView,
};
use super::facts::Facts;
use super::shell::word;
use crate::commands::gaps::GapReport;
use crate::commands::signature;

mod cluster;

/// View of the facts; see the module. `None` is a fact that is not known.
#[derive(Debug, Serialize)]
pub(super) struct FactsView<'a> {
    /// Version of this program.
    version: &'static str,
    /// Id of the restore point.
    id: String,
    /// Place of its manifest in a copy of the store.
    manifest: String,
    /// Id of the restore point before it.
    parent: Option<&'a str>,
    cluster: &'a str,
    in_place: bool,
    began: String,
    signature: &'static str,
    /// Program that wrote the restore point.
    tool: &'a str,
    store: StoreView,
    /// Lines of the configuration that every command reads.
    config: [String; 3],
    encrypted: bool,
    /// Keys that open everything.
    recipients: Vec<String>,
    /// Keys one of which signed the restore point; `None` if no signature was checked.
    signing_keys: Option<Vec<String>>,
    nodes: NodesView<'a>,
    etcd: Option<EtcdView<'a>>,
    restarts: Vec<Restart>,
    wipes: Vec<WipeCommand>,
    kubernetes: Option<KubernetesView<'a>>,
    components: Vec<ComponentView<'a>>,
    /// Names of components, and of the restore points that they were taken for.
    carried: Vec<(&'a str, &'a str)>,
    has_objects: bool,
    /// Number of objects.
    objects: u64,
    tenants: Vec<TenantView<'a>>,
    /// Tenants' control planes in known namespaces.
    control_planes: Vec<ControlPlaneView<'a>>,
    datastores: Vec<DatastoreView<'a>>,
    lost_datastores: Vec<&'a str>,
    /// Each with what is missing, why, and the newest older restore point that has it.
    gaps: Vec<[String; 3]>,
    /// Last restore of this kind.
    last: Option<LastView>,
    /// Findings that matter to a restore.
    findings: Vec<&'a Finding>,
    /// Kinds that were not listed to their end.
    unlisted: Vec<&'a KindFacts>,
    /// Resources with objects of theirs that were left out.
    skipped: Vec<(&'a str, &'a Skipped)>,
    paused_by_annotation: Vec<PausedView<'a>>,
    paused_by_field: Vec<PausedView<'a>>,
    markers: MarkersView,
    /// Sentences on what is not known.
    pub(super) unknown: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StoreView {
    url: String,
    s3: Option<S3View>,
    folder: Option<String>,
}

#[derive(Debug, Serialize)]
struct S3View {
    /// Bucket and prefix.
    from: String,
    endpoint: Option<String>,
    region: Option<String>,
}

#[derive(Debug, Serialize)]
struct NodesView<'a> {
    /// Nodes from flags, configuration or talosconfig.
    named: &'a [String],
    /// The same, or else the node of the snapshot.
    all: Vec<String>,
    endpoints: &'a [String],
    context: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct LastView {
    began: String,
    whole: String,
    phases: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PausedView<'a> {
    resource: &'a str,
    /// Annotation, or field of the spec.
    marker: &'static str,
}

/// Marks that a restore leaves on objects.
#[derive(Debug, Serialize)]
struct MarkersView {
    replicas: &'static str,
    parked: &'static str,
    paused: &'static str,
}

impl<'a> FactsView<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let manifest = &facts.point.manifest;
        let components = &manifest.components;
        let archives = components.iter().filter_map(|c| c.archive.as_ref());
        let kinds: Vec<&KindFacts> = archives.clone().flat_map(|a| &a.kinds).collect();
        let skipped = kinds.iter().flat_map(|kind| {
            let named = kind.skipped.iter().filter(|s| !s.names.is_empty());
            named.map(|skipped| (kind.resource.as_str(), skipped))
        });
        let words: Vec<String> = facts.nodes().iter().map(|node| word(node)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let talos = facts
            .etcd()
            .and_then(|(_, etcd)| etcd.talos_version.as_deref());
        let mut view = Self {
            version: env!("CARGO_PKG_VERSION"),
            id: facts.id(),
            manifest: format!("copy/{}", facts.point.entry.key),
            parent: manifest.parent.as_ref().map(|parent| parent.id.as_str()),
            cluster: manifest.cluster.as_str(),
            in_place: facts.in_place(),
            began: human::utc(manifest.began),
            signature: signature(facts.point.verdict),
            tool: &manifest.tool,
            store: StoreView::of(&facts.store),
            config: config(facts),
            encrypted: !manifest.epochs().is_empty(),
            recipients: facts.recipients(),
            signing_keys: match &facts.trust {
                Trust::Anyone => None,
                Trust::Keys(keys) => Some(keys.iter().map(ToString::to_string).collect()),
            },
            nodes: NodesView {
                named: &facts.nodes.named,
                all: facts.nodes(),
                endpoints: &facts.nodes.endpoints,
                context: facts.nodes.context.as_deref(),
            },
            etcd: facts.etcd().map(EtcdView::of),
            restarts: restarts_on(&words, &words),
            wipes: words
                .iter()
                .map(|node| WipeCommand::of(node, talos))
                .collect(),
            kubernetes: facts.kubernetes().map(KubernetesView::of),
            components: components.iter().map(ComponentView::of).collect(),
            carried: components
                .iter()
                .filter_map(|c| Some((c.name.as_str(), c.carried_from.as_ref()?.as_str())))
                .collect(),
            has_objects: facts.has_objects(),
            objects: archives.map(|a| a.objects).fold(0, u64::saturating_add),
            tenants: facts.tenants().iter().map(TenantView::of).collect(),
            control_planes: facts
                .tenants()
                .iter()
                .filter_map(ControlPlaneView::of)
                .collect(),
            datastores: facts.datastores().map(DatastoreView::of).collect(),
            lost_datastores: facts.lost_datastores(),
            gaps: facts.lacked.iter().map(GapReport::cells).collect(),
            last: facts.took.as_ref().map(LastView::of),
            findings: manifest
                .findings
                .iter()
                .filter(|f| f.severity != Severity::Info)
                .collect(),
            unlisted: kinds
                .iter()
                .copied()
                .filter(|kind| kind.failed.is_some())
                .collect(),
            skipped: skipped.collect(),
            paused_by_annotation: Vec::new(),
            paused_by_field: Vec::new(),
            markers: MarkersView {
                replicas: REPLICAS,
                parked: PARKED,
                paused: pause::OURS,
            },
            unknown: Vec::new(),
        };
        for kind in kinds.iter().filter(|kind| kind.objects > 0) {
            let resource = kind.resource.as_str();
            let (paused, marker) = match pause::marker(&resource.into()) {
                Some(PauseMarker::Annotation(name)) => (&mut view.paused_by_annotation, name),
                Some(PauseMarker::Field(name)) => (&mut view.paused_by_field, name),
                None => continue,
            };
            paused.push(PausedView { resource, marker });
        }
        view
    }
}

/// Returns the configuration that every command reads. JSON is valid YAML, and quotes what must be quoted.
fn config(facts: &Facts) -> [String; 3] {
    let trust = match &facts.trust {
        Trust::Anyone => json!("none"),
        Trust::Keys(keys) => json!(keys.iter().map(ToString::to_string).collect::<Vec<_>>()),
    };
    [
        format!("cluster: {}", json!(facts.point.manifest.cluster.as_str())),
        format!("store: {}", json!(facts.store.to_string())),
        format!("reading: {}", json!({ "trust": trust })),
    ]
}

impl StoreView {
    fn of(store: &StoreUrl) -> Self {
        let (s3, folder) = match store {
            StoreUrl::S3(s3) => {
                let slash = if s3.prefix.is_empty() { "" } else { "/" };
                let s3 = S3View {
                    from: format!("s3://{}{slash}{}", s3.bucket, s3.prefix),
                    endpoint: s3.endpoint.clone(),
                    region: s3.region.clone(),
                };
                (Some(s3), None)
            }
            StoreUrl::Folder(folder) => (None, Some(folder.display().to_string())),
        };
        Self {
            url: store.to_string(),
            s3,
            folder,
        }
    }
}

impl LastView {
    fn of(took: &PastDurations) -> Self {
        let phases = took
            .named_phases()
            .map(|(phase, time)| format!("{phase} {}", human::span(time)));
        Self {
            began: human::utc(took.began),
            whole: human::span(took.whole),
            phases: phases.collect(),
        }
    }
}
