//! Tests that one object which the API server cannot read costs only itself, and that the restore point is
//! not a success anywhere.

use anyhow::{Context as _, Result};
use backup_core::format::export::KindFacts;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::port::Port;
use e2e::run::tells;
use serde_json::{Value, json};

use super::kube::Definition;
use super::site::{EXPORT, ExportSite, Exported};

/// Secret that was encrypted with a key that the API server no longer has.
const LOST: &str = "/registry/secrets/default/lost-key";
const OF_LAST_YEAR: &str = "k8s:enc:aescbc:v1:key-of-last-year:0123456789abcdef0123456789abcdef";
const COMPONENTS: [&str; 3] = ["sealed-secrets", "kubeconfigs", "secrets"];

fn lost(kind: &KindFacts) -> Vec<&str> {
    kind.lost.iter().map(|lost| lost.name.as_str()).collect()
}

fn id(exported: &Exported) -> Result<String> {
    let id = exported.told["restorePoint"].as_str();
    Ok(id.context("no id")?.to_owned())
}

/// Makes Secrets of all sorts, before and after the lost one.
async fn furnish(site: &ExportSite) -> Result<()> {
    let kube = site.kube();
    for namespace in ["butler-system", "aaa"] {
        kube.namespace(namespace).await?;
    }
    for namespace in ["aaa", "butler-system", "default"] {
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let key = json!({
            "metadata": {
                "name": "sealing",
                "labels": { "sealedsecrets.bitnami.com/sealed-secrets-key": "active" },
            },
            "type": "kubernetes.io/tls",
            "data": { "tls.crt": "", "tls.key": "" },
        });
        kube.create(&path, &key).await?;
        for name in ["a", "lost", "lost-key-1", "zzz", "one-kubeconfig"] {
            kube.secret(namespace, name, "Opaque").await?;
        }
    }
    Ok(())
}

/// Returns the number of objects in each component of Secrets.
fn counts(exported: &Exported) -> Result<Vec<u64>> {
    let count = |name: &&str| Ok(exported.kind(&name.parse()?, "secrets")?.objects);
    COMPONENTS.iter().map(count).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_cannot_be_decrypted_is_lost_alone_and_named() -> Result<()> {
    let site = ExportSite::own().await?;
    furnish(&site).await?;
    let export = site.snapshot(&["--component", EXPORT]);
    let whole = site.taken(&export, 0).await?;
    assert_eq!(whole.manifest.gaps(), []);
    let before = counts(&whole)?;
    assert!(before.iter().all(|count| *count > 0), "{before:?}");

    let etcd = site.cluster.etcd.client().await?;
    etcd.put(LOST, OF_LAST_YEAR).await?;
    let partial = site.taken(&export, 7).await?;
    assert_eq!(counts(&partial)?, before, "all others are there");
    for name in COMPONENTS {
        let name: ComponentName = name.parse()?;
        let kind = partial.kind(&name, "secrets")?;
        assert_eq!(lost(kind), ["default/lost-key"]);
        assert!(kind.failed.is_some() && kind.list_failed.is_some());
        assert!(!partial.manifest.is_whole(&name));
    }
    assert!(partial.manifest.is_whole(&ComponentName::resources()));
    let told = &partial.output.stderr;
    assert!(
        told.contains("default/lost-key (Internal error occurred: "),
        "{told}"
    );

    looks(&site, &id(&whole)?, &id(&partial)?).await
}

/// Checks the output of all commands on the two restore points.
async fn looks(site: &ExportSite, whole: &str, partial: &str) -> Result<()> {
    let json = ["--output", "json"];
    let fetch = async |point: &str, name: &str| {
        let place = ["--force", "--to", "f.tar"];
        let what = [point, "--component", name];
        let args = [&what[..], &place, &json].concat();
        site.restore_cli("fetch").args(&args).output().await
    };
    for name in COMPONENTS {
        let fetched = fetch("latest", name).await?;
        let fetched = fetched.ended_with(0)?;
        assert_eq!(fetched.json()?["restorePoint"], whole, "{name}");
        let passed = fetched.stderr.lines().filter(|l| l.contains("passed over"));
        let passed: Vec<&str> = passed.collect();
        assert_eq!(passed.len(), 1, "{}", fetched.stderr);
        for word in [partial, "secrets default/lost-key"] {
            assert!(
                passed.iter().all(|l| l.contains(word)),
                "{word}: {passed:?}"
            );
        }
        // By its id it is fetched, and reported as partial.
        let fetched = fetch(partial, name).await?;
        let fetched = fetched.ended_with(7)?;
        assert_eq!(fetched.json()?["lacks"][0]["wholeIn"], whole);
        tells(&fetched, &["default/lost-key"]);
    }
    let verify = site
        .restore_cli("verify")
        .args([partial, "--output", "json"]);
    let verified = verify.ended_with(7).await?.json()?;
    assert_eq!(verified["sound"], false);
    assert_eq!(verified["partial"], true);
    let says = |findings: &Value, words: &[&str]| {
        let text = findings.to_string();
        for word in words {
            assert!(text.contains(word), "{word} is not in {findings:#}");
        }
    };
    says(&verified["findings"], &["default/lost-key", whole]);
    let sound = site.restore_cli("verify").args([whole, "--output", "json"]);
    assert_eq!(sound.json().await?["sound"], true);

    let show = site.restore_cli("show").args([partial, "--output", "json"]);
    let shown = show.json().await?;
    says(
        &shown["lacks"],
        &["secrets default/lost-key in `secrets`", whole],
    );

    let audit = site.restore_cli("audit").args(["--output", "json"]);
    let audited = audit.ended_with(3).await?.json()?;
    says(
        &audited["findings"],
        &["`kubeconfigs` is not whole", "default/lost-key", whole],
    );

    let list = site.restore_cli("list").ended_with(0).await?;
    let line = list.stdout.lines().find(|l| l.contains(partial));
    let line = line.context("not listed")?;
    assert!(
        line.contains("not whole: sealed-secrets, kubeconfigs, secrets"),
        "{line}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_that_cannot_be_decoded_are_lost_alone_and_named() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let toy = Definition::new("toys", "torn.example.com").namespaced();
    let wide = Definition::new("wides", "torn.example.com");
    for namespace in ["aaa", "bbb"] {
        kube.namespace(namespace).await?;
    }
    kube.define(&toy.object()).await?;
    kube.define(&wide.object()).await?;
    for name in ["a", "car", "car-2", "cart", "z"] {
        for namespace in ["aaa", "bbb"] {
            kube.create(
                &toy.objects(Some(namespace)),
                &toy.example(name, &json!({})),
            )
            .await?;
        }
        kube.create(&wide.objects(None), &wide.example(name, &json!({})))
            .await?;
    }
    let etcd = site.cluster.etcd.client().await?;
    // Cut in half, not an object at all, and the very first and last ones.
    for (name, value) in [("aaa/car-2", "{\"apiVersion\":\"torn"), ("bbb/z", "{}")] {
        let key = format!("/registry/torn.example.com/toys/{name}");
        etcd.put(&key, value).await?;
    }
    etcd.put("/registry/torn.example.com/wides/a", "torn")
        .await?;
    etcd.put("/registry/torn.example.com/wides/car", "torn")
        .await?;
    etcd.put("/registry/torn.example.com/wides/car-2", "torn")
        .await?;

    let exported = site
        .taken(&site.export_of(&[&toy.name(), &wide.name()]), 7)
        .await?;
    let resources = ComponentName::resources();
    let kind = exported.kind(&resources, &toy.name())?;
    assert_eq!(lost(kind), ["aaa/car-2", "bbb/z"]);
    assert_eq!(kind.objects, 8);
    exported.finding(&toy.name(), Severity::Error)?;
    // Of two in a row the server names one.
    let kind = exported.kind(&resources, &wide.name())?;
    assert_eq!(kind.objects, 2);
    assert_eq!(
        kind.lost.last().map(|l| l.name.as_str()),
        Some("car-2"),
        "{kind:?}"
    );
    exported.nothing_else(&[&toy.name(), &wide.name()]);
    assert!(!exported.manifest.is_whole(&resources));
    let paths =
        site.restore_cli("fetch")
            .args(["latest", "--component", "resources", "--to", "r.tar"]);
    // No restore point is whole, so the newest with a part is used, with a warning.
    let fetched = paths.ended_with(7).await?;
    assert!(
        fetched
            .stderr
            .contains("no restore point has `resources` whole"),
        "{}",
        fetched.stderr
    );

    // A snapshot of that etcd reports the torn objects that can be detected, and is taken all the same.
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "cut" },
    });
    kube.create("/api/v1/namespaces/aaa/serviceaccounts", &account)
        .await?;
    let key = "/registry/serviceaccounts/aaa/cut";
    let whole = etcd.get(key).await?.context("not stored")?;
    assert!(whole.starts_with(b"k8s\0"), "another form");
    let half = whole.get(..whole.len() / 2).context("no half")?;
    etcd.put(key, half.to_vec()).await?;
    etcd.snapshot(&site.folder.join("torn.db")).await?;
    let imported = site.taken(&site.import("torn.db"), 7).await?;
    let torn = [
        "etcd serviceaccounts aaa/cut",
        "etcd toys.torn.example.com aaa/car-2",
        "etcd toys.torn.example.com bbb/z",
    ];
    for object in torn {
        let told = imported.finding(object, Severity::Error)?;
        assert!(
            told.cause.contains("no API server can read its value"),
            "{told:?}"
        );
    }
    let others = imported.manifest.findings.iter();
    let others =
        others.filter(|f| f.object.starts_with("etcd ") && !torn.contains(&f.object.as_str()));
    assert_eq!(others.count(), 0, "{:#?}", imported.manifest.findings);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_away_costs_the_objects_that_it_converts() -> Result<()> {
    let site = ExportSite::own().await?;
    let kube = site.kube();
    let nobody = Port::reserve()?;
    let url = format!("https://127.0.0.1:{nobody}/convert");
    let kind = Definition::new("mmms", "mixed.example.com").namespaced();
    let kind = kind.converted(&url, &site.cluster.standin.ca_bundle());
    kube.namespace("aaa").await?;
    kube.define(&kind.object()).await?;
    for name in ["one", "three", "two"] {
        for namespace in ["aaa", "default"] {
            let object = kind.example(name, &json!({}));
            kube.create(&kind.objects(Some(namespace)), &object).await?;
        }
    }
    // As in the API server when its storage version has changed.
    let mut defined = kube.get(&kind.path()).await?;
    defined["status"]["storedVersions"] = json!(["v1", "v2"]);
    kube.replace(&format!("{}/status", kind.path()), &defined)
        .await?;
    // Two are stored in the other version, two more in one that no API server can read.
    let etcd = site.cluster.etcd.client().await?;
    let stored = [
        ("aaa/one", "v2"),
        ("default/three", "v2"),
        ("aaa/two", "v3"),
        ("default/two", "v3"),
    ];
    for (name, version) in stored {
        let key = format!("/registry/mixed.example.com/mmms/{name}");
        let value = etcd.get(&key).await?.context("not stored")?;
        let mut object: Value = serde_json::from_slice(&value)?;
        object["apiVersion"] = json!(format!("mixed.example.com/{version}"));
        etcd.put(&key, serde_json::to_vec(&object)?).await?;
    }
    let exported = site.taken(&site.export_of(&[&kind.name()]), 7).await?;
    let facts = exported.kind(&ComponentName::resources(), &kind.name())?;
    assert_eq!(lost(facts), ["aaa/two", "default/two"]);
    assert_eq!(facts.objects, 4);
    let mut told = exported.manifest.findings.iter();
    let told = told.find(|f| f.object == kind.name() && f.severity == Severity::Warning);
    let told = told.context("not told")?;
    assert!(told.cause.contains("2 of its objects"), "{told:?}");
    // Each in the version in which it is stored.
    let paths = site.paths("resources").await?;
    for name in ["one", "three", "two"] {
        for namespace in ["aaa", "default"] {
            let of = format!("{namespace}/{name}");
            let path = format!("resources/{}/namespaces/{of}.json", kind.name());
            let version = stored.iter().find(|(stored, _)| *stored == of);
            let version = version.map_or("v1", |(_, version)| *version);
            assert_eq!(paths.contains(&path), version != "v3", "{of}");
            if version != "v3" {
                let object = site.object("resources", &path).await?;
                assert_eq!(object["apiVersion"], format!("mixed.example.com/{version}"));
            }
        }
    }
    Ok(())
}
