//! Tests of the etcd of a DataStore, restored into a fresh folder with the real etcdutl; users can sign in.

use anyhow::{Context as _, Result};
use backup_core::backup::{BackupPlan, Origin, Protection, Run};
use backup_core::catalog::Catalog;
use backup_core::clock::SystemClock;
use backup_core::crypt::{Identities, Trust, new_identity};
use backup_core::id::ComponentName;
use backup_core::progress::SilentProgress;
use backup_core::read::unlock;
use backup_core::store::Store;
use backup_core::store::local::LocalStore;
use cluster_client::etcd::EtcdSource;
use cluster_restore::etcd::{DatastoreTarget, restore_datastore};
use e2e::Folder;
use e2e::etcd::{Etcd, EtcdClient};
use e2e::ours::Programs;
use e2e::run::tells;
use e2e::tools::{self, Tool};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Makes a restore point of the etcd of the DataStore `default`, with the key in a file.
pub(crate) async fn backed_up(
    folder: &Folder,
    etcd: &Etcd,
) -> Result<(Arc<dyn Store>, Identities)> {
    let store: Arc<dyn Store> = Arc::new(LocalStore::create(&folder.join("store")).await?);
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
    let source = EtcdSource::new(etcd.options("root")?, Arc::new(SystemClock));
    let name = ComponentName::datastore("default")?;
    run.take(BackupPlan {
        parts: vec![(name, Origin::Snapshot(&source))],
        ..BackupPlan::default()
    })
    .await?;
    let mut identities = Identities::none();
    identities.add("test", &secret)?;
    let key = secrecy::ExposeSecret::expose_secret(&secret).to_owned();
    std::fs::write(folder.join("identity.key"), key)?;
    Ok((store, identities))
}

#[tokio::test(flavor = "multi_thread")]
async fn users_sign_in_at_a_member_on_the_restored_folder() -> Result<()> {
    let folder = Folder::new()?;
    let mut etcd = Etcd::start(&folder, "datastore").await?;
    let client = etcd.client().await?;
    client.add_tenant("one_cp", "one_cp", "/one_cp/").await?;
    let revision = client.put("/one_cp/registry/x", "kept").await?;
    client.enable_auth().await?;
    let (store, identities) = backed_up(&folder, &etcd).await?;
    client.put("/one_cp/registry/x", "after").await?;

    // The member is lost, and a fresh one begins on the restored folder.
    etcd.stop().await?;
    etcd.wipe()?;
    let name = ComponentName::datastore("default")?;
    let programs = Programs::find()?;
    let etcdutl = tools::path(Tool::Etcdutl).await?;
    let restore = || {
        let restore = programs
            .restore_cli()
            .args(["restore", "datastore", "default", "latest"]);
        let restore = restore
            .arg("--store")
            .arg(format!("file://{}", folder.join("store").display()));
        let restore = restore.args(["--trust", "none", "--identity"]);
        let restore = restore
            .arg(folder.join("identity.key"))
            .arg("--etcdutl")
            .arg(&etcdutl);
        let restore = restore.arg("--data-dir").arg(etcd.data_dir());
        let restore = restore.args(["--name", "datastore", "--peer-url", &etcd.peer_url()]);
        restore
            .args(["--output", "json"])
            .env("HOME", folder.path())
    };
    // A person's snapshot beside the folder is neither replaced nor removed.
    let plain = format!("{}.snapshot", etcd.data_dir().display());
    std::fs::write(&plain, "of a person")?;
    let refused = restore().ended_with(1).await?;
    tells(&refused, &[&plain, "it was not changed"]);
    assert_eq!(std::fs::read_to_string(&plain)?, "of a person");
    std::fs::remove_file(&plain)?;
    let restored = restore().json().await?;
    assert_eq!(restored["revision"], revision);
    assert_eq!(restored["users"], serde_json::json!(["one_cp", "root"]));
    assert_eq!(restored["authEnabled"], true);
    assert!(
        !std::path::Path::new(&plain).exists(),
        "the plain snapshot is still there"
    );
    // On a second run the folder exists: nothing is touched.
    let refused = restore().ended_with(6).await?;
    tells(&refused, &["--data-dir"]);

    etcd.restart().await?;
    let pki = folder.make("tenant-pki")?;
    let authority = etcd.authority().context("no authority")?;
    let own = authority.write(&pki, "one", &authority.client("one_cp", None)?)?;
    let tenant = EtcdClient::connect(&etcd.endpoint(), Some(&own)).await?;
    assert_eq!(
        tenant.get("/one_cp/registry/x").await?.as_deref(),
        Some(&b"kept"[..])
    );
    assert!(
        tenant.get("/other_cp/registry/x").await.is_err(),
        "auth is off"
    );

    // A missing tool, and one that refuses.
    let catalog = Catalog::new(Arc::clone(&store));
    let point = catalog
        .load(&catalog.list().await?.pop().unwrap(), &Trust::Anyone)
        .await?;
    let target = |etcdutl: &str| DatastoreTarget {
        etcdutl: etcdutl.into(),
        data_dir: folder.join("fresh"),
        name: "m".to_owned(),
        peer_url: "http://127.0.0.1:1".to_owned(),
        token: "t".to_owned(),
        initial_cluster: None,
    };
    for (program, words) in [("/nowhere/etcdutl", "--etcdutl"), ("/bin/false", "refused")] {
        let unlocked = unlock(&store, &point, &identities).await?;
        let target = target(program);
        let ended = restore_datastore(
            Arc::clone(&store),
            &point,
            unlocked,
            &name,
            &target,
            Arc::new(SilentProgress),
            CancellationToken::new(),
        );
        let error = ended.await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(
            !folder.join("fresh.snapshot").exists(),
            "a plain snapshot is left"
        );
    }
    Ok(())
}
