//! Tests that a failed component costs only itself, whatever comes before or after it.

use async_trait::async_trait;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use backup_core::source::{ArchiveReport, ArchiveSink, ArchiveSource, SourceError};
use backup_core::testing::objects::FixedArchive;
use backup_core::testing::world::{World, snapshot, stream};
use serde_json::json;

fn components() -> [ComponentName; 7] {
    [
        ComponentName::etcd(),
        ComponentName::machine_config(),
        ComponentName::crds(),
        ComponentName::sealed_secrets(),
        ComponentName::resources(),
        ComponentName::kubeconfigs(),
        ComponentName::secrets(),
    ]
}

fn refusal() -> SourceError {
    SourceError {
        operation: "ask for it".to_owned(),
        try_other_member: false,
        source: Some("only os:admin may".into()),
    }
}

fn objects() -> FixedArchive {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "a", "namespace": "default" },
    });
    FixedArchive::default().kind("configmaps", "ConfigMap", "v1", &[map])
}

/// Source that fails after its first objects.
#[derive(Debug)]
struct Broken(FixedArchive);

#[async_trait]
impl ArchiveSource for Broken {
    async fn write(&self, out: &mut ArchiveSink) -> Result<ArchiveReport, SourceError> {
        self.0.write(out).await?;
        Err(refusal())
    }
}

/// Returns a working origin of a component.
fn working<'a>(name: &ComponentName, objects: &'a FixedArchive) -> Origin<'a> {
    if *name != ComponentName::etcd() {
        return Origin::Archive(objects);
    }
    Origin::File {
        name: "etcd.snapshot",
        bytes: stream(&snapshot()),
    }
}

/// Returns a failing origin of a component: it fails before the first byte, or in the middle.
fn failing<'a>(name: &ComponentName, begun: bool, broken: &'a Broken) -> Origin<'a> {
    if !begun {
        return Origin::Nowhere(refusal());
    }
    if *name != ComponentName::etcd() {
        return Origin::Archive(broken);
    }
    let cut = futures::stream::iter([Ok(bytes::Bytes::from_static(b"no snapshot"))]);
    Origin::File {
        name: "cut.snapshot",
        bytes: Box::pin(cut),
    }
}

#[tokio::test]
async fn each_component_that_fails_costs_itself_alone_beside_each_other() {
    let (objects, broken) = (objects(), Broken(objects()));
    for fails in components() {
        for works in components().into_iter().filter(|works| *works != fails) {
            for (begun, first) in [(false, true), (false, false), (true, true), (true, false)] {
                let case = format!("{fails} fails, {works} works, {begun}, {first}");
                let world = World::new();
                let mut parts = vec![
                    (works.clone(), working(&works, &objects)),
                    (fails.clone(), failing(&fails, begun, &broken)),
                ];
                if first {
                    parts.reverse();
                }
                let plan = BackupPlan {
                    parts,
                    ..BackupPlan::default()
                };
                world.take(plan).await.expect(&case);
                let manifest = world.latest().await.manifest;
                assert!(manifest.component(&works).is_some(), "{case}");
                assert!(manifest.component(&fails).is_none(), "{case}");
                assert_eq!(manifest.missing, std::slice::from_ref(&fails), "{case}");
                assert!(manifest.is_partial(), "{case}");
                let told = manifest
                    .findings
                    .iter()
                    .find(|f| f.object == fails.as_str());
                assert_eq!(told.expect(&case).severity, Severity::Error, "{case}");
            }
        }
    }
}
