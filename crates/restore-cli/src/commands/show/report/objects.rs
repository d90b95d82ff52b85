//! Report of a manifest's Kubernetes part.

use std::collections::BTreeMap;

use backup_cli::human;
use backup_cli::output::Page;
use backup_core::format::export;
use jiff::Timestamp;
use serde::Serialize;

/// Objects of a component, kind by kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Archive {
    objects: u64,
    kinds: Vec<KindReport>,
    encryption_prefixes: Vec<String>,
    files: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct KindReport {
    resource: String,
    kind: String,
    version: String,
    objects: u64,
    bytes: u64,
    skipped: u64,
    /// Skipped objects that nothing refers to, by namespace.
    not_referred: BTreeMap<String, u64>,
    failed: Option<String>,
}

/// Largest number of namespaces that are named with their skipped objects, unless all are requested.
const NAMESPACES: usize = 8;

/// Facts about the cluster besides its objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Kubernetes {
    version: String,
    server: String,
    uid: String,
    crd_chart: Option<String>,
    sealed_secrets: Option<SealedSecrets>,
    tenants: Vec<TenantReport>,
    left_out: Vec<Exclusion>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SealedSecrets {
    keys: Vec<SealingKey>,
    sealed_secrets: u64,
    opened: u64,
}

#[derive(Debug, Serialize)]
struct SealingKey {
    secret: String,
    state: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct TenantReport {
    namespace: String,
    name: String,
    phase: Option<String>,
    endpoint: Option<String>,
    kubernetes_version: Option<String>,
    workers_desired: Option<u64>,
    workers_ready: Option<u64>,
    control_plane: Option<String>,
    datastore: Option<String>,
    kubeconfig_until: Option<Timestamp>,
    ready: Option<bool>,
    answered_version: Option<String>,
    failure: Option<String>,
}

#[derive(Debug, Serialize)]
struct Exclusion {
    resource: String,
    reason: String,
}

impl Archive {
    pub(super) fn of(facts: &export::ArchiveFacts) -> Self {
        let kinds = facts.kinds.iter().map(|kind| KindReport {
            resource: kind.resource.clone(),
            kind: kind.kind.clone(),
            version: kind.version.clone(),
            objects: kind.objects,
            bytes: kind.bytes,
            skipped: kind.skipped.iter().map(|s| s.objects).sum(),
            not_referred: kind
                .skipped
                .iter()
                .flat_map(|s| s.namespaces.clone())
                .collect(),
            failed: kind.failed.clone(),
        });
        Self {
            objects: facts.objects,
            kinds: kinds.collect(),
            encryption_prefixes: facts.encryption_prefixes.clone(),
            files: facts.files.clone(),
        }
    }

    pub(super) fn summary(&self) -> String {
        if !self.files.is_empty() {
            return format!("files: {}", self.files.join(", "));
        }
        match (self.objects, self.kinds.len()) {
            (1, 0) => "one file".to_owned(),
            (files, 0) => format!("{files} files"),
            (objects, kinds) => format!("{objects} of {kinds} kinds"),
        }
    }

    pub(super) fn page(&self, page: &mut Page, all: bool) {
        let told = |kind: &&KindReport| all || kind.objects > 0 || kind.failed.is_some();
        let shown: Vec<&KindReport> = self.kinds.iter().filter(told).collect();
        let empty = self.kinds.len().saturating_sub(shown.len());
        if !shown.is_empty() {
            let rows = shown.iter().map(|kind| {
                [
                    format!("  {}", kind.resource),
                    kind.objects.to_string(),
                    human::bytes(kind.bytes),
                    kind.version.clone(),
                    kind.note(),
                ]
            });
            page.table(["  RESOURCE", "OBJECTS", "SIZE", "VERSION", "NOTE"], rows);
        }
        for left in self.kinds.iter().filter_map(|kind| kind.left(all)) {
            page.line(&format!("  {left}"));
        }
        if empty > 0 {
            page.line(&format!(
                "  and {empty} kinds without objects; --all lists them"
            ));
        }
    }
}

impl KindReport {
    /// Describes the objects that were left in namespaces because nothing refers to them.
    fn left(&self, all: bool) -> Option<String> {
        let most = if all { usize::MAX } else { NAMESPACES };
        let mut counts: Vec<_> = self.not_referred.iter().collect();
        counts.sort_by_key(|(_, objects)| std::cmp::Reverse(**objects));
        let told = counts.iter().take(most);
        let told: Vec<String> = told.map(|(name, n)| format!("{n} in {name}")).collect();
        let others = counts.len().saturating_sub(told.len());
        let others = (others > 0).then(|| format!("and {others} more namespaces: --all"));
        let places: Vec<String> = told.into_iter().chain(others).collect();
        (!places.is_empty()).then(|| {
            let places = places.join(", ");
            format!(
                "{} left out, as nothing refers to them: {places}",
                self.resource
            )
        })
    }

    fn note(&self) -> String {
        let failed = self.failed.iter().map(|why| format!("PARTIAL: {why}"));
        let skipped = (self.skipped > 0).then(|| format!("{} left out", self.skipped));
        failed.chain(skipped).collect::<Vec<_>>().join("; ")
    }
}

impl Kubernetes {
    pub(super) fn of(facts: &export::KubernetesFacts) -> Self {
        let left_out = facts.left_out.iter().map(|left| Exclusion {
            resource: left.resource.clone(),
            reason: left.reason.clone(),
        });
        Self {
            version: facts.version.clone(),
            server: facts.server.clone(),
            uid: facts.uid.clone(),
            crd_chart: facts.crd_chart.clone(),
            sealed_secrets: facts.sealed_secrets.as_ref().map(SealedSecrets::of),
            tenants: facts.tenants.iter().map(TenantReport::of).collect(),
            left_out: left_out.collect(),
        }
    }

    pub(super) fn page(&self, page: &mut Page, all: bool) {
        page.heading("Kubernetes");
        let sealed = self.sealed_secrets.as_ref();
        let chart = self.crd_chart.clone();
        page.fields([
            ("  Version", self.version.clone()),
            ("  API server", self.server.clone()),
            (
                "  CRD chart",
                chart.unwrap_or_else(|| "not known".to_owned()),
            ),
            (
                "  Sealed Secrets",
                sealed.map_or_else(|| "no such kind".to_owned(), SealedSecrets::text),
            ),
            ("  Not listed", format!("{} kinds", self.left_out.len())),
        ]);
        if !self.tenants.is_empty() {
            page.heading("Tenants as they were");
            page.table(
                [
                    "TENANT",
                    "PHASE",
                    "ENDPOINT",
                    "VERSION",
                    "WORKERS",
                    "CONTROL PLANE",
                    "DATASTORE",
                    "KUBECONFIG UNTIL",
                    "API SERVER",
                ],
                self.tenants.iter().map(TenantReport::cells),
            );
        }
        if self.left_out.is_empty() {
            return;
        }
        if all {
            page.heading("Kinds that were not listed");
            let rows = self.left_out.iter();
            let rows = rows.map(|left| [left.resource.clone(), left.reason.clone()]);
            page.table(["RESOURCE", "REASON"], rows);
        } else {
            page.line("  --all shows which kinds were not listed, and why");
        }
    }
}

impl SealedSecrets {
    fn of(facts: &export::SealedFacts) -> Self {
        let keys = facts.keys.iter().map(|key| SealingKey {
            secret: key.secret.clone(),
            state: key.state.clone(),
        });
        Self {
            keys: keys.collect(),
            sealed_secrets: facts.sealed_secrets,
            opened: facts.opened,
        }
    }

    fn text(&self) -> String {
        let (all, opened, keys) = (self.sealed_secrets, self.opened, self.keys.len());
        let proof = format!("{opened} of {all} opened with the {keys} sealing keys in here");
        if opened < all {
            format!("{proof}: NOT ALL, see the findings")
        } else {
            proof
        }
    }
}

impl TenantReport {
    fn of(facts: &export::TenantFacts) -> Self {
        let plane = facts.control_plane.as_ref();
        Self {
            namespace: facts.namespace.clone(),
            name: facts.name.clone(),
            phase: facts.phase.clone(),
            endpoint: facts.endpoint.clone(),
            kubernetes_version: facts.kubernetes_version.clone(),
            workers_desired: facts.workers_desired,
            workers_ready: facts.workers_ready,
            control_plane: plane.and_then(|p| p.status.clone()),
            datastore: plane.and_then(|p| p.datastore.clone()),
            kubeconfig_until: facts.kubeconfig.as_ref().and_then(|k| k.client_not_after),
            ready: facts.answer.ready,
            answered_version: facts.answer.version.clone(),
            failure: facts.answer.failure.clone(),
        }
    }

    fn cells(&self) -> [String; 9] {
        let dash = || "-".to_owned();
        let known = |text: &Option<String>| text.clone().unwrap_or_else(dash);
        let number = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
        [
            format!("{}/{}", self.namespace, self.name),
            known(&self.phase),
            known(&self.endpoint),
            known(&self.kubernetes_version),
            format!(
                "{}/{}",
                number(self.workers_ready),
                number(self.workers_desired)
            ),
            known(&self.control_plane),
            known(&self.datastore),
            self.kubeconfig_until.map_or_else(dash, human::utc),
            self.answer(),
        ]
    }

    fn answer(&self) -> String {
        let version = self.answered_version.as_deref().unwrap_or("no version");
        let state = self.ready.map(|ready| {
            let ready = if ready { "ready" } else { "NOT READY" };
            format!("{ready}, {version}")
        });
        let failure = self.failure.clone();
        state
            .into_iter()
            .chain(failure)
            .collect::<Vec<_>>()
            .join("; ")
    }
}
