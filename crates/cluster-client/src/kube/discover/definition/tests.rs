use serde_json::json;

use super::*;

#[test]
fn a_kind_that_only_its_definition_tells_has_its_status_and_versions() {
    let version = |name: &str, storage: bool, parts: serde_json::Value| json!({ "name": name, "served": true, "storage": storage, "subresources": parts });
    let crd = |parts: serde_json::Value| {
        let crd = json!({
            "metadata": { "name": "teams.butler.butlerlabs.dev" },
            "spec": {
                "group": "butler.butlerlabs.dev", "scope": "Cluster",
                "names": { "plural": "teams", "kind": "Team" },
                "versions": [
                    version("v1alpha1", false, json!(null)),
                    version("v1", true, parts),
                ],
            },
        });
        let text = crd.to_string();
        let crd: Crd<'_> = serde_json::from_str(&text).unwrap();
        let mut kinds = BTreeMap::new();
        add_definition(&crd, &mut Discovery::default(), &mut kinds);
        kinds.into_values().next().unwrap()
    };
    let kind = crd(json!({ "status": {} }));
    assert!(kind.has_status);
    assert_eq!(
        (kind.version.as_str(), kind.also_served.as_slice()),
        ("v1", &["v1alpha1".to_owned()][..])
    );
    assert!(!crd(json!({ "scale": {} })).has_status);
    assert!(!crd(json!(null)).has_status);
}

/// Examines a definition with these versions (name, served, stored, fields), and the versions in which
/// objects were stored.
fn read_definition(
    versions: &[(&str, bool, bool, &[&str])],
    stored: &[&str],
    webhook: bool,
) -> KindAndFindings {
    let versions = versions.iter().map(|(name, served, storage, fields)| {
        let fields = fields.iter().map(|f| ((*f).to_owned(), json!({})));
        let spec = json!({ "properties": fields.collect::<serde_json::Map<_, _>>() });
        json!({
            "name": name, "served": served, "storage": storage,
            "schema": { "openAPIV3Schema": { "properties": { "spec": spec } } },
        })
    });
    let crd = json!({
        "metadata": { "name": "teams.example.com" },
        "spec": {
            "group": "example.com", "scope": "Cluster",
            "names": { "plural": "teams", "kind": "Team" },
            "versions": versions.collect::<Vec<_>>(),
            "conversion": { "strategy": if webhook { "Webhook" } else { "None" } },
        },
        "status": { "storedVersions": stored },
    });
    let text = crd.to_string();
    let crd: Crd<'_> = serde_json::from_str(&text).unwrap();
    let (mut found, mut kinds) = (Discovery::default(), BTreeMap::new());
    // Result of the discovery so far: the server prefers `v1`.
    let list = json!({ "groupVersion": "example.com/v1", "resources": [
        { "name": "teams", "singularName": "", "kind": "Team", "namespaced": false, "verbs": ["list"] },
    ] });
    let list = serde_json::from_value(list).unwrap();
    super::super::add(&mut kinds, "example.com", "v1", list);
    add_definition(&crd, &mut found, &mut kinds);
    let findings = found.findings.into_iter().map(|f| (f.severity, f.cause));
    (kinds.into_values().next().unwrap(), findings.collect())
}

type KindAndFindings = (Kind, Vec<(Severity, String)>);

#[test]
fn a_kind_is_read_in_the_version_that_is_stored() {
    let (v1, old) = (&["a"][..], &["a", "only"][..]);
    let versions = [("v1", true, false, v1), ("v1beta1", true, true, old)];
    let (kind, findings) = read_definition(&versions, &["v1beta1"], false);
    assert_eq!(kind.version, "v1beta1");
    assert_eq!(kind.also_served, ["v1"]);
    assert_eq!(findings, []);
    // Objects read in their stored version need no webhook.
    let (kind, findings) = read_definition(&versions, &["v1beta1"], true);
    assert!(!kind.converted && findings.is_empty());
    assert!(
        read_definition(&versions, &["v1", "v1beta1"], true)
            .0
            .converted
    );
}

#[test]
fn fields_that_cannot_be_read_are_told() {
    let (v1, old) = (&["a"][..], &["a", "only"][..]);
    let unserved = [("v1", true, false, v1), ("v1beta1", false, true, old)];
    let (kind, findings) = read_definition(&unserved, &["v1beta1"], false);
    assert_eq!(kind.version, "v1");
    let [(Severity::Warning, cause)] = &*findings else {
        panic!("{findings:?}");
    };
    assert!(cause.contains("stored as v1beta1"), "{cause}");
    assert!(cause.contains("spec.only"), "{cause}");
    // The storage version was changed, and objects were not rewritten.
    let moved = [("v1", true, true, v1), ("v1beta1", true, false, old)];
    let (_, findings) = read_definition(&moved, &["v1beta1", "v1"], false);
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(read_definition(&moved, &["v1"], false).1, []);
    // Nothing is lost if no field is missing, and the effect of a webhook is unknown.
    let same = [("v1", true, false, old), ("v1beta1", false, true, old)];
    for (versions, webhook) in [(same, false), (unserved, true)] {
        let (_, findings) = read_definition(&versions, &["v1beta1"], webhook);
        assert!(matches!(&*findings, [(Severity::Info, _)]), "{findings:?}");
    }
}

#[test]
fn a_definition_that_has_just_been_made_has_null_for_its_lists() {
    let text = r#"{
        "metadata": { "name": "a.g" },
        "spec": {
            "group": "g", "scope": "Namespaced", "names": { "plural": "a", "kind": "A" },
            "versions": [{ "name": "v1", "served": true, "storage": true }]
        },
        "status": {
            "conditions": null, "storedVersions": null, "acceptedNames": { "plural": "", "kind": "" }
        }
    }"#;
    let crd: Crd<'_> = serde_json::from_str(text).unwrap();
    assert!(crd.names_refused().is_none() && crd.status.stored_versions.is_empty());
}
