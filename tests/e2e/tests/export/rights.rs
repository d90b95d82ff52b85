//! Tests of the export with exactly the rights of deploy/rbac.yaml, and with fewer.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use serde_json::{Value, json};

use super::kube::Definition;
use super::site::{EXPORT, ExportSite};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Returns the ClusterRole of the project, word for word.
pub(crate) fn role() -> Result<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/rbac.yaml");
    let text = std::fs::read_to_string(file).context(file)?;
    let mut documents = serde_saphyr::from_multiple::<Value>(&text)?.into_iter();
    let role = documents.find(|document| document["kind"] == "ClusterRole");
    role.context("no ClusterRole in deploy/rbac.yaml")
}

/// Gives `user` the role, and a kubeconfig for a certificate of the user's own.
pub(crate) async fn user(site: &ExportSite, user: &str, role: &Value) -> Result<PathBuf> {
    let kube = site.kube();
    kube.create(&format!("{RBAC}/clusterroles"), role).await?;
    let binding = json!({
        "metadata": { "name": user },
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": role["metadata"]["name"],
        },
        "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }],
    });
    kube.create(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await?;
    site.cluster.server.lock().await.kubeconfig_for(user, None)
}

/// Removes a resource or a group from all rules.
fn without(role: &Value, part: &str, word: &str) -> Value {
    let mut role = role.clone();
    role["metadata"]["name"] = json!(format!("without-{word}"));
    for rule in role["rules"].as_array_mut().into_iter().flatten() {
        for words in rule[part].as_array_mut().into_iter() {
            words.retain(|w| w != word);
        }
    }
    let rules = role["rules"].as_array_mut();
    for rules in rules.into_iter() {
        rules.retain(|rule| rule[part] != json!([]));
    }
    role
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_of_the_project_are_enough_and_less_is_told_by_resource_and_verb() -> Result<()>
{
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let teams = Definition::new("teams", "butler.butlerlabs.dev").namespaced();
    let sealed = Definition::new("sealedsecrets", "bitnami.com").namespaced();
    kube.namespace("butler-tenants").await?;
    for kind in [&teams, &sealed] {
        kube.define(&kind.object()).await?;
        let objects = kind.objects(Some("butler-tenants"));
        kube.create(&objects, &kind.example("one", &json!({})))
            .await?;
    }
    kube.secret("butler-tenants", "credentials", "Opaque")
        .await?;
    kube.config_map("butler-tenants", "settings").await?;
    let role = role()?;
    let export = ["--component", EXPORT];

    let kubeconfig = user(&site, "exact", &role).await?;
    let snapshot = site.snapshot(&export).arg("--kubeconfig").arg(&kubeconfig);
    let whole = site.taken(&snapshot, 0).await?;
    whole.nothing_else(&[]);
    assert_eq!(whole.objects(&teams.name())?, 1);
    assert_eq!(whole.objects(&sealed.name())?, 1);
    let secrets = site.paths("secrets").await?;
    let credentials = "resources/secrets/namespaces/butler-tenants/credentials.json";
    assert!(
        secrets.iter().any(|path| path == credentials),
        "{secrets:?}"
    );

    let less = without(&role, "apiGroups", "bitnami.com");
    let kubeconfig = user(&site, "no-group", &less).await?;
    let partial = site
        .taken(
            &site.snapshot(&export).arg("--kubeconfig").arg(&kubeconfig),
            7,
        )
        .await?;
    let finding = partial.finding(&sealed.name(), Severity::Error)?;
    for word in ["list", "sealedsecrets", "bitnami.com", "deploy/rbac.yaml"] {
        assert!(format!("{finding:?}").contains(word), "{word}: {finding:?}");
    }
    partial.nothing_else(&[&sealed.name()]);
    assert_eq!(partial.objects(&teams.name())?, 1);
    let failed = partial.kind(&ComponentName::resources(), &sealed.name())?;
    assert!(failed.failed.is_some());
    let same = site.paths("secrets").await?;
    assert_eq!(same, secrets);

    let less = without(&role, "resources", "secrets");
    let kubeconfig = user(&site, "no-secrets", &less).await?;
    let partial = site
        .taken(
            &site.snapshot(&export).arg("--kubeconfig").arg(&kubeconfig),
            7,
        )
        .await?;
    let findings = partial.manifest.findings.iter();
    // Reported for each component that Secrets may go to.
    let told: Vec<_> = findings.map(|f| (f.object.as_str(), f.severity)).collect();
    assert_eq!(told, [("secrets", Severity::Error); 3]);
    let cause = &partial.manifest.findings[0].cause;
    assert!(
        cause.contains("cannot list resource \"secrets\""),
        "{cause}"
    );
    assert_eq!(partial.objects(&teams.name())?, 1);
    let config_maps = partial.kind(&ComponentName::secrets(), "configmaps")?;
    assert_eq!(config_maps.objects, 1);
    Ok(())
}
