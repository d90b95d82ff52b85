//! Tests of two definitions that want one name: the previous owner gets it back, with its objects.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::butler::Shared;
use e2e::fresh::Fresh;
use e2e::site::ButlerSite;
use e2e::wait;
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const SOON: Duration = Duration::from_secs(60);

fn definition(plural: &str, kind: &str) -> Value {
    json!({
        "metadata": { "name": format!("{plural}.short.example.com") },
        "spec": {
            "group": "short.example.com", "scope": "Cluster",
            "names": { "plural": plural, "kind": kind, "shortNames": ["x"] },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                } },
            }],
        },
    })
}

/// Returns a definition's condition.
fn condition(definition: &Value, of: &str) -> String {
    let conditions = definition["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|c| c["type"] == of);
    found.map_or_else(String::new, |c| {
        c["status"].as_str().unwrap_or("").to_owned()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_had_a_short_name_has_it_again() -> Result<()> {
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    // The older one is the last by name. The other ones were never served: some of them would be made before
    // it, if all were made at once.
    server.create(CRDS, &definition("zebras", "Zebra")).await?;
    let zebras = "/apis/short.example.com/v1/zebras";
    let zebra = json!({
        "apiVersion": "short.example.com/v1", "kind": "Zebra", "metadata": { "name": "one" },
    });
    wait::until("a zebra", SOON, async || {
        server.create(zebras, &zebra).await
    })
    .await?;
    let refused: Vec<String> = (0..6).map(|n| format!("apples{n}")).collect();
    for (n, plural) in refused.iter().enumerate() {
        let made = definition(plural, &format!("Apple{n}"));
        server.create(CRDS, &made).await?;
        let path = format!("{CRDS}/{plural}.short.example.com");
        wait::until("a refusal", SOON, async || {
            let made = server.read(&path).await?;
            ensure!(condition(&made, "NamesAccepted") == "False", "{made}");
            Ok(())
        })
        .await?;
    }

    // The backup is whole: a definition without names has no objects.
    let site = ButlerSite::saved_on(shared, "definitions").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let plan = site.plan(&kubeconfig, &["--mode", "rebuild"]).await?;
    plan.ended_with(0)?;
    site.restored(&kubeconfig).await?;
    assert_eq!(
        site.listed(&kubeconfig, "zebras.short.example.com")
            .await?
            .len(),
        1
    );
    for plural in &refused {
        let path = format!("{CRDS}/{plural}.short.example.com");
        let made = fresh.kube_apiserver.read(&path).await?;
        assert_eq!(condition(&made, "NamesAccepted"), "False", "{made}");
    }
    Ok(())
}
