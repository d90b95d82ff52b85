//! Tests of objects that their own definition no longer admits: the capture and the plan name the field, and
//! `--fill` gives it a value.

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::butler::{SYSTEM, Shared};
use e2e::site::ButlerSite;
use e2e::wait;
use serde_json::{Value, json};

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const NAME: &str = "gauges.fill.example.com";
const SOON: Duration = Duration::from_secs(60);

fn definition(spec: &Value) -> Value {
    json!({
        "metadata": { "name": NAME },
        "spec": {
            "group": "fill.example.com", "scope": "Namespaced",
            "names": { "plural": "gauges", "kind": "Gauge" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } },
            }],
        },
    })
}

fn said(planned: &Value, name: &str) -> Result<Value> {
    let objects = planned["plan"]["objects"].as_array();
    let object = objects.into_iter().flatten().find(|o| {
        let object = o["object"].as_str().unwrap_or_default();
        object.contains(NAME) && object.ends_with(&format!("/{name}.json"))
    });
    object
        .cloned()
        .with_context(|| format!("{name} is not planned: {planned:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_definition_does_not_admit_any_more_is_told_with_its_field_and_filled() -> Result<()>
{
    let shared = Shared::own().await?;
    let server = &shared.butler.kube_apiserver;
    let loose = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    server.create(CRDS, &definition(&loose)).await?;
    let gauges = format!("/apis/fill.example.com/v1/namespaces/{SYSTEM}/gauges");
    for (name, spec) in [
        ("admitted", json!({ "size": 1 })),
        ("lacking", json!({ "colour": "red" })),
        ("too-large", json!({ "size": 90 })),
        ("ruled-out", json!({ "size": 4 })),
    ] {
        let gauge = json!({
            "apiVersion": "fill.example.com/v1", "kind": "Gauge",
            "metadata": { "name": name }, "spec": spec,
        });
        wait::until("a gauge", SOON, async || {
            server.create(&gauges, &gauge).await
        })
        .await?;
    }
    // A newer chart requires more, and stored objects stay as they are.
    let crd = format!("{CRDS}/{NAME}");
    let mut live = server.read(&crd).await?;
    let strict = json!({
        "type": "object", "required": ["size"],
        "properties": { "size": { "type": "integer", "maximum": 10 }, "colour": { "type": "string" } },
        "x-kubernetes-validations": [{ "rule": "self.size != 4", "message": "four is no size" }],
    });
    live["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] = strict;
    server.replace(&crd, &live).await?;
    let refused = json!({ "metadata": { "name": "probe" }, "spec": {} });
    wait::until("the stricter schema", SOON, async || {
        match server.create(&gauges, &refused).await {
            Err(_) => Ok(()),
            Ok(_) => {
                server.delete(&format!("{gauges}/probe")).await?;
                anyhow::bail!("it is admitted")
            }
        }
    })
    .await?;

    let site = ButlerSite::saved_on(shared, "fill").await?;
    let server = &site.shared.butler.kube_apiserver;
    let kubeconfig = site.shared.butler.kubeconfig();
    let shown = site
        .restore_cli("show")
        .arg("latest")
        .ended_with(0)
        .await?
        .stdout;
    for word in [
        "does not admit 3 of its objects any more",
        "ruled-out (spec breaks a rule of its definition: four is no size)",
        "lacking (spec.size is required and missing)",
        "too-large (spec.size must be at most 10)",
        "--fill",
    ] {
        assert!(shown.replace('\n', " ").contains(word), "{word}: {shown}");
    }

    // The server checks the objects where the kind is served.
    for name in ["admitted", "lacking", "too-large", "ruled-out"] {
        server.delete(&format!("{gauges}/{name}")).await?;
    }
    let only = ["--only", "resources", "--include-resources", NAME];
    let planned = site.plan(&kubeconfig, &only).await?.ended_with(0)?.json()?;
    for (name, outcome, word) in [
        ("admitted", "created", ""),
        ("lacking", "failed", "spec.size: Required value"),
        ("too-large", "failed", "spec.size"),
        ("ruled-out", "failed", "four is no size"),
    ] {
        let object = said(&planned, name)?;
        assert_eq!(object["outcome"], outcome, "{object:#}");
        assert!(object.to_string().contains(word), "{object:#}");
    }

    // Where the kind is not served yet, the archive's definition checks them.
    server.delete(&crd).await?;
    wait::until("the end of the definition", SOON, async || {
        anyhow::ensure!(server.read(&crd).await.is_err(), "it is there");
        Ok(())
    })
    .await?;
    let crds = [
        "--only",
        "crds,resources",
        "--include-resources",
        &format!("customresourcedefinitions,{NAME}"),
    ];
    let planned = site.plan(&kubeconfig, &crds).await?.ended_with(0)?.json()?;
    for (name, outcome, word) in [
        ("admitted", "created", "its definition is made first"),
        ("lacking", "failed", "spec.size is required and missing"),
        ("too-large", "failed", "spec.size must be at most 10"),
    ] {
        let object = said(&planned, name)?;
        assert_eq!(object["outcome"], outcome, "{object:#}");
        assert!(!word.is_empty(), "{object:#}");
        assert!(
            object.to_string().contains(word) || outcome == "created",
            "{object:#}"
        );
    }

    let wrong = ["--fill", "gadgets.fill.example.com.spec.size=3"];
    let planned = site
        .plan(&kubeconfig, &[&crds[..], &wrong].concat())
        .await?;
    assert!(
        planned
            .ended_with(6)?
            .stdout
            .contains("has no object of this kind")
    );
    let fill = ["--fill", &format!("{NAME}.spec.size=3")];
    let planned = site.plan(&kubeconfig, &[&crds[..], &fill].concat()).await?;
    let planned = planned.ended_with(0)?.json()?;
    for name in ["lacking", "too-large"] {
        let object = said(&planned, name)?;
        assert_eq!(object["outcome"], "created", "{object:#}");
        assert!(
            object.to_string().contains("`--fill` gives it spec.size"),
            "{object:#}"
        );
    }
    let ran = site
        .restore(&kubeconfig)
        .args(["--settle", "1"])
        .output()
        .await?;
    // The rule of the definition refuses one on its own.
    let ran = ran.ended_with(7)?.json()?;
    assert_eq!(ran["objects"]["failed"], 1, "{ran:#}");
    for (name, spec) in [
        ("admitted", json!({ "size": 1 })),
        ("lacking", json!({ "size": 3, "colour": "red" })),
        ("too-large", json!({ "size": 3 })),
    ] {
        let gauge = server.read(&format!("{gauges}/{name}")).await?;
        assert_eq!(gauge["spec"], spec, "{gauge:#}");
    }
    Ok(())
}
