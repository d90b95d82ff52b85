//! Tests in which the API server ends, or compacts, while it is listed.

use std::collections::BTreeSet;

use anyhow::Result;
use backup_core::format::export::Consistency;
use backup_core::id::ComponentName;
use serde_json::json;

use super::kube::Definition;
use super::rights;
use super::site::ExportSite;
use super::standin::Mood;

/// Number of objects: more than a page.
const MANY: usize = 620;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_when_its_revision_was_compacted() -> Result<()> {
    let site = ExportSite::own().await?;
    let (kube, standin) = (site.kube(), &site.cluster.standin);
    let many = Definition::new("bbbs", "many.example.com");
    kube.define(&many.object()).await?;
    for number in 0..MANY {
        let example = many.example(&format!("n-{number:04}"), &json!({ "number": number }));
        kube.create(&many.objects(None), &example).await?;
    }
    standin.register(kube, "gate.example.com").await?;
    let gate = "/apis/gate.example.com/v1/aaas";
    standin.mood(gate, Mood::Hangs);
    let last = Definition::new("zzzs", "many.example.com");
    kube.define(&last.object()).await?;
    kube.create(&last.objects(None), &last.example("one", &json!({})))
        .await?;

    // Held up at the first kind, with the first page of the second one fetched.
    let kinds = ["aaas.gate.example.com", &many.name(), &last.name()];
    let before = kube.lists(&many).await?;
    let running = site.export_of(&kinds).start()?;
    standin.asked(gate).await?;
    kube.listed(&many, before).await?;
    let etcd = site.cluster.etcd.client().await?;
    {
        let mut server = site.cluster.server.lock().await;
        server.kill();
        let revision = etcd.put("/newer", "than the list").await?;
        etcd.compact(revision).await?;
        standin.mood(gate, Mood::Works);
        server.restart().await?;
    }
    let exported = site.read(running.ended().await?, 0)?;
    exported.nothing_else(&[]);
    let kind = exported.kind(&ComponentName::resources(), &many.name())?;
    assert_eq!(kind.consistency, Consistency::Continued, "{kind:?}");
    let paths = site.paths("resources").await?;
    let ours = paths.iter().filter(|path| path.contains("/bbbs.many"));
    let ours: Vec<_> = ours.collect();
    assert_eq!(ours.len(), MANY);
    assert_eq!(ours.into_iter().collect::<BTreeSet<_>>().len(), MANY);
    assert_eq!(exported.objects(&last.name())?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_restarts_costs_nothing() -> Result<()> {
    let site = ExportSite::own().await?;
    let (kube, standin) = (site.kube(), &site.cluster.standin);
    // The project's rights, which the server has to load again when it starts.
    let mut role = rights::role()?;
    let more = json!({ "apiGroups": ["gate.example.com"], "resources": ["*"], "verbs": ["list"] });
    let rules = role["rules"].as_array_mut();
    rules.into_iter().for_each(|rules| rules.push(more.clone()));
    let kubeconfig = rights::user(&site, "daemon", &role).await?;
    let teams = Definition::new("teams", "butler.butlerlabs.dev");
    kube.define(&teams.object()).await?;
    kube.create(&teams.objects(None), &teams.example("one", &json!({})))
        .await?;
    standin.register(kube, "gate.example.com").await?;
    let gate = "/apis/gate.example.com/v1/aaas";
    standin.mood(gate, Mood::Hangs);

    let kinds = [
        "aaas.gate.example.com",
        "namespaces",
        "clusterroles",
        "secrets",
        &teams.name(),
    ];
    let running = site
        .export_of(&kinds)
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .start()?;
    standin.asked(gate).await?;
    {
        let mut server = site.cluster.server.lock().await;
        server.kill();
        standin.mood(gate, Mood::Works);
        server.restart().await?;
    }
    let exported = site.read(running.ended().await?, 0)?;
    exported.nothing_else(&[]);
    assert_eq!(exported.objects(&teams.name())?, 1);
    assert_eq!(exported.objects("aaas.gate.example.com")?, 1);
    Ok(())
}
