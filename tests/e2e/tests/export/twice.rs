//! Test of the cost of a second export.

use anyhow::Result;
use serde_json::json;

use super::kube::Definition;
use super::site::ExportSite;

/// Number of objects, enough for many chunks.
const OBJECTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_export_costs_what_changed() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let kind = Definition::new("ledgers", "twice.example.com");
    kube.define(&kind.object()).await?;
    kube.namespace("butler-twice").await?;
    let random = |length: usize| -> String {
        let letters = std::iter::repeat_with(|| rand::random_range('a'..='z'));
        letters.take(length).collect()
    };
    for number in 0..OBJECTS {
        let spec = json!({ "spec": { "text": random(3_000) } });
        let example = kind.example(&format!("n-{number:03}"), &spec);
        kube.create(&kind.objects(None), &example).await?;
    }
    kube.secret("butler-twice", "credentials", "Opaque").await?;
    let flags = [
        "--component",
        "resources,secrets",
        "--include-resources",
        &kind.name(),
        "--include-resources",
        "secrets",
        "--include-namespaces",
        "butler-twice",
        "--include-cluster-resources",
    ];
    let snapshot = site.snapshot(&flags);
    let count = |told: &serde_json::Value, key: &str| told[key].as_u64().unwrap();
    let first = site.taken(&snapshot, 0).await?;
    assert!(count(&first.told, "newChunks") > 4, "{}", first.told);
    let second = site.taken(&snapshot, 0).await?;
    assert_eq!(count(&second.told, "newChunks"), 0, "{}", second.told);
    assert!(second.manifest.parent.is_some());
    for (old, new) in first
        .manifest
        .components
        .iter()
        .zip(&second.manifest.components)
    {
        assert_eq!(old.plain_sha256, new.plain_sha256, "{}", old.name);
    }

    let path = format!("{}/n-100", kind.objects(None));
    let mut object = kube.get(&path).await?;
    object["spec"]["text"] = json!(random(3_000));
    kube.replace(&path, &object).await?;
    let third = site.taken(&snapshot, 0).await?;
    let new = count(&third.told, "newChunks");
    assert!((1..=3).contains(&new), "{}", third.told);
    assert!(
        count(&third.told, "storedBytes") < 64 << 10,
        "{}",
        third.told
    );
    Ok(())
}
