//! Tests that a snapshot is the etcd's own, bit for bit, and names the tenants in it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use backup_core::backup::{BackupPlan, Origin, Protection, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::SystemClock;
use backup_core::crypt::{Identities, Trust, new_identity};
use backup_core::id::ComponentName;
use backup_core::newfile::OverwritePolicy;
use backup_core::progress::SilentProgress;
use backup_core::read;
use backup_core::store::Store;
use backup_core::store::memory::MemoryStore;
use cluster_client::kube::datastores::{TenantSchema, schemas};
use e2e::etcdutl;
use tokio_util::sync::CancellationToken;

use super::ground::{Ground, KEYS, SCHEMAS, source};

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_comes_back_whole_with_its_tenants_users_and_roles() -> Result<()> {
    let ground = Ground::new().await?;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (secret, recipient) = new_identity();
    let run = Run {
        cluster: "test".parse()?,
        store: Arc::clone(&store),
        protection: Protection::Recipients(vec![recipient]),
        signing_key: None,
        tool: "test 0".to_owned(),
        reason: None,
        pinned: false,
        clock: Arc::new(SystemClock),
        progress: Arc::new(SilentProgress),
        cancel: CancellationToken::new(),
    };
    let source = source(ground.options("root")?);
    let name = ComponentName::datastore("default")?;
    let committed = run
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
    let file = ground.folder.join("datastore.snapshot");
    let mut identities = Identities::none();
    identities.add("test", &secret)?;
    let catalog = Catalog::new(Arc::clone(&store));
    let point = catalog
        .load(&catalog.list().await?.pop().unwrap(), &Trust::Anyone)
        .await?;
    let unlocked = read::unlock(&store, &point, &identities).await?;
    read::fetch(
        store,
        &point,
        unlocked,
        &name,
        (&file, OverwritePolicy::Refuse),
        Arc::new(SilentProgress),
        CancellationToken::new(),
    )
    .await?;
    let own = ground.folder.join("own.snapshot");
    let client = ground.etcd.client().await?;
    client.snapshot(&own).await?;
    let (ours, own) = (etcdutl::status(&file).await?, etcdutl::status(&own).await?);
    assert_eq!(ours, own);
    assert_eq!(u64::try_from(ours.revision)?, facts.revision);
    Ok(())
}
