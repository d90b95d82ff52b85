//! Tests that a snapshot is the etcd's own, bit for bit, and names the tenants in it.

use anyhow::{Context as _, Result};
use backup_core::backup::{BackupPlan, Origin};
use backup_core::id::ComponentName;
use backup_core::testing::world::World;
use cluster_client::kube::datastores::{TenantSchema, schemas};
use e2e::{Folder, etcdutl};

use super::tenants::{KEYS, SCHEMAS, source, with_tenants};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_whole_with_its_tenants_users_and_roles() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = with_tenants(&folder).await?;
    let world = World::new();
    let source = source(etcd.options("root")?);
    let name = ComponentName::datastore("default")?;
    let committed = world
        .take(BackupPlan {
            parts: vec![(name.clone(), Origin::Snapshot(&source))],
            ..BackupPlan::default()
        })
        .await?;

    let component = committed
        .manifest
        .component(&name)
        .context("no component")?;
    let facts = component.etcd.as_ref().context("no facts")?;
    assert!(facts.auth_enabled);
    assert_eq!(facts.users, ["one_cp", "root", "two_cp"]);
    assert_eq!(facts.roles, ["one_cp", "root", "two_cp"]);
    let prefixes: Vec<_> = facts
        .prefixes
        .iter()
        .map(|(p, n)| (p.as_str(), *n))
        .collect();
    let keys = u64::try_from(KEYS)?;
    assert_eq!(prefixes, [("", 1), ("left_over", 1), ("one_cp", keys)]);
    assert_eq!(facts.etcd_version.as_deref(), Some("3.6.16"));
    assert_eq!(committed.manifest.findings, []);

    let tenants = SCHEMAS.map(|schema| TenantSchema {
        tenant: schema.replace('_', "/"),
        schema: schema.to_owned(),
        user: None,
    });
    let found = schemas("default", facts, &tenants);
    let causes: Vec<_> = found.iter().map(|finding| finding.cause.as_str()).collect();
    assert_eq!(
        causes,
        [
            "tenants without data: two/cp (/two_cp/)",
            "data without a tenant: /left_over/ (1 keys)"
        ]
    );

    // etcd's own tool reports the same for the restored file as for a snapshot that it took itself. Its hash
    // covers every bucket, users and roles too; nothing was written in between.
    let file = folder.join("datastore.snapshot");
    let point = world.latest().await;
    std::fs::write(&file, world.fetch_component(&point, &name).await?)?;
    let own = folder.join("own.snapshot");
    let client = etcd.client().await?;
    client.snapshot(&own).await?;
    let (ours, own) = (etcdutl::status(&file).await?, etcdutl::status(&own).await?);
    assert_eq!(ours, own);
    assert_eq!(u64::try_from(ours.revision)?, facts.revision);
    Ok(())
}
