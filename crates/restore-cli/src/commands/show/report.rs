//! Report of a manifest.

use backup_cli::findings::{self, Finding};
use backup_cli::human;
use backup_cli::output::{Page, Report};
use backup_core::catalog::RestorePoint;
use backup_core::format::manifest::{self, Encryption};
use cluster_restore::orchestrate::LocatedGap;
use jiff::Timestamp;
use serde::Serialize;

use crate::commands::gaps::GapReport;
use crate::commands::signature;

mod objects;

use objects::{Archive, Kubernetes};

/// Printed result of `show`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PointReport {
    id: String,
    cluster: String,
    manifest_key: String,
    manifest_sha256: String,
    signature: &'static str,
    tool: String,
    began: Timestamp,
    ended: Timestamp,
    reason: Option<String>,
    pinned: bool,
    parent: Option<String>,
    lineage: Lineage,
    encryption: &'static str,
    recipients: Vec<String>,
    components: Vec<Component>,
    missing: Vec<String>,
    /// Requested data that the restore point lacks.
    lacks: Vec<GapReport>,
    kubernetes: Option<Kubernetes>,
    findings: Vec<Finding>,
    cost: Cost,
    #[serde(skip)]
    now: Timestamp,
    #[serde(skip)]
    all: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Lineage {
    id: String,
    kube_system_uid: Option<String>,
    revision: Option<u64>,
    begun_because: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    name: String,
    media_type: String,
    plain_bytes: u64,
    plain_sha256: String,
    packs: usize,
    pack_bytes: u64,
    recipes: usize,
    recipe_bytes: u64,
    etcd: Option<Etcd>,
    archive: Option<Archive>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Etcd {
    revision: u64,
    compact_revision: Option<u64>,
    total_keys: Option<u64>,
    origin: String,
    member_name: Option<String>,
    member_id: Option<String>,
    etcd_version: Option<String>,
    talos_version: Option<String>,
    storage_version: Option<String>,
    encryption_prefixes: Vec<String>,
}

impl Etcd {
    fn of(facts: &manifest::EtcdFacts) -> Self {
        Self {
            revision: facts.revision,
            compact_revision: facts.compact_revision,
            total_keys: facts.total_keys,
            origin: facts.origin.clone(),
            member_name: facts.member_name.clone(),
            member_id: facts.member_id.clone(),
            etcd_version: facts.etcd_version.clone(),
            talos_version: facts.talos_version.clone(),
            storage_version: facts.storage_version.clone(),
            encryption_prefixes: facts.encryption_prefixes.clone(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Cost {
    read_bytes: u64,
    chunks: u64,
    new_chunks: u64,
    objects: u64,
    stored_bytes: u64,
}

impl PointReport {
    pub(super) fn of(point: &RestorePoint, now: Timestamp, all: bool) -> Self {
        let manifest = point.manifest.clone();
        let cost = manifest.cost;
        let mut recipients: Vec<String> = manifest
            .epochs()
            .iter()
            .flat_map(|epoch| epoch.recipients.iter().map(ToString::to_string))
            .collect();
        recipients.sort();
        recipients.dedup();
        Self {
            id: point.entry.id.to_string(),
            cluster: manifest.cluster.to_string(),
            manifest_key: point.entry.key.to_string(),
            manifest_sha256: point.entry.digest.to_string(),
            signature: signature(point.verdict),
            tool: manifest.tool,
            began: manifest.began,
            ended: manifest.ended,
            reason: manifest.reason,
            pinned: manifest.pinned,
            parent: manifest.parent.map(|p| p.id.to_string()),
            lineage: Lineage {
                id: manifest.lineage.id,
                kube_system_uid: manifest.lineage.kube_system_uid,
                revision: manifest.lineage.revision,
                begun_because: manifest.lineage.begun_because,
            },
            encryption: match manifest.encryption {
                Encryption::None => "none",
                Encryption::Age { .. } => "age",
            },
            recipients,
            components: manifest.components.iter().map(Component::of).collect(),
            missing: manifest.missing.iter().map(ToString::to_string).collect(),
            lacks: Vec::new(),
            kubernetes: manifest.kubernetes.as_ref().map(Kubernetes::of),
            findings: findings::printed(&manifest.findings),
            cost: Cost {
                read_bytes: cost.read_bytes,
                chunks: cost.chunks,
                new_chunks: cost.new_chunks,
                objects: cost.objects,
                stored_bytes: cost.stored_bytes,
            },
            now,
            all,
        }
    }
}

impl PointReport {
    /// Adds the gaps of the restore point.
    pub(super) fn lacking(self, lacks: &[LocatedGap]) -> Self {
        let lacks = lacks.iter().map(GapReport::from).collect();
        Self { lacks, ..self }
    }
}

impl Component {
    fn of(component: &manifest::Component) -> Self {
        let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.fold(0, u64::saturating_add);
        Self {
            name: component.name.to_string(),
            media_type: component.media_type.clone(),
            plain_bytes: component.plain_bytes,
            plain_sha256: component.plain_sha256.to_string(),
            packs: component.packs.len(),
            pack_bytes: sum(&mut component.packs.iter().map(|p| p.bytes)),
            recipes: component.recipes.len(),
            recipe_bytes: sum(&mut component.recipes.iter().map(|r| r.bytes)),
            etcd: component.etcd.as_ref().map(Etcd::of),
            archive: component.archive.as_ref().map(Archive::of),
        }
    }

    fn page(&self, page: &mut Page, all: bool) {
        page.heading(&format!("Component {}", self.name));
        let objects = |number: usize, what: &str, bytes| {
            let plural = if number == 1 { "" } else { "s" };
            format!("{number} {what}{plural}, {}", human::bytes(bytes))
        };
        let mut fields = vec![
            ("  Kind", self.media_type.clone()),
            (
                "  Size",
                format!(
                    "{} ({} bytes)",
                    human::bytes(self.plain_bytes),
                    self.plain_bytes
                ),
            ),
            ("  SHA-256", self.plain_sha256.clone()),
            ("  Stored in", objects(self.packs, "pack", self.pack_bytes)),
            (
                "  Recipe",
                objects(self.recipes, "segment", self.recipe_bytes),
            ),
        ];
        if let Some(etcd) = &self.etcd {
            let known =
                |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
            let number = |number: Option<u64>| known(&number.map(|n| n.to_string()));
            let member = match (&etcd.member_name, &etcd.member_id) {
                (Some(name), Some(id)) => format!("{name} ({id})"),
                (name, id) => known(&name.clone().or_else(|| id.clone())),
            };
            let secrets = if etcd.encryption_prefixes.is_empty() {
                "not encrypted by Kubernetes".to_owned()
            } else {
                format!(
                    "encrypted by Kubernetes as {}",
                    etcd.encryption_prefixes.join(", ")
                )
            };
            fields.extend([
                ("  Revision", etcd.revision.to_string()),
                ("  Compacted to", number(etcd.compact_revision)),
                ("  Keys", number(etcd.total_keys)),
                ("  Taken from", etcd.origin.clone()),
                ("  Member", member),
                ("  etcd", known(&etcd.etcd_version)),
                ("  Talos", known(&etcd.talos_version)),
                ("  Secrets", secrets),
            ]);
        }
        fields.extend(self.archive.iter().map(|a| ("  Objects", a.summary())));
        page.fields(fields);
        if let Some(archive) = &self.archive {
            archive.page(page, all);
        }
    }
}

impl Report for PointReport {
    fn page(&self, page: &mut Page) {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
        let openers = if self.recipients.is_empty() {
            "everyone: not encrypted".to_owned()
        } else {
            self.recipients.join("\n")
        };
        let took = self.ended.duration_since(self.began);
        page.fields([
            ("Restore point", self.id.clone()),
            ("Cluster", self.cluster.clone()),
            ("Began", human::utc(self.began)),
            ("Age", human::age(self.now, self.began)),
            ("Took", human::span(took)),
            ("Reason", or_none(&self.reason)),
            ("Pinned", if self.pinned { "yes" } else { "no" }.to_owned()),
            ("Signature", self.signature.to_owned()),
            ("Opened by", openers),
            ("Lineage", self.lineage.id.clone()),
            ("kube-system", or_none(&self.lineage.kube_system_uid)),
            ("Compared with", or_none(&self.parent)),
            ("Manifest", self.manifest_key.clone()),
            ("Written by", self.tool.clone()),
        ]);
        if let Some(because) = &self.lineage.begun_because {
            page.line(&format!("A new lineage began here: {because}"));
        }
        for component in &self.components {
            component.page(page, self.all);
        }
        if !self.missing.is_empty() {
            page.heading("Components that could not be taken");
            page.line(&format!("  {}", self.missing.join(", ")));
        }
        if !self.lacks.is_empty() {
            page.heading("PARTIAL: what was asked for and is not in it");
            let rows = self.lacks.iter().map(GapReport::cells);
            page.table(["LACKS", "WHY", "NEWEST OLDER THAT HAS IT"], rows);
        }
        if let Some(kubernetes) = &self.kubernetes {
            kubernetes.page(page, self.all);
        }
        page.heading("Cost of the run");
        page.fields([
            ("  Read", human::bytes(self.cost.read_bytes)),
            (
                "  Chunks",
                format!("{}, of them new {}", self.cost.chunks, self.cost.new_chunks),
            ),
            (
                "  Stored",
                format!(
                    "{} in {} objects",
                    human::bytes(self.cost.stored_bytes),
                    self.cost.objects
                ),
            ),
        ]);
        if !self.findings.is_empty() {
            page.heading("Findings of the run");
            findings::table(page, &self.findings);
        }
    }
}

#[cfg(test)]
pub(in crate::commands) mod tests;
