//! Opening of the runbook, to be read before anything is begun.

use backup_cli::human;
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::Component;

use super::document::{Document, code};
use super::facts::Facts;
use crate::commands::gaps::GapReport;

/// Writes the opening.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    opening(document, facts);
    restore_point(document, facts);
    tenants(document, facts);
    findings(document, facts);
    unknown(document, facts);
}

fn opening(document: &mut Document, facts: &Facts) {
    let (way, means) = if facts.in_place() {
        (
            "in place",
            "The same nodes get their etcd back from its snapshot, with all UIDs; then objects are \
             brought to the state in the restore point.",
        )
    } else {
        (
            "rebuild",
            "Every object is created again on a fresh cluster, in an order that cannot hurt a \
             tenant.",
        )
    };
    document.title(&format!(
        "Runbook: cluster {}, {way}, from {}",
        code(facts.cluster()),
        code(&facts.id())
    ));
    document.text(format!(
        "{means} Written by restore-cli {} for exactly this restore point.",
        env!("CARGO_PKG_VERSION")
    ));
    document.heading("How to use it");
    document.items([
        "Breathe. Workloads on the tenants' own nodes keep running while their control planes are \
         away. A wrong command costs more than ten minutes of reading.",
        "Read to the end of “Before you begin”. Then do the steps in their order, in one bash, in an \
         empty folder of a machine that stays up.",
        "Each step ends with what must be true. If it is not, stop there: see “When something goes \
         wrong”.",
        "Every command here may be run again. Nothing is deleted to undo a step.",
        "Do not improvise with `kubectl`, and wipe no disk, unless this text says so.",
    ]);
    if facts.in_place() {
        document.text(
            "First of all: is etcd really lost? If a majority of the control plane nodes can be \
             brought back, bring them back. That is better than any restore.",
        );
    }
}

fn restore_point(document: &mut Document, facts: &Facts) {
    let manifest = &facts.point.manifest;
    document.heading("The restore point, and what it must show");
    let row = |name: &str, value: String| [name.to_owned(), value];
    let mut rows = vec![
        row("Restore point", code(&facts.id())),
        row("Holds the time of", human::utc(manifest.began)),
        row("Cluster", code(facts.cluster())),
        row("Store", code(&facts.store.to_string())),
        row(
            "Signature",
            crate::commands::signature(facts.point.verdict).to_owned(),
        ),
        row("Written by", manifest.tool.clone()),
    ];
    if let Some((component, etcd)) = facts.etcd() {
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "not known".to_owned());
        let keys = etcd.total_keys.map(|keys| keys.to_string());
        rows.extend([
            row("etcd revision", etcd.revision.to_string()),
            row("etcd keys", known(&keys)),
            row("etcd snapshot", format!("{} bytes", component.plain_bytes)),
            row("etcd version", known(&etcd.etcd_version)),
            row("Talos version", known(&etcd.talos_version)),
            row("Snapshot from", code(&etcd.origin)),
        ]);
        if !etcd.encryption_prefixes.is_empty() {
            let how = etcd.encryption_prefixes.join(", ");
            rows.push(row(
                "Secrets in etcd",
                format!("encrypted by Kubernetes as {how}"),
            ));
        }
    }
    if let Some(kubernetes) = facts.kubernetes() {
        rows.extend([
            row("Kubernetes", kubernetes.version.clone()),
            row("API server", code(&kubernetes.server)),
            row("UID of kube-system", code(&kubernetes.uid)),
        ]);
        if let Some(chart) = &kubernetes.crd_chart {
            rows.push(row("Butler's CRDs", chart.clone()));
        }
        if let Some(sealed) = &kubernetes.sealed_secrets {
            rows.push(row(
                "Sealed Secrets",
                format!(
                    "{} of {} open with its {} sealing keys",
                    sealed.opened,
                    sealed.sealed_secrets,
                    sealed.keys.len()
                ),
            ));
        }
    }
    document.table(["WHAT", "VALUE"], rows);
    document.table(
        ["COMPONENT", "BYTES", "OBJECTS", "TO DOWNLOAD"],
        manifest.components.iter().map(component),
    );
    if !facts.lacked.is_empty() {
        document.text(
            "This restore point is PARTIAL: it lacks what follows. A restore from it ends with code 7 \
             and says `complete, but the restore point was partial`. Take what is missing from the \
             older restore point named beside it, or restore from that one.",
        );
        document.table(
            ["LACKS", "WHY", "NEWEST OLDER THAT HAS IT"],
            facts.lacked.iter().map(GapReport::cells),
        );
    }
    took(document, facts);
}

fn component(component: &Component) -> [String; 4] {
    let objects = component.archive.as_ref().map(|archive| archive.objects);
    let packs = component.packs.iter().map(|pack| pack.bytes);
    [
        component.name.to_string(),
        component.plain_bytes.to_string(),
        objects.map_or_else(|| "-".to_owned(), |n| n.to_string()),
        human::bytes(packs.fold(0, u64::saturating_add)),
    ]
}

fn took(document: &mut Document, facts: &Facts) {
    let Some(took) = &facts.took else {
        return;
    };
    let phases = took
        .phases()
        .map(|(phase, time)| format!("{phase} {}", human::span(time)));
    document.text(format!(
        "The last such restore was on {} and took {}: {}.",
        human::utc(took.began),
        human::span(took.whole),
        phases.collect::<Vec<_>>().join(", ")
    ));
}

fn tenants(document: &mut Document, facts: &Facts) {
    if facts.tenants().is_empty() {
        return;
    }
    document.heading("The tenants, as they must come back");
    document.table(
        [
            "TENANT",
            "ENDPOINT",
            "VERSION",
            "READY WORKERS",
            "CONTROL PLANE",
            "DATASTORE",
            "ANSWERED",
        ],
        facts.tenants().iter().map(tenant),
    );
}

fn tenant(tenant: &TenantFacts) -> [String; 7] {
    let dash = || "-".to_owned();
    let known = |text: Option<&String>| text.cloned().unwrap_or_else(dash);
    let plane = tenant.control_plane.as_ref();
    let place = tenant.tenant_namespace.as_ref().zip(plane);
    let answer = match tenant.answer.ready {
        Some(true) => "yes",
        Some(false) => "not ready",
        None => "no: it was away before, too",
    };
    [
        format!("{}/{}", tenant.namespace, tenant.name),
        known(tenant.endpoint.as_ref()),
        known(
            tenant
                .answer
                .version
                .as_ref()
                .or(tenant.kubernetes_version.as_ref()),
        ),
        tenant
            .workers_ready
            .or(tenant.answer.nodes_ready)
            .map_or_else(dash, |n| n.to_string()),
        place.map_or_else(dash, |(namespace, plane)| {
            format!("{namespace}/{}", plane.name)
        }),
        plane.map_or_else(dash, |plane| {
            let datastore = plane.datastore.clone().unwrap_or_else(dash);
            format!("{datastore}, schema {}", plane.schema)
        }),
        answer.to_owned(),
    ]
}

fn findings(document: &mut Document, facts: &Facts) {
    let manifest = &facts.point.manifest;
    let archives = manifest
        .components
        .iter()
        .filter_map(|c| c.archive.as_ref());
    let kinds: Vec<_> = archives.flat_map(|archive| &archive.kinds).collect();
    let partial = kinds.iter().filter_map(|kind| {
        let why = kind.failed.as_ref()?;
        Some(format!(
            "{} could not be listed to its end ({why}): {} objects are here, others may be missing",
            code(&kind.resource),
            kind.objects
        ))
    });
    let skipped = kinds.iter().flat_map(|kind| {
        let named = kind.skipped.iter().filter(|s| !s.names.is_empty());
        named.map(|skipped| {
            format!(
                "{} left out, {}: {}",
                code(&kind.resource),
                skipped.reason,
                skipped.names.join(", ")
            )
        })
    });
    let carried = manifest.components.iter().filter_map(|component| {
        let from = component.carried_from.as_ref()?;
        Some(format!(
            "{} is that of {}",
            code(component.name.as_str()),
            code(from.as_str())
        ))
    });
    let notes: Vec<String> = partial.chain(skipped).chain(carried).collect();
    let findings = facts.findings();
    if notes.is_empty() && findings.is_empty() {
        return;
    }
    document.heading("What the backup found that matters to a restore");
    if !findings.is_empty() {
        document.table(["SEVERITY", "OBJECT", "CAUSE", "REMEDY"], findings);
    }
    document.items(notes);
}

fn unknown(document: &mut Document, facts: &Facts) {
    let unknown = facts.unknown();
    if unknown.is_empty() {
        return;
    }
    document.heading("What this text could not know");
    document.items(unknown);
}
