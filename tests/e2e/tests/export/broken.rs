//! Tests of definitions and extension APIs that are broken, each on a cluster of its own: discovery meets
//! them whatever is selected.

use anyhow::Result;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::port::Port;
use serde_json::json;

use super::kube::Definition;
use super::site::{EXPORT, ExportSite};
use super::standin::{self, Mood};

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_not_served_any_more_are_told() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let whole = Definition::new("wholes", "versions.example.com");
    let old = Definition::new("olds", "versions.example.com");
    let moved = Definition::new("moveds", "versions.example.com");
    for kind in [&whole, &old, &moved] {
        kube.define(&kind.object()).await?;
        kube.create(&kind.objects(None), &kind.example("one", &json!({})))
            .await?;
    }
    // The kind is not served any more, and the object is still in etcd.
    let mut closed = kube.get(&old.path()).await?;
    closed["spec"]["versions"][0]["served"] = json!(false);
    kube.replace(&old.path(), &closed).await?;
    kube.gone(&old.objects(None)).await?;
    // The object was stored as v1alpha1 once, which the definition no longer has.
    let mut status = kube.get(&moved.path()).await?;
    status["status"]["storedVersions"] = json!(["v1alpha1", "v1"]);
    kube.replace(&format!("{}/status", moved.path()), &status)
        .await?;

    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 7)
        .await?;
    let finding = exported.finding(&old.name(), Severity::Error)?;
    assert!(finding.cause.contains("serves no version"), "{finding:?}");
    let finding = exported.finding(&moved.name(), Severity::Warning)?;
    assert!(finding.cause.contains("v1alpha1"), "{finding:?}");
    exported.nothing_else(&[&old.name(), &moved.name()]);
    let facts = exported.manifest.kubernetes.as_ref().unwrap();
    let left_out = facts
        .left_out
        .iter()
        .find(|kind| kind.resource == old.name());
    assert_eq!(left_out.unwrap().reason, "its definition serves no version");
    assert_eq!(exported.objects(&whole.name())?, 1);
    assert_eq!(exported.objects(&moved.name())?, 1);
    let definitions = site.paths("crds").await?;
    assert_eq!(definitions.len(), 3, "{definitions:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_api_that_is_broken_costs_its_kinds() -> Result<()> {
    let site = ExportSite::own().await?;
    let (kube, standin) = (site.kube(), &site.cluster.standin);
    let whole = Definition::new("wholes", "extended.example.com");
    kube.define(&whole.object()).await?;
    kube.create(&whole.objects(None), &whole.example("one", &json!({})))
        .await?;
    let kubeconfig = site.cluster.kubeconfig.display();
    site.configure_with(&format!("  kubeconfig: {kubeconfig}\n  timeout: 4s\n"))?;
    let groups = [
        "a.example.com",
        "b.example.com",
        "c.example.com",
        "metrics.k8s.io",
    ];
    for group in groups {
        standin.register(kube, group).await?;
    }
    // Its objects are not in etcd, so they are left out unless the kind is named.
    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 0)
        .await?;
    exported.nothing_else(&[]);
    let facts = exported.manifest.kubernetes.as_ref().unwrap();
    let left_out = facts
        .left_out
        .iter()
        .find(|kind| kind.resource == "aaas.a.example.com");
    assert!(
        left_out.unwrap().reason.contains("extension API"),
        "{left_out:?}"
    );

    // Metrics of a moment are not a gap.
    standin.mood("/apis/metrics.k8s.io", Mood::Fails(503));
    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 0)
        .await?;
    exported.nothing_else(&[]);

    // Objects that are not objects.
    standin.mood("/apis/a.example.com/v1/aaas", Mood::Mangles);
    let kinds = ["aaas.a.example.com", &*whole.name()];
    let exported = site.taken(&site.export_of(&kinds), 7).await?;
    let finding = exported.finding("aaas.a.example.com", Severity::Error)?;
    assert!(finding.cause.starts_with("3 of its objects"), "{finding:?}");
    let paths = site.paths("resources").await?;
    let here = format!("resources/{}/cluster/one.json", whole.name());
    assert_eq!(
        paths,
        ["resources/aaas.a.example.com/cluster/only.json", &here]
    );

    // Kinds that are discovered and cannot be listed.
    standin.mood("/apis/a.example.com/v1/aaas", Mood::Fails(500));
    standin.mood("/apis/b.example.com/v1/aaas", Mood::Fails(404));
    standin.mood("/apis/c.example.com/v1/aaas", Mood::Hangs);
    let named = groups.map(|group| format!("aaas.{group}"));
    let kinds = [&*named[0], &*named[1], &*named[2], &*whole.name()];
    let exported = site.taken(&site.export_of(&kinds), 7).await?;
    for (kind, word) in [
        (&named[0], "500"),
        (&named[1], "404"),
        (&named[2], "took longer"),
    ] {
        let finding = exported.finding(kind, Severity::Error)?;
        assert!(finding.cause.contains(word), "{finding:?}");
        let failed = exported.kind(&ComponentName::resources(), kind)?;
        assert!(failed.failed.is_some(), "{failed:?}");
    }
    exported.nothing_else(&[&named[0], &named[1], &named[2]]);
    assert_eq!(exported.objects(&whole.name())?, 1);

    // Groups that cannot even be discovered; the server of the second one denies it.
    standin.mood("/apis/a.example.com", Mood::Fails(500));
    standin.mood("/apis/b.example.com", Mood::Fails(404));
    standin.mood("/apis/c.example.com", Mood::Hangs);
    let nobody = Port::reserve()?;
    standin::register(kube, "d.example.com", nobody.number()).await?;
    let exported = site
        .taken(&site.snapshot(&["--component", EXPORT]), 7)
        .await?;
    let groups = ["a", "b", "c", "d"].map(|letter| format!("*.{letter}.example.com"));
    let groups = groups.each_ref().map(String::as_str);
    for group in groups {
        let finding = exported.finding(group, Severity::Error)?;
        assert!(
            finding.cause.contains("could not be discovered"),
            "{finding:?}"
        );
    }
    exported.nothing_else(&groups);
    assert_eq!(exported.objects(&whole.name())?, 1);
    Ok(())
}
