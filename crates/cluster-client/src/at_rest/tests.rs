use proptest::prelude::*;

use super::*;

fn prefixes(text: &str) -> Vec<String> {
    examine(text).prefixes.into_iter().collect()
}

#[test]
fn a_machine_configuration_tells_its_type_and_its_providers() {
    let text = "version: v1alpha1\nmachine:\n  type: controlplane\n  token: a.b\ncluster:\n  \
                secretboxEncryptionSecret: c2VjcmV0\n  aescbcEncryptionSecret: null\n---\n\
                apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: cp-1\n";
    let known = examine(text);
    assert_eq!(known.machine.as_deref(), Some("controlplane"));
    assert_eq!(prefixes(text), [SECRETBOX]);
    assert!(!format!("{known:?}").contains("c2VjcmV0"));
}

#[test]
fn an_encryption_configuration_tells_its_providers() {
    let text = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\n\
                resources:\n- resources: [secrets]\n  providers:\n  - aesgcm: {keys: [{name: a, secret: \
                c2VjcmV0}]}\n  - aescbc: {keys: [{name: b, secret: c2VjcmV0}]}\n  - secretbox: {keys: \
                []}\n  - identity: {}\n";
    assert_eq!(prefixes(text), [AESCBC, AESGCM]);
    let other = text.replace("EncryptionConfiguration", "Other");
    assert!(prefixes(&other).is_empty());
}

proptest! {
    #[test]
    fn any_text_is_looked_through(text in "\\PC{0,200}") {
        let known = examine(&text);
        prop_assert!(known.prefixes.len() <= 3);
    }
}

/// Machine configurations of one cluster, in the formats of several versions of Talos.
const CONTROL_PLANES: [(&str, &str); 6] = [
    (
        "1.10",
        include_str!("../../tests/fixtures/machine-config/v1.10.yaml"),
    ),
    (
        "1.11",
        include_str!("../../tests/fixtures/machine-config/v1.11.yaml"),
    ),
    (
        "1.12",
        include_str!("../../tests/fixtures/machine-config/v1.12.yaml"),
    ),
    (
        "1.13",
        include_str!("../../tests/fixtures/machine-config/v1.13.yaml"),
    ),
    (
        "1.14",
        include_str!("../../tests/fixtures/machine-config/v1.14.yaml"),
    ),
    (
        "1.14, made by 1.13",
        include_str!("../../tests/fixtures/machine-config/v1.14-upgraded.yaml"),
    ),
];
const WORKER: &str = include_str!("../../tests/fixtures/machine-config/v1.14-worker.yaml");
const BUNDLE: &str = include_str!("../../tests/fixtures/machine-config/secrets.yaml");
/// Id of the cluster in all of them.
const ID: &str = "YW4gaWQgb2YgYSBjbHVzdGVyIGluIGEgZml4dHVyZS4=";

#[test]
fn machine_configurations_of_1_10_to_1_14_tell_one_cluster_and_its_key() {
    for (version, text) in CONTROL_PLANES {
        let known = examine(text);
        assert_eq!(known.machine.as_deref(), Some("controlplane"), "{version}");
        assert_eq!(known.cluster.as_deref(), Some("butler-mgmt"), "{version}");
        let id = Some(Digest::of(ID.as_bytes()));
        assert_eq!(known.cluster_id, id, "{version}");
        assert_eq!(prefixes(text), [SECRETBOX], "{version}");
        let windows = text.replace('\n', "\r\n");
        assert_eq!(examine(&windows), known, "{version} with CR LF");
        let image = (version == "1.12").then(|| "registry.k8s.io/etcd:v3.6.7".to_owned());
        assert_eq!(known.etcd_image, image, "{version}");
    }
    let worker = examine(WORKER);
    assert_eq!(worker.machine.as_deref(), Some("worker"));
    assert_eq!(worker.cluster_id, Some(Digest::of(ID.as_bytes())));
    assert!(worker.prefixes.is_empty());
}

#[test]
fn a_bundle_of_secrets_holds_the_key() {
    assert_eq!(prefixes(BUNDLE), [SECRETBOX]);
    let json = r#"{"Cluster": {"Id": "a"}, "Secrets": {"AESCBCEncryptionSecret": "c2VjcmV0"}}"#;
    assert_eq!(prefixes(json), [AESCBC]);
    assert_eq!(examine(json).cluster_id, Some(Digest::of(b"a")));
}

#[test]
fn a_file_that_talosctl_printed_as_a_resource_is_looked_into() {
    for (version, text) in CONTROL_PLANES {
        let indented = text.replace('\n', "\n    ");
        let printed =
            format!("node: 10.5.0.2\nmetadata:\n    id: v1alpha1\nspec: |\n    {indented}");
        assert_eq!(examine(&printed), examine(text), "{version}");
    }
}

#[test]
fn empty_fields_tell_nothing_and_the_old_ones_go_first() {
    let old = "machine: {type: controlplane}\ncluster: {id: '', clusterName: '', \
               secretboxEncryptionSecret: ''}\n";
    assert_eq!(examine(old).cluster_id, None);
    assert_eq!(examine(old).cluster, None);
    assert!(prefixes(old).is_empty());
    let new = "---\nkind: DiscoveryIdentityConfig\nclusterID: new\n--- # second\nkind: \
               KubeClusterConfig\nclusterName: new\n";
    let both = format!("{old}{new}");
    assert_eq!(examine(&both).cluster_id, Some(Digest::of(b"new")));
    assert_eq!(examine(&both).cluster.as_deref(), Some("new"));
    // The same when the documents come before the old fields.
    let old = "---\nmachine: {type: controlplane}\ncluster: {id: old, clusterName: old}\n";
    let both = format!("{new}{old}");
    assert_eq!(examine(&both).cluster_id, Some(Digest::of(b"old")));
    assert_eq!(examine(&both).cluster.as_deref(), Some("old"));
}

#[test]
fn a_document_that_cannot_be_read_costs_no_other() {
    let key = "---\nkind: KubeEtcdEncryptionConfig\nconfig: {resources: [{providers: [{aesgcm: {keys: \
               [{name: a, secret: b}]}}]}]}\n";
    for before in [
        "machine: [of, another, shape]\n",
        "kind: {of: another}\n",
        "kind: KubeAPIServerConfig\nresources: {requests: {cpu: 1}}\n",
        "a: b: c\n",
        "a: [\n",
        "# only a comment\n",
        "%YAML 1.2\n",
        "",
    ] {
        assert_eq!(prefixes(&format!("{before}{key}")), [AESGCM], "{before:?}");
    }
    // These lines only look like the start of a document.
    let block = "a: |\n  ---\n  kind: KubeClusterConfig\n----\nclusterName: x\n";
    assert_eq!(examine(block).cluster, None);
}
