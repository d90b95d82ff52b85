use std::fmt::Write as _;

use serde_json::json;

use super::documents::{DocumentSet, ReadLimits};
use super::runner::CallLimits;
use super::*;
use crate::plan::Options;
use crate::select::Selection;
use crate::spool::ObjectSpool;
use backup_core::archive::ObjectPath;
use backup_core::proxy::Proxies;

mod checkout;

fn read(text: &str) -> DocumentSet {
    let mut read = DocumentSet::new(&std::env::temp_dir(), ReadLimits::ALL).unwrap();
    read.text("a.yaml", text.as_bytes()).unwrap();
    read
}

#[test]
fn every_document_is_an_object_or_told() {
    let found = read(
        "# first\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {mode: \"0644\"}\n\
         ---\nreplicas: 3\n--- # a list\napiVersion: v1\nkind: List\nitems:\n\
         - {apiVersion: v1, kind: Secret, metadata: {name: b}}\n- {kind: Secret}\n---\na: [\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {name: c}\nspec: {defaultMode: 0644}\n",
    );
    let names: Vec<_> = found
        .documents
        .iter()
        .map(|d| found.value(d).unwrap()["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, [json!("a"), json!("b"), json!("c")]);
    assert_eq!(
        found.value(&found.documents[0]).unwrap()["data"]["mode"],
        "0644"
    );
    // As the cluster's own client reads it.
    assert_eq!(
        found.value(&found.documents[2]).unwrap()["spec"]["defaultMode"],
        420
    );
    let causes: Vec<_> = found.findings.iter().map(|f| f.cause.as_str()).collect();
    assert_eq!(causes.len(), 3, "{causes:?}");
    assert!(
        causes[0].contains("document 2 is not a Kubernetes object"),
        "{causes:?}"
    );
    assert!(
        causes[1].contains("document 3 is not a Kubernetes object"),
        "{causes:?}"
    );
    assert!(causes[2].contains("document 4 is not YAML"), "{causes:?}");
}

#[test]
fn a_bomb_of_aliases_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let items = vec![format!("*a{}", n - 1); 9].join(", ");
        writeln!(laughs, "a{n}: &a{n} [{items}]").unwrap();
    }
    let mut large = format!("a: &a {}\nb:\n", "x".repeat(1 << 20));
    large.push_str(&"- *a\n".repeat(5000));
    for bomb in [laughs, large, "[".repeat(100_000)] {
        let found = read(&bomb);
        assert!(found.documents.is_empty());
        assert!(
            found.findings[0]
                .cause
                .contains("not YAML that is accepted")
        );
    }
}

#[test]
fn only_what_is_meant_is_given_to_git() {
    for (text, fine) in [
        ("/srv/fleet", true),
        ("./fleet.git#v1", true),
        ("https://example.org/fleet.git#main", true),
        ("ssh://git@example.org/fleet.git", true),
        ("git@example.org:fleet.git", true),
        ("https://user:canary@example.org/fleet.git", false),
        ("https://canary@example.org/fleet.git", false),
        ("ext::sh -c touch% x", false),
        ("git://example.org/fleet.git", false),
        ("--upload-pack=touch x", false),
        ("fleet#--upload-pack=x", false),
        ("fleet#a:b", false),
    ] {
        let checked = GitSource::parse(text).check();
        assert_eq!(checked.is_ok(), fine, "{text}");
        if let Err(e) = checked {
            assert!(!e.to_string().contains("canary"), "{e}");
        }
    }
    assert!(GitSource::parse("./fleet").is_folder());
    assert!(GitSource::parse("a/b:c").is_folder());
    assert!(!GitSource::parse("git@example.org:fleet").is_folder());
    for bad in ["/etc", "../x", "a/../../b", ""] {
        assert!(!is_inside(bad), "{bad}");
    }
    assert!(is_inside("clusters/management"));
}
