use super::*;
use backup_core::digest::Digest;
use backup_core::format::export::{ControlPlaneFacts, KubeconfigFacts, TenantAnswer};
use cluster_client::kube::{ClusterView, PlaneView, UnmetCondition};

fn tenant(name: &str) -> TenantFacts {
    TenantFacts {
        namespace: "team-a".to_owned(),
        name: name.to_owned(),
        uid: "u".to_owned(),
        phase: Some("Ready".to_owned()),
        tenant_namespace: Some(format!("{name}-1a2b3c4d")),
        endpoint: Some("10.0.0.1:6443".to_owned()),
        control_plane: Some(ControlPlaneFacts {
            name: name.to_owned(),
            datastore: Some("default".to_owned()),
            status: Some("Ready".to_owned()),
            schema: format!("{name}_schema"),
            ..ControlPlaneFacts::default()
        }),
        kubeconfig: Some(KubeconfigFacts {
            ca_sha256: Some(Digest::of(b"ca")),
            ca_not_after: Some("2036-01-01T00:00:00Z".parse().unwrap()),
            ..KubeconfigFacts::default()
        }),
        answer: TenantAnswer {
            ready: Some(true),
            version: Some("v1.30.2".to_owned()),
            nodes_ready: Some(3),
            kube_system_uid: Some("k".to_owned()),
            failure: None,
        },
        ..TenantFacts::default()
    }
}

/// Returns the same tenant with its objects, all of them healthy.
fn now(facts: &TenantFacts) -> TenantState {
    TenantState {
        facts: facts.clone(),
        plane: Some(PlaneView::default()),
        cluster: Some(ClusterView {
            phase: Some("Provisioned".to_owned()),
            ..ClusterView::default()
        }),
    }
}

/// Compares tenants whose data is all there.
fn compared(before: &[TenantFacts], now: &[TenantState]) -> Vec<TenantCheck> {
    let state = DataState::Own {
        keys: 9,
        before: Some(9),
    };
    let data = now.iter().map(|tenant| {
        let datastore = Some(true);
        let state = state.clone();
        (named(&tenant.facts), TenantData { datastore, state })
    });
    let data = data.collect();
    compare(before, now, &data, "2026-11-24T00:00:00Z".parse().unwrap())
}

fn words(checks: &[TenantCheck]) -> String {
    let line = |check: &TenantCheck| {
        let differences = check.differences.iter().map(|d| {
            let (aspect, from) = (d.aspect.name(), d.from.name());
            format!(
                "\n  {:?} {aspect}: {}; {} (from {from})",
                d.severity, d.what, d.remedy
            )
        });
        let differences: String = differences.collect();
        format!(
            "{} connected={}{differences}",
            check.tenant, check.connected
        )
    };
    checks.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_tenant_as_it_was_has_no_differences() {
    let before = [tenant("one"), tenant("two")];
    let checks = compared(&before, &before.iter().map(now).collect::<Vec<_>>());
    assert!(
        checks.iter().all(|c| c.connected && c.worst().is_none()),
        "{checks:?}"
    );
    for aspect in Aspect::ALL {
        let outcome = checks[0].outcome(aspect);
        assert_eq!(outcome, AspectOutcome::Ok, "{aspect:?}: {:?}", checks[0]);
    }
    assert_eq!(checks[0].keys, Some(9));
}

#[test]
fn what_can_go_wrong_in_a_restore_is_told() {
    let before = [
        "doubled",
        "emptied",
        "gone",
        "moved",
        "rekeyed",
        "silent",
        "was-silent",
    ]
    .map(tenant)
    .map(|mut t| {
        if t.name == "was-silent" {
            t.answer = TenantAnswer::default();
        }
        t
    });
    let mut now: Vec<TenantFacts> = before
        .iter()
        .filter(|t| t.name != "gone")
        .cloned()
        .collect();
    now.push(tenant("new"));
    for tenant in &mut now {
        match tenant.name.as_str() {
            "doubled" => tenant.tenant_namespace = Some("doubled-ffffffff".to_owned()),
            "emptied" => {
                let plane = tenant.control_plane.as_mut().unwrap();
                plane.schema = "team_a_emptied".to_owned();
            }
            "moved" => {
                tenant.endpoint = Some("10.0.0.9:6443".to_owned());
                tenant.answer.nodes_ready = Some(1);
            }
            "rekeyed" => {
                tenant.kubeconfig.as_mut().unwrap().ca_sha256 = Some(Digest::of(b"other"));
            }
            "silent" => {
                tenant.answer = TenantAnswer {
                    failure: Some("connection refused".to_owned()),
                    ..TenantAnswer::default()
                };
            }
            _ => {}
        }
    }
    let checks = compared(&before, &now.iter().map(self::now).collect::<Vec<_>>());
    assert!(checks.is_sorted_by(|a, b| a.tenant < b.tenant));
    insta::assert_snapshot!(words(&checks));
}

#[test]
fn what_the_objects_say_is_told_and_a_pause_is_no_failure() {
    let before = ["deleting", "paused", "unmet", "without"].map(tenant);
    let mut now: Vec<TenantState> = before.iter().map(now).collect();
    for tenant in &mut now {
        let (plane, cluster) = (
            tenant.plane.as_mut().unwrap(),
            tenant.cluster.as_mut().unwrap(),
        );
        let condition = UnmetCondition {
            condition: "Ready".to_owned(),
            status: "False".to_owned(),
            why: "WaitingForPods: 0 of 2".to_owned(),
        };
        match tenant.facts.name.as_str() {
            "deleting" => {
                plane.deleting = true;
                cluster.deleting = true;
            }
            "paused" => {
                plane.paused = Some("butler-restore".to_owned());
                plane.unmet.push(condition);
                cluster.paused = true;
            }
            "unmet" => {
                plane.wanted_version = Some("v1.31.0".to_owned());
                let facts = tenant.facts.control_plane.as_mut().unwrap();
                facts.version = Some("v1.30.2".to_owned());
                facts.status = Some("Provisioning".to_owned());
                cluster.unmet.push(condition);
                cluster.phase = Some("Failed".to_owned());
            }
            _ => {
                tenant.facts.control_plane = None;
                tenant.plane = None;
                tenant.cluster = None;
            }
        }
    }
    let checks = compared(&before, &now);
    insta::assert_snapshot!(words(&checks));
    let paused = &checks[1];
    assert_eq!(paused.worst(), Some(Severity::Info));
    assert_eq!(paused.outcome(Aspect::ControlPlane), AspectOutcome::Info);
    assert_eq!(
        checks[3].outcome(Aspect::Cluster),
        AspectOutcome::NotChecked
    );
}

#[test]
fn data_that_is_gone_or_anothers_fails_and_what_was_not_seen_is_not_called_good() {
    let before = [tenant("one")];
    let mut foreign = now(&before[0]);
    foreign.facts.answer.kube_system_uid = Some("other".to_owned());
    let one = |now: &TenantState, datastore, state| {
        let data = BTreeMap::from([(named(&now.facts), TenantData { datastore, state })]);
        let at = "2026-11-24T00:00:00Z".parse().unwrap();
        compare(&before, std::slice::from_ref(now), &data, at).remove(0)
    };
    let whole = now(&before[0]);
    let gone = DataState::Gone { before: Some(9) };
    let check = one(&whole, Some(true), gone);
    assert_eq!(check.outcome(Aspect::Data), AspectOutcome::Failed);
    assert_eq!(check.differences[0].from, DifferenceCause::Datastore);
    let why = "no answer within 10 s".to_owned();
    let unseen = DataState::NotChecked { why };
    let check = one(&whole, Some(true), unseen.clone());
    assert_eq!(check.outcome(Aspect::Data), AspectOutcome::NotChecked);
    assert_eq!(check.outcome(Aspect::Datastore), AspectOutcome::NotChecked);
    assert_eq!(check.worst(), None);
    let check = one(&whole, Some(false), unseen.clone());
    assert_eq!(check.outcome(Aspect::Datastore), AspectOutcome::Failed);
    // The tenant's own API server shows it, even if the DataStore cannot be read.
    let check = one(&foreign, Some(true), unseen);
    assert_eq!(check.outcome(Aspect::Data), AspectOutcome::Failed);
}

#[test]
fn a_kubeconfig_that_ended_is_told_by_what_ended_it() {
    let before = [tenant("expired"), tenant("lost")];
    let mut now: Vec<TenantState> = before.iter().map(now).collect();
    let kubeconfig = now[0].facts.kubeconfig.as_mut().unwrap();
    kubeconfig.client_not_after = Some("2026-11-23T00:00:00Z".parse().unwrap());
    now[1].facts.kubeconfig = None;
    let checks = compared(&before, &now);
    assert_eq!(
        checks[0].outcome(Aspect::Certificate),
        AspectOutcome::Failed
    );
    assert_eq!(checks[0].differences[0].from, DifferenceCause::Elsewhere);
    assert_eq!(checks[1].outcome(Aspect::Kubeconfig), AspectOutcome::Failed);
    assert_eq!(
        checks[1].outcome(Aspect::Authority),
        AspectOutcome::NotChecked
    );
}

#[test]
fn authorities_with_a_certificate_in_common_are_the_same() {
    use backup_core::format::export::AuthorityFacts;
    let held = |names: &[&[u8]]| {
        let mut facts = tenant("shop");
        let found = facts.kubeconfig.as_mut().unwrap();
        let each = names.iter().map(|name| AuthorityFacts {
            sha256: Digest::of(name),
            not_after: None,
        });
        found.authorities = each.collect();
        found.ca_sha256 = names.first().map(|name| Digest::of(name));
        facts
    };
    let outcome = |was: &TenantFacts, is: &TenantFacts| {
        let checks = compared(std::slice::from_ref(was), &[now(is)]);
        checks[0].outcome(Aspect::Authority)
    };
    // A restore point of an earlier version has only the first certificate.
    let single = tenant("shop");
    assert_eq!(outcome(&single, &held(&[b"new", b"ca"])), AspectOutcome::Ok);
    assert_eq!(outcome(&held(&[b"old", b"ca"]), &single), AspectOutcome::Ok);
    assert_eq!(
        outcome(&held(&[b"old"]), &held(&[b"new", b"old"])),
        AspectOutcome::Ok
    );
    assert_eq!(
        outcome(&held(&[b"old", b"a"]), &single),
        AspectOutcome::Failed
    );
}
