//! Tests that count keys in a living DataStore with auth on, and compare them with a backup.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use backup_core::clock::{Clock, SystemClock};
use backup_core::format::manifest::EtcdFacts;
use cluster_client::etcd::schema_keys;
use cluster_restore::tenants::compare_schemas;
use e2e::Folder;
use e2e::etcd::Etcd;

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_a_schema_are_counted_and_compared() -> Result<()> {
    let folder = Folder::new()?;
    let etcd = Etcd::start(&folder, "datastore").await?;
    let client = etcd.client().await?;
    client.add_tenant("one_cp", "one_cp", "/one_cp/").await?;
    for number in 0..30 {
        client
            .put(&format!("/one_cp/registry/{number:02}"), "value")
            .await?;
    }
    // Neighbours in the order of keys are not counted.
    client.put("/one_cp0/registry/x", "value").await?;
    client.put("/one_c/registry/x", "value").await?;
    client.enable_auth().await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let schemas = ["one_cp", "two_cp"].map(ToOwned::to_owned);
    let found = schema_keys(&etcd.options("root")?, &clock, &schemas).await?;
    assert_eq!(found["one_cp"].keys, 30);
    assert_eq!(
        found["one_cp"].first.as_deref(),
        Some("/one_cp/registry/00")
    );
    assert_eq!(found["two_cp"].keys, 0);
    assert_eq!(found["two_cp"].first, None);

    let backup = EtcdFacts {
        total_keys: Some(32),
        prefixes: BTreeMap::from([("one_cp".to_owned(), 30), ("two_cp".to_owned(), 7)]),
        ..EtcdFacts::default()
    };
    let differences = compare_schemas(&backup, &found);
    assert_eq!(differences.len(), 1);
    assert!(differences[0].is_gone());

    // A tenant may count only its own keys.
    let own = schema_keys(&etcd.options("one_cp")?, &clock, &schemas[..1]).await?;
    assert_eq!(own["one_cp"].keys, 30);
    let error = schema_keys(&etcd.options("one_cp")?, &clock, &schemas)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("needs a role"), "{error}");
    Ok(())
}
