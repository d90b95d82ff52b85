use super::*;
use crate::format::export::{Consistency, Lack, Lost, Skipped};

fn manifest(change: impl FnOnce(&mut Manifest)) -> Manifest {
    let v1 = include_bytes!(
        "../../../tests/fixtures/v1/none/manifests/20261123t120000000z-97a4a41a1724d872662222943cbf8077324041f1fd96092627f9c0e412afc80d.json"
    );
    let mut manifest = Manifest::parse(v1).unwrap();
    manifest.components.clear();
    manifest.missing.clear();
    manifest.findings.clear();
    change(&mut manifest);
    manifest
}

fn kind(resource: &str) -> KindFacts {
    KindFacts {
        resource: resource.to_owned(),
        kind: "X".to_owned(),
        version: "v1".to_owned(),
        namespaced: true,
        also_served: Vec::new(),
        stored_version: None,
        resource_version: None,
        consistency: Consistency::OneRevision,
        watched: None,
        listed_because: None,
        objects: 3,
        bytes: 0,
        sha256: crate::digest::Digest::of(b""),
        skipped: Vec::new(),
        managed_by: std::collections::BTreeMap::new(),
        failed: None,
        lost: Vec::new(),
        list_failed: None,
        complete: None,
    }
}

fn component(name: ComponentName, kinds: Vec<KindFacts>, lacks: Vec<Lack>) -> Component {
    Component {
        name,
        media_type: "application/x-tar".to_owned(),
        plain_bytes: 0,
        plain_sha256: crate::digest::Digest::of(b""),
        packs: Vec::new(),
        recipes: Vec::new(),
        recipe_epoch: None,
        carried_from: None,
        etcd: None,
        archive: Some(ArchiveFacts {
            kinds,
            lacks,
            ..ArchiveFacts::default()
        }),
        more: std::collections::BTreeMap::new(),
    }
}

fn told(manifest: &Manifest) -> Vec<String> {
    manifest.gaps().iter().map(ToString::to_string).collect()
}

#[test]
fn whatever_was_asked_for_and_is_not_there_is_a_gap() {
    let whole = manifest(|m| {
        let mut seen = kind("secrets");
        seen.skipped.push(Skipped {
            reason: "it belongs to another component".to_owned(),
            objects: 3,
            names: Vec::new(),
            namespaces: std::collections::BTreeMap::new(),
        });
        let mut gone = kind("olds.example.com");
        gone.failed = Some("its definition was deleted while the export ran".to_owned());
        m.components = vec![component(
            ComponentName::secrets(),
            vec![seen, gone],
            vec![],
        )];
    });
    assert!(told(&whole).is_empty());
    assert!(whole.is_whole(&ComponentName::secrets()) && !whole.is_partial());
    // A component that was not requested is absent without being a gap.
    assert!(!whole.is_whole(&ComponentName::crds()));
    assert_eq!(whole.gaps_of(&ComponentName::crds()), []);

    let partial = manifest(|m| {
        let mut lost = kind("secrets");
        lost.failed = Some("1 of its objects could not be read: default/lost-key (no)".to_owned());
        lost.lost.push(Lost {
            name: "default/lost-key".to_owned(),
            cause: "no matching prefix found".to_owned(),
        });
        let mut ended = kind("toys.example.com");
        ended.failed = Some("GET /apis answered 503".to_owned());
        ended.lost.push(Lost {
            name: "default/torn".to_owned(),
            cause: "no JSON".to_owned(),
        });
        let mut odd = kind("aaas.example.com");
        odd.skipped.push(Skipped {
            reason: "it cannot be read".to_owned(),
            objects: 2,
            names: Vec::new(),
            namespaces: std::collections::BTreeMap::new(),
        });
        let lack = Lack {
            what: "*.away.example.com".to_owned(),
            cause: "503".to_owned(),
        };
        m.components = vec![
            component(ComponentName::resources(), vec![ended, odd], vec![lack]),
            component(ComponentName::secrets(), vec![lost], vec![]),
        ];
        m.missing = vec![ComponentName::datastore("blue").unwrap()];
    });
    insta::assert_snapshot!(told(&partial).join("\n"), @r"
    component `datastore/blue`
    toys.example.com default/torn in `resources`
    objects of toys.example.com in `resources`
    objects of aaas.example.com in `resources`
    objects of *.away.example.com in `resources`
    secrets default/lost-key in `secrets`
    ");
    assert!(!partial.is_whole(&ComponentName::secrets()) && partial.is_partial());
    assert_eq!(partial.gaps_of(&ComponentName::datastores()).len(), 1);

    // One manifest has the part that the other lacks.
    let gaps = partial.gaps_of(&ComponentName::secrets());
    assert!(
        gaps.iter()
            .all(|gap| whole.fills(gap) && !partial.fills(gap))
    );
    let away = partial.gaps_of(&ComponentName::resources());
    assert!(away.iter().any(|gap| gap.touches("x.away.example.com")));
    assert!(!away.iter().any(|gap| gap.touches("x.here.example.com")));
}

#[test]
fn older_manifests_are_judged_by_their_findings() {
    let finding = |object: &str, cause: &str| Finding::error(object, cause, String::new());
    let old = manifest(|m| {
        m.findings = vec![
            finding(
                "/keep/admin.conf",
                "the kubeconfig was not kept: no such file",
            ),
            finding(DEFINITIONS, "the API server forbids it: cannot list"),
            finding("sealedsecrets.bitnami.com a/b", "no sealing key opens it"),
        ];
        m.components = vec![
            component(ComponentName::kubeconfigs(), vec![kind("secrets")], vec![]),
            component(ComponentName::resources(), vec![kind("namespaces")], vec![]),
            component(ComponentName::crds(), vec![], vec![]),
        ];
    });
    insta::assert_snapshot!(told(&old).join("\n"), @r"
    objects of /keep/admin.conf in `kubeconfigs`
    objects of customresourcedefinitions.apiextensions.k8s.io in `resources`
    ");
}
