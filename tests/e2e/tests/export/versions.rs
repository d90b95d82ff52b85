//! Tests of versions of a kind that differ, of names that two definitions want, and of policies. Each is on a
//! cluster of its own: discovery meets them whatever is selected.

use std::time::Duration;

use anyhow::{Result, ensure};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::wait;
use serde_json::{Value, json};

use super::kube::{CRDS, Definition};
use super::site::{EXPORT, ExportSite};

/// Returns a schema whose `spec` has these fields and no others.
fn schema(fields: &[&str]) -> Value {
    let fields = fields
        .iter()
        .map(|f| ((*f).to_owned(), json!({ "type": "string" })));
    let fields: serde_json::Map<_, _> = fields.collect();
    json!({ "openAPIV3Schema": { "type": "object", "properties": {
        "spec": { "type": "object", "properties": fields },
    } } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_only_the_stored_version_has_is_taken_or_told() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    // The server prefers v1, and objects are stored as v1beta1.
    let kind = Definition::new("widgets", "stored.example.com");
    let mut definition = kind.object();
    let version = |name: &str, storage: bool, fields: &[&str]| json!({ "name": name, "served": true, "storage": storage, "schema": schema(fields) });
    definition["spec"]["versions"] = json!([
        version("v1", false, &["both"]),
        version("v1beta1", true, &["both", "only"]),
    ]);
    kube.define(&definition).await?;
    let mut object = kind.example("one", &json!({ "spec": { "both": "b", "only": "kept" } }));
    object["apiVersion"] = json!("stored.example.com/v1beta1");
    let objects = "/apis/stored.example.com/v1beta1/widgets";
    kube.create(objects, &object).await?;

    let flags = ["--component", EXPORT];
    let exported = site.taken(&site.snapshot(&flags), 0).await?;
    exported.nothing_else(&[]);
    let facts = exported.kind(&ComponentName::resources(), &kind.name())?;
    assert_eq!(facts.version, "v1beta1");
    assert_eq!(facts.also_served, ["v1"]);
    let path = format!("resources/{}/cluster/one.json", kind.name());
    let held = site.object("resources", &path).await?;
    assert_eq!(held, kube.get(&format!("{objects}/one")).await?);
    assert_eq!(held["spec"]["only"], "kept");

    // The API can no longer read it.
    let mut closed = kube.get(&kind.path()).await?;
    closed["spec"]["versions"][1]["served"] = json!(false);
    kube.replace(&kind.path(), &closed).await?;
    kube.gone(objects).await?;
    let exported = site.taken(&site.snapshot(&flags), 0).await?;
    let finding = exported.finding(&kind.name(), Severity::Warning)?;
    assert!(finding.cause.contains("stored as v1beta1"), "{finding:?}");
    assert!(finding.cause.contains("spec.only"), "{finding:?}");
    assert_eq!(exported.objects(&kind.name())?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_whose_names_another_one_has_costs_nothing() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let [first, second] =
        ["zebras", "apples"].map(|plural| Definition::new(plural, "short.example.com"));
    let short = |kind: &Definition| {
        let mut definition = kind.object();
        definition["spec"]["names"]["shortNames"] = json!(["x"]);
        definition
    };
    kube.define(&short(&first)).await?;
    kube.create(&first.objects(None), &first.example("one", &json!({})))
        .await?;
    kube.create(CRDS, &short(&second)).await?;
    wait::until("a refusal", Duration::from_secs(60), async || {
        let status = kube.get(&second.path()).await?["status"]["conditions"].take();
        ensure!(status.to_string().contains("already in use"), "{status}");
        Ok(())
    })
    .await?;
    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 0)
        .await?;
    let finding = exported.finding(&second.name(), Severity::Warning)?;
    assert!(finding.cause.contains("never accepted"), "{finding:?}");
    exported.nothing_else(&[&second.name()]);
    assert_eq!(exported.objects(&first.name())?, 1);
    assert!(
        exported
            .kind(&ComponentName::resources(), &second.name())
            .is_err()
    );
    let facts = exported.manifest.kubernetes.as_ref();
    let mut left = facts.into_iter().flat_map(|facts| &facts.left_out);
    assert!(left.any(|kind| kind.resource == second.name()));
    // The definition itself comes back.
    assert_eq!(site.paths("crds").await?.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_change_objects_are_taken() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let group = "admissionregistration.k8s.io";
    let policy = json!({
        "metadata": { "name": "label-it" },
        "spec": {
            "matchConstraints": { "resourceRules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"],
                "operations": ["CREATE"],
            }] },
            "failurePolicy": "Ignore",
            "reinvocationPolicy": "Never",
            "mutations": [{
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {
                    "expression": "Object{metadata: Object.metadata{labels: {\"a\": \"b\"}}}",
                },
            }],
        },
    });
    let binding = json!({
        "metadata": { "name": "label-it" }, "spec": { "policyName": "label-it" },
    });
    let policies = [
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    ];
    for (plural, object) in policies.iter().zip([policy, binding]) {
        kube.create(&format!("/apis/{group}/v1/{plural}"), &object)
            .await?;
    }
    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 0)
        .await?;
    exported.nothing_else(&[]);
    for plural in policies {
        assert_eq!(exported.objects(&format!("{plural}.{group}"))?, 1);
    }
    Ok(())
}
