//! Tests of kinds that only a conversion webhook can read, and of definitions that are deleted while kinds
//! are listed.

use std::time::Duration;

use anyhow::{Result, ensure};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use e2e::port::Port;
use e2e::wait;
use serde_json::json;

use super::kube::Definition;
use super::site::ExportSite;
use super::standin::Mood;

const SOON: Duration = Duration::from_secs(60);

/// Makes a kind with an object, whose definition is `kind`, and neighbours that can be listed.
async fn beside(site: &ExportSite, kind: &Definition, group: &str) -> Result<[Definition; 2]> {
    let kube = site.kube();
    let neighbours = ["aaas", "zzzs"].map(|plural| Definition::new(plural, group));
    for neighbour in &neighbours {
        kube.define(&neighbour.object()).await?;
        kube.create(
            &neighbour.objects(None),
            &neighbour.example("one", &json!({})),
        )
        .await?;
    }
    kube.define(&kind.object()).await?;
    kube.create(&kind.objects(None), &kind.example("one", &json!({})))
        .await?;
    Ok(neighbours)
}

/// Checks that in an export of the kind and its neighbours only the kind is not whole: it has `objects` of
/// its two.
async fn costs_itself(
    site: &ExportSite,
    kind: &Definition,
    neighbours: &[Definition; 2],
    objects: u64,
) -> Result<String> {
    let [first, last] = neighbours;
    let kinds = [&*kind.name(), &*first.name(), &*last.name()];
    let exported = site.taken(&site.export_of(&kinds), 7).await?;
    let finding = exported.finding(&kind.name(), Severity::Error)?;
    exported.nothing_else(&[&kind.name()]);
    let failed = exported.kind(&ComponentName::resources(), &kind.name())?;
    assert!(failed.failed.is_some(), "{failed:?}");
    assert_eq!(failed.objects, objects);
    for whole in neighbours {
        assert_eq!(exported.objects(&whole.name())?, 1);
    }
    Ok(finding.cause.clone())
}

/// Lets new objects of the kind be stored as `v2`; existing ones stay as they are.
async fn store_as_v2(site: &ExportSite, kind: &Definition) -> Result<()> {
    let kube = site.kube();
    let mut definition = kube.get(&kind.path()).await?;
    for (version, storage) in [(0, false), (1, true)] {
        definition["spec"]["versions"][version]["storage"] = json!(storage);
    }
    kube.replace(&kind.path(), &definition).await?;
    wait::until("the new storage version", SOON, async || {
        let definition = kube.get(&kind.path()).await?;
        let stored = &definition["status"]["storedVersions"];
        ensure!(*stored == json!(["v1", "v2"]), "{stored}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_what_is_stored_in_another_version() -> Result<()> {
    let site = ExportSite::new().await?;
    let standin = &site.cluster.standin;
    let kind = Definition::new("mmms", "converted.example.com");
    let kind = kind.converted(&standin.webhook("works"), &standin.ca_bundle());
    beside(&site, &kind, "converted.example.com").await?;
    store_as_v2(&site, &kind).await?;
    let exported = site.taken(&site.export_of(&[&kind.name()]), 0).await?;
    let facts = exported.kind(&ComponentName::resources(), &kind.name())?;
    assert_eq!((facts.version.as_str(), facts.objects), ("v2", 1));
    assert_eq!(facts.stored_version, None);
    assert_eq!(facts.also_served, ["v1"]);
    let path = format!("resources/{}/cluster/one.json", kind.name());
    let object = site.object("resources", &path).await?;
    assert_eq!(object["apiVersion"], "converted.example.com/v2");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_webhook_is_down_objects_are_read_as_they_are_stored() -> Result<()> {
    let site = ExportSite::new().await?;
    let nobody = Port::reserve()?;
    let url = format!("https://127.0.0.1:{nobody}/convert");
    let kind = Definition::new("mmms", "stays.example.com");
    let kind = kind.converted(&url, &site.cluster.standin.ca_bundle());
    beside(&site, &kind, "stays.example.com").await?;
    let read = async |code: i32| {
        let exported = site.taken(&site.export_of(&[&kind.name()]), code).await?;
        let facts = exported.kind(&ComponentName::resources(), &kind.name())?;
        assert_eq!((facts.version.as_str(), facts.objects), ("v1", 1));
        let path = format!("resources/{}/cluster/one.json", kind.name());
        let object = site.object("resources", &path).await?;
        assert_eq!(object["apiVersion"], "stays.example.com/v1");
        anyhow::Ok(exported)
    };
    // Stored as v1 and read as v1: the webhook is not needed.
    read(0).await?.nothing_else(&[]);
    // The preferred version is v2, and the object is still stored as v1.
    store_as_v2(&site, &kind).await?;
    let exported = read(0).await?;
    let finding = exported.finding(&kind.name(), Severity::Warning)?;
    assert!(finding.cause.contains("was read as v1"), "{finding:?}");
    Ok(())
}

/// Makes a kind with one object stored as `v1` and one stored as `v2`: no version can be listed without the
/// webhook.
async fn torn(site: &ExportSite, kind: &Definition, group: &str) -> Result<[Definition; 2]> {
    let neighbours = beside(site, kind, group).await?;
    store_as_v2(site, kind).await?;
    let kube = site.kube();
    let objects = kind.objects(None).replace("/v1/", "/v2/");
    let mut two = kind.example("two", &json!({}));
    two["apiVersion"] = json!(format!("{group}/v2"));
    // The server serves the new version a moment after it reports it.
    wait::until("an object of v2", SOON, async || {
        kube.create(&objects, &two).await.map(drop)
    })
    .await?;
    Ok(neighbours)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_down_costs_what_only_it_can_read() -> Result<()> {
    let site = ExportSite::new().await?;
    let nobody = Port::reserve()?;
    let url = format!("https://127.0.0.1:{nobody}/convert");
    let kind = Definition::new("mmms", "down.example.com");
    let kind = kind.converted(&url, &site.cluster.standin.ca_bundle());
    let neighbours = torn(&site, &kind, "down.example.com").await?;
    // Each version is served, so each object is read in its own.
    let [first, last] = &neighbours;
    let kinds = [&*kind.name(), &*first.name(), &*last.name()];
    let exported = site.taken(&site.export_of(&kinds), 0).await?;
    assert_eq!(exported.objects(&kind.name())?, 2);
    let told = exported.finding(&kind.name(), Severity::Warning)?;
    assert!(told.cause.contains("1 of its objects"), "{told:?}");
    for (name, version) in [("one", "v1"), ("two", "v2")] {
        let path = format!("resources/{}/cluster/{name}.json", kind.name());
        let object = site.object("resources", &path).await?;
        let version = format!("down.example.com/{version}");
        assert_eq!(object["apiVersion"], version.as_str());
    }

    // An object stored in a version that is no longer served needs the webhook.
    let kube = site.kube();
    let mut definition = kube.get(&kind.path()).await?;
    definition["spec"]["versions"][0]["served"] = json!(false);
    kube.replace(&kind.path(), &definition).await?;
    wait::until("v1 to be gone", SOON, async || {
        let listed = kube.get(&kind.objects(None)).await;
        ensure!(listed.is_err(), "it is served");
        Ok(())
    })
    .await?;
    let cause = costs_itself(&site, &kind, &neighbours, 1).await?;
    assert!(cause.contains("connection refused"), "{cause}");
    assert!(cause.contains(&url), "{cause}");

    // Its objects may refer to Secrets, which are then unknown.
    let kinds = format!("{},secrets", kind.name());
    let flags = ["--component", "secrets", "--include-resources", &kinds];
    let flags = [
        &flags[..],
        &[
            "--include-namespaces=default",
            "--include-cluster-resources",
        ],
    ];
    let exported = site.taken(&site.snapshot(&flags.concat()), 7).await?;
    exported.finding(&kind.name(), Severity::Error)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_hangs_costs_its_kind() -> Result<()> {
    let site = ExportSite::new().await?;
    let standin = &site.cluster.standin;
    standin.mood("/convert/hangs", Mood::Hangs);
    let kind = Definition::new("mmms", "hangs.example.com");
    let kind = kind.converted(&standin.webhook("hangs"), &standin.ca_bundle());
    let neighbours = torn(&site, &kind, "hangs.example.com").await?;
    let kubeconfig = site.cluster.kubeconfig.display();
    site.configure_with(&format!("  kubeconfig: {kubeconfig}\n  timeout: 4s\n"))?;
    let cause = costs_itself(&site, &kind, &neighbours, 0).await?;
    assert!(cause.contains("took longer than 4 s"), "{cause}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_deleted_while_kinds_are_listed_is_told_and_no_more() -> Result<()> {
    let site = ExportSite::new().await?;
    let (kube, standin) = (site.kube(), &site.cluster.standin);
    standin.register(kube, "deleting.example.com").await?;
    let gate = "/apis/deleting.example.com/v1/aaas";
    standin.mood(gate, Mood::Hangs);
    // Three kinds are fetched ahead; the last one here is not among them.
    let kinds = ["bbbs", "cccs", "ddds", "eees"];
    let kinds = kinds.map(|plural| Definition::new(plural, "deleted.example.com"));
    for kind in &kinds {
        kube.define(&kind.object()).await?;
        kube.create(&kind.objects(None), &kind.example("one", &json!({})))
            .await?;
    }
    let [b, c, d, gone] = &kinds;
    let names = [b, c, d, gone].map(Definition::name);
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("aaas.deleting.example.com");
    let running = site.export_of(&names).start()?;
    standin.asked(gate).await?;
    kube.delete(&gone.path()).await?;
    kube.gone(&gone.path()).await?;
    kube.gone(&gone.objects(None)).await?;
    standin.mood(gate, Mood::Works);
    let exported = site.read(running.ended().await?, 0)?;
    let finding = exported.finding(&gone.name(), Severity::Info)?;
    assert!(
        finding.cause.contains("deleted while the export ran"),
        "{finding:?}"
    );
    exported.nothing_else(&[&gone.name()]);
    for kind in [b, c, d] {
        assert_eq!(exported.objects(&kind.name())?, 1);
    }
    Ok(())
}
