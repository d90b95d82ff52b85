use super::*;
use crate::format::export::{ControlPlaneFacts, KubeconfigFacts, TenantAnswer};

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
            schema: format!("{name}_schema"),
            ..ControlPlaneFacts::default()
        }),
        kubeconfig: Some(KubeconfigFacts {
            ca_sha256: Some(Digest::of(b"ca")),
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

fn words(checks: &[TenantCheck]) -> String {
    let line = |check: &TenantCheck| {
        let differences = check.differences.iter();
        let differences =
            differences.map(|d| format!("\n  {:?}: {}; {}", d.severity, d.what, d.remedy));
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
    let checks = compare(&before, &before);
    assert!(
        checks.iter().all(|c| c.connected && c.worst().is_none()),
        "{checks:?}"
    );
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
    let checks = compare(&before, &now);
    assert!(checks.is_sorted_by(|a, b| a.tenant < b.tenant));
    insta::assert_snapshot!(words(&checks));
}
