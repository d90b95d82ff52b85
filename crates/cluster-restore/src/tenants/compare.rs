//! Comparison of each tenant with its baseline, and the most likely cause of each difference.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Aspect, DataState, Difference, DifferenceCause, TenantCheck, TenantData, named};
use backup_core::digest::Digest;
use backup_core::format::export::{KubeconfigFacts, TenantFacts};
use backup_core::format::manifest::Severity;
use cluster_client::kube::TenantState;

mod objects;

/// Compares each tenant of `before` with its counterpart in `now`, at the time `at`, and reports new tenants
/// too. `data` is by `NAMESPACE/NAME`. The result is in the order of the tenants' names.
#[must_use]
pub fn compare(
    before: &[TenantFacts],
    now: &[TenantState],
    data: &BTreeMap<String, TenantData>,
    at: Timestamp,
) -> Vec<TenantCheck> {
    let like = |a: &TenantFacts, b: &TenantFacts| a.namespace == b.namespace && a.name == b.name;
    let mut checks: Vec<TenantCheck> = before
        .iter()
        .map(|old| match now.iter().find(|new| like(old, &new.facts)) {
            Some(new) => check(old, new, data.get(&named(old)), at),
            None => gone(old),
        })
        .collect();
    let new = now
        .iter()
        .filter(|new| !before.iter().any(|old| like(old, &new.facts)));
    checks.extend(new.map(|new| added(&new.facts)));
    checks.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    checks
}

impl TenantCheck {
    fn differs(
        &mut self,
        severity: Severity,
        aspect: Aspect,
        from: DifferenceCause,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.differences.push(Difference {
            severity,
            aspect,
            what: what.into(),
            remedy: remedy.into(),
            from,
        });
    }

    fn unseen(&mut self, aspect: Aspect, why: impl Into<String>) {
        self.not_checked.entry(aspect).or_insert_with(|| why.into());
    }
}

fn gone(old: &TenantFacts) -> TenantCheck {
    let mut check = answered(&TenantFacts {
        namespace: old.namespace.clone(),
        name: old.name.clone(),
        ..TenantFacts::default()
    });
    check.differs(
        Severity::Error,
        Aspect::Tenant,
        DifferenceCause::Resources,
        "its TenantCluster is not there",
        "bring it back from the restore point, with its status",
    );
    for aspect in Aspect::ALL.into_iter().filter(|a| *a != Aspect::Tenant) {
        check.unseen(aspect, "its TenantCluster is not there");
    }
    check
}

fn added(new: &TenantFacts) -> TenantCheck {
    let mut check = answered(new);
    check.differs(
        Severity::Info,
        Aspect::Tenant,
        DifferenceCause::Elsewhere,
        "it is not in the restore point",
        "nothing, if it was made since then",
    );
    for aspect in Aspect::ALL.into_iter().filter(|a| *a != Aspect::Tenant) {
        check.unseen(aspect, "the restore point does not know it");
    }
    check
}

fn answered(now: &TenantFacts) -> TenantCheck {
    TenantCheck {
        tenant: named(now),
        connected: now.answer.ready == Some(true),
        version: now.answer.version.clone(),
        nodes_ready: now.answer.nodes_ready,
        keys: None,
        differences: Vec::new(),
        not_checked: BTreeMap::new(),
    }
}

fn check(
    old: &TenantFacts,
    new: &TenantState,
    data: Option<&TenantData>,
    at: Timestamp,
) -> TenantCheck {
    let facts = &new.facts;
    let mut check = answered(facts);
    tenant(old, facts, &mut check);
    kubeconfig(old, facts, at, &mut check);
    connection(old, facts, &mut check);
    answers(old, facts, &mut check);
    objects::control_plane(old, new, &mut check);
    objects::cluster(new, &mut check);
    own_data(old, facts, data, &mut check);
    check
}

/// Describes a field whose earlier value is known and differs now.
fn changed(what: &str, was: Option<&String>, is: Option<&String>) -> Option<String> {
    let was = was.filter(|_| was != is)?;
    let is = is.map_or("nothing", String::as_str);
    Some(format!("{what} was {was} and is {is}"))
}

/// Checks that it is the same tenant: a second one would have another namespace.
fn tenant(old: &TenantFacts, new: &TenantFacts, check: &mut TenantCheck) {
    let (was, is) = (old.tenant_namespace.as_ref(), new.tenant_namespace.as_ref());
    if let Some(what) = changed("its namespace", was, is) {
        check.differs(
            Severity::Error,
            Aspect::Tenant,
            DifferenceCause::Resources,
            what,
            "stop butler-controller now: it makes a second control plane; then restore the status",
        );
    }
    if let Some(what) = changed("the phase", old.phase.as_ref(), new.phase.as_ref()) {
        check.differs(
            Severity::Warning,
            Aspect::Tenant,
            DifferenceCause::Resources,
            what,
            "see the TenantCluster's conditions",
        );
    }
    let endpoints = (old.endpoint.as_ref(), new.endpoint.as_ref());
    if let Some(what) = changed("the endpoint", endpoints.0, endpoints.1) {
        check.differs(
            Severity::Warning,
            Aspect::Endpoint,
            DifferenceCause::Resources,
            what,
            "workers and kubeconfigs with the old address cannot connect: see the Service",
        );
    }
    if old.endpoint.is_none() {
        check.unseen(Aspect::Endpoint, "the restore point knows none");
    }
}

fn kubeconfig(old: &TenantFacts, new: &TenantFacts, at: Timestamp, check: &mut TenantCheck) {
    let unusable = |facts: &TenantFacts| match &facts.kubeconfig {
        None => Some("it has no kubeconfig Secret".to_owned()),
        Some(found) => found.unusable.clone(),
    };
    if let Some(why) = unusable(new) {
        if unusable(old).is_none() {
            check.differs(
                Severity::Error,
                Aspect::Kubeconfig,
                DifferenceCause::Resources,
                format!("its kubeconfig could be used and cannot be: {why}"),
                "restore its kubeconfig Secret; or have Steward create it again, once its control \
                 plane has its old authority",
            );
        } else {
            check.unseen(
                Aspect::Kubeconfig,
                format!("it was not better before: {why}"),
            );
        }
    }
    let Some(found) = &new.kubeconfig else {
        for aspect in [Aspect::Authority, Aspect::Certificate] {
            check.unseen(aspect, "it has no kubeconfig Secret");
        }
        return;
    };
    authority(old, new, check);
    let ends = [
        ("client certificate", found.client_not_after),
        ("authority's certificate", found.ca_not_after),
    ];
    for (what, until) in ends {
        if let Some(until) = until.filter(|until| *until <= at) {
            check.differs(
                Severity::Error,
                Aspect::Certificate,
                DifferenceCause::Elsewhere,
                format!("the {what} in {} expired at {until}", found.origin),
                "it expired since the restore point was made: let Steward renew it, with annotation \
                 certs.steward.butlerlabs.dev/rotate on its Secret",
            );
        }
    }
    if found.client_not_after.is_none() && found.ca_not_after.is_none() {
        check.unseen(Aspect::Certificate, "its kubeconfig has none");
    }
}

/// Checks that clients of the old certificate authority trust the new one: if one of them has several
/// certificates, one in common is enough.
fn authority(old: &TenantFacts, new: &TenantFacts, check: &mut TenantCheck) {
    let trusted = |t: &TenantFacts| -> Vec<Digest> {
        let found = t.kubeconfig.as_ref().map(KubeconfigFacts::trusted);
        found.into_iter().flatten().map(|a| a.sha256).collect()
    };
    let (was, is) = (trusted(old), trusted(new));
    if was.is_empty() {
        check.unseen(Aspect::Authority, "the restore point knows none");
    } else if is.is_empty() {
        check.unseen(Aspect::Authority, "its kubeconfig has none");
    } else if !was.iter().any(|digest| is.contains(digest)) {
        let told = |all: &[Digest]| {
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            all.join(", ")
        };
        check.differs(
            Severity::Error,
            Aspect::Authority,
            DifferenceCause::Resources,
            format!("its authority was {} and is {}", told(&was), told(&is)),
            "every old kubeconfig, token and worker is refused: restore its Secret `…-ca`",
        );
    }
}

/// Checks that the tenant can be reached as before.
fn connection(old: &TenantFacts, new: &TenantFacts, check: &mut TenantCheck) {
    if new.answer.ready == Some(true) {
        return;
    }
    let why = new
        .answer
        .failure
        .as_deref()
        .unwrap_or("it says it is not ready");
    if old.answer.ready == Some(true) {
        check.differs(
            Severity::Error,
            Aspect::Readyz,
            DifferenceCause::Datastore,
            format!("it was connected and is not: {why}"),
            "see its control plane's Pods, its DataStore, and its kubeconfig Secret",
        );
    } else {
        check.differs(
            Severity::Info,
            Aspect::Readyz,
            DifferenceCause::Elsewhere,
            format!("it is not connected, and was not before: {why}"),
            "nothing that this restore point could bring back",
        );
    }
}

/// Compares what the tenant's API server reports.
fn answers(old: &TenantFacts, new: &TenantFacts, check: &mut TenantCheck) {
    let (was, is) = (&old.answer, &new.answer);
    if check.connected
        && let Some(what) = changed(
            "the version of its API server",
            was.version.as_ref(),
            is.version.as_ref(),
        )
    {
        check.differs(
            Severity::Warning,
            Aspect::Version,
            DifferenceCause::Resources,
            what,
            "nothing, if it was upgraded since then",
        );
    }
    if is.version.is_none() {
        check.unseen(Aspect::Version, "its API server does not answer");
    } else if was.version.is_none() {
        check.unseen(Aspect::Version, "the restore point knows none");
    }
    match (was.nodes_ready, is.nodes_ready) {
        (Some(was), Some(is)) if is < was => check.differs(
            Severity::Warning,
            Aspect::Nodes,
            DifferenceCause::Elsewhere,
            format!("{was} worker nodes were ready and {is} are"),
            "wait some minutes for kubelets to come back, then look at the Machines",
        ),
        (Some(_), Some(_)) => {}
        (_, None) => check.unseen(Aspect::Nodes, "its API server does not report them"),
        (None, _) => check.unseen(Aspect::Nodes, "the restore point does not know them"),
    }
    if let (Some(was), Some(is)) = (&was.kube_system_uid, &is.kube_system_uid)
        && was != is
    {
        check.differs(
            Severity::Error,
            Aspect::Data,
            DifferenceCause::Datastore,
            format!(
                "another cluster answers: its namespace kube-system had UID {was} and has {is}"
            ),
            "pause its TenantControlPlane, and see its schema and what the DataStore holds there",
        );
    }
}

/// Checks that the tenant's data is where it was, and its own.
fn own_data(
    old: &TenantFacts,
    new: &TenantFacts,
    data: Option<&TenantData>,
    check: &mut TenantCheck,
) {
    let place = |t: &TenantFacts| {
        let plane = t.control_plane.as_ref()?;
        Some((plane.datastore.clone(), plane.schema.clone()))
    };
    if let (Some(was), Some(is)) = (place(old), place(new))
        && was != is
    {
        let text = |(store, schema): (Option<String>, String)| {
            let store = store.as_deref().unwrap_or("the default DataStore");
            format!("{schema} in {store}")
        };
        check.differs(
            Severity::Error,
            Aspect::Data,
            DifferenceCause::Resources,
            format!("its data was {} and is {}", text(was), text(is)),
            "it uses other data, empty or another tenant's: pause its TenantControlPlane and \
             restore the status",
        );
    }
    let Some(data) = data else {
        for aspect in [Aspect::Datastore, Aspect::Data] {
            check.unseen(aspect, "it has no TenantControlPlane");
        }
        return;
    };
    if data.datastore == Some(false) {
        check.differs(
            Severity::Error,
            Aspect::Datastore,
            DifferenceCause::Resources,
            "its DataStore is not there",
            "restore DataStores and their Secrets, while Steward's webhooks are parked",
        );
    }
    let (what, severity) = match &data.state {
        DataState::Own { keys, .. } => return check.keys = Some(*keys),
        DataState::None => return check.keys = Some(0),
        DataState::NotChecked { why } => {
            check.unseen(Aspect::Datastore, why);
            return check.unseen(Aspect::Data, why);
        }
        DataState::Fewer { keys, before } => {
            check.keys = Some(*keys);
            let what = format!("its DataStore has {keys} keys of it and had {before}");
            (what, Severity::Warning)
        }
        DataState::Gone { before } => {
            check.keys = Some(0);
            let had = before.map_or(String::new(), |keys| format!(", and had {keys}"));
            let what = format!("its DataStore has no key of it{had}");
            (what, Severity::Error)
        }
        DataState::Foreign { why } => {
            let what = format!("its DataStore holds the data of another cluster: {why}");
            (what, Severity::Error)
        }
    };
    check.differs(
        severity,
        Aspect::Data,
        DifferenceCause::Datastore,
        what,
        "pause its TenantControlPlane; bring the DataStore's etcd back with `restore-cli restore \
         datastore`",
    );
}
