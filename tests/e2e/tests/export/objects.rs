//! Tests of objects of all kinds: new, being deleted, large, with long names, never taken, referred to in
//! vain.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::wait;
use serde_json::{Value, json};

use super::kube::{CRDS, Definition};
use super::site::{EXPORT, ExportSite};

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_kind_that_was_defined_a_moment_ago_are_there() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("news", "new.example.com");
    kube.create(CRDS, &kind.object()).await?;
    // The first moment in which an object can be made at all.
    wait::until("the first object", Duration::from_secs(60), async || {
        kube.create(&kind.objects(None), &kind.example("one", &json!({})))
            .await
    })
    .await?;
    let exported = site.taken(&site.export_of(&[&kind.name()]), 0).await?;
    exported.nothing_else(&[]);
    assert_eq!(exported.objects(&kind.name())?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_being_deleted_is_left_out_and_named() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("leavings", "leaving.example.com").namespaced();
    kube.define(&kind.object()).await?;
    kube.namespace("leaving").await?;
    let objects = kind.objects(Some("leaving"));
    for name in ["leaves", "stays"] {
        let metadata = json!({ "name": name, "finalizers": ["example.com/hold"] });
        let example = kind.example(name, &json!({ "metadata": metadata }));
        kube.create(&objects, &example).await?;
    }
    kube.delete(&format!("{objects}/leaves")).await?;
    let exported = site.taken(&site.export_of(&[&kind.name()]), 0).await?;
    exported.nothing_else(&[]);
    let facts = exported.kind(&ComponentName::resources(), &kind.name())?;
    assert_eq!(facts.objects, 1);
    let [skipped] = &*facts.skipped else {
        panic!("{facts:?}");
    };
    assert_eq!(skipped.reason, "it is being deleted");
    assert_eq!(skipped.objects, 1);
    assert_eq!(skipped.names, ["leaving/leaves"]);
    let paths = site.paths("resources").await?;
    let stays = format!("resources/{}/namespaces/leaving/stays.json", kind.name());
    assert_eq!(paths, [stays]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_long_names_and_names_that_differ_in_case_come_back() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let label = |letter: &str, length: usize| letter.repeat(length);
    let group = format!(
        "{}.{}.{}.example",
        label("g", 60),
        label("h", 60),
        label("i", 55)
    );
    let kind = Definition::new(&label("p", 62), &group).namespaced();
    assert!(kind.name().len() <= 253 && kind.name().len() > 240);
    kube.define(&kind.object()).await?;
    let namespace = label("n", 63);
    kube.namespace(&namespace).await?;
    let objects = kind.objects(Some(&namespace));
    let name = label("o", 253);
    // etcd accepts requests up to 1.5 MiB.
    let large = json!({ "data": "x".repeat(1_450_000) });
    for (name, rest) in [(&*name, json!({})), ("large", large)] {
        kube.create(&objects, &kind.example(name, &rest)).await?;
    }
    let roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles";
    for name in ["Viewer", "viewer"] {
        let rules = json!([{ "apiGroups": [name], "resources": ["*"], "verbs": ["get"] }]);
        kube.create(
            roles,
            &json!({ "metadata": { "name": name }, "rules": rules }),
        )
        .await?;
    }
    let kinds = [&*kind.name(), "clusterroles.rbac.authorization.k8s.io"];
    let exported = site.taken(&site.export_of(&kinds), 0).await?;
    exported.nothing_else(&[]);
    assert_eq!(exported.objects(&kind.name())?, 2);
    let paths = site.paths("resources").await?;
    // No file system accepts such names in one part.
    let cut = |name: &str| format!("{}%/{}", &name[..240], &name[240..]);
    let folder = format!("resources/{}/namespaces/{namespace}", cut(&kind.name()));
    for (path, object) in [
        (
            format!("{folder}/{}.json", cut(&name)),
            format!("{objects}/{name}"),
        ),
        (format!("{folder}/large.json"), format!("{objects}/large")),
        (
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/Viewer.json".to_owned(),
            format!("{roles}/Viewer"),
        ),
        (
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/viewer.json".to_owned(),
            format!("{roles}/viewer"),
        ),
    ] {
        assert!(paths.contains(&path), "{path} is not in {paths:?}");
        let same = site.object("resources", &path).await? == kube.get(&object).await?;
        assert!(same, "{path} is not what the API gives");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn references_lead_to_secrets_or_are_told_and_tokens_are_never_taken() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("providers", "refers.example.com").namespaced();
    kube.define(&kind.object()).await?;
    kube.namespace("refers").await?;
    kube.namespace("butler-refers").await?;
    kube.secret("refers", "met", "Opaque").await?;
    kube.secret("refers", "nobody-refers-to-this", "Opaque")
        .await?;
    for namespace in ["refers", "butler-refers"] {
        kube.secret(
            namespace,
            "account-token",
            "kubernetes.io/service-account-token",
        )
        .await?;
        kube.secret(
            namespace,
            "bootstrap-token-abcdef",
            "bootstrap.kubernetes.io/token",
        )
        .await?;
        kube.config_map(namespace, "kube-root-ca.crt").await?;
    }
    let spec = json!({
        "credentialsRef": { "name": "met" },
        "passwordSecretRef": { "name": "unmet", "namespace": "elsewhere" },
        "tokens": [
            { "kind": "Secret", "name": "account-token" },
            { "secretRef": { "name": "bootstrap-token-abcdef" } },
            { "configMapRef": { "name": "kube-root-ca.crt" } },
        ],
    });
    let objects = kind.objects(Some("refers"));
    kube.create(&objects, &kind.example("one", &json!({ "spec": spec })))
        .await?;

    let namespaces = ["--include-namespaces", "refers,butler-refers"];
    let flags = [&["--component", EXPORT][..], &namespaces].concat();
    let exported = site.taken(&site.snapshot(&flags), 0).await?;
    let told = format!("references of {}", kind.name());
    let finding = exported.finding(&told, Severity::Warning)?;
    assert!(
        finding.cause.contains("Secret elsewhere/unmet"),
        "{finding:?}"
    );
    assert!(finding.cause.contains("from refers/one"), "{finding:?}");
    assert!(
        !finding.cause.contains("met, "),
        "only one is unmet: {finding:?}"
    );
    exported.nothing_else(&[&told]);
    let met = "resources/secrets/namespaces/refers/met.json";
    assert_eq!(site.paths("secrets").await?, [met]);
    assert_eq!(site.object("secrets", met).await?["kind"], "Secret");
    for component in EXPORT.split(',') {
        for path in site.paths(component).await? {
            let never = [
                "account-token",
                "bootstrap-token",
                "kube-root-ca",
                "nobody-refers",
            ];
            assert!(!never.iter().any(|name| path.contains(name)), "{path}");
        }
    }
    let skipped = reasons(&exported.kind(&ComponentName::secrets(), "secrets")?.skipped);
    assert_eq!(skipped["a service account's token"], 2);
    assert_eq!(skipped["a bootstrap token"], 2);
    Ok(())
}

fn reasons(skipped: &[backup_core::format::export::Skipped]) -> Value {
    let reasons = skipped.iter().map(|s| (s.reason.clone(), json!(s.objects)));
    Value::Object(reasons.collect())
}

/// Checks that the archive equals the output of `kubectl get -A -o json`, object by object.
#[tokio::test(flavor = "multi_thread")]
async fn every_object_of_a_kind_is_as_the_api_gives_it() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("wholes", "whole.example.com").namespaced();
    kube.define(&kind.object()).await?;
    for namespace in ["whole-a", "whole-b"] {
        kube.namespace(namespace).await?;
        for name in ["one", "two"] {
            let spec = json!({ "spec": { "of": namespace, "ümlaut": "\u{1f980}\n" } });
            let objects = kind.objects(Some(namespace));
            kube.create(&objects, &kind.example(name, &spec)).await?;
        }
    }
    site.taken(&site.export_of(&[&kind.name()]), 0).await?;
    let list = kube.get(&kind.objects(None)).await?;
    let items = list["items"].as_array().context("no items")?;
    assert_eq!(items.len(), 4);
    assert_eq!(site.paths("resources").await?.len(), 4);
    for item in items {
        let metadata = &item["metadata"];
        let text = |key: &str| metadata[key].as_str().unwrap_or_default();
        let (namespace, name) = (text("namespace"), text("name"));
        let path = format!(
            "resources/{}/namespaces/{namespace}/{name}.json",
            kind.name()
        );
        let object = site.object("resources", &path).await?;
        ensure!(object == *item, "{path}: {object} is not {item}");
    }
    Ok(())
}
