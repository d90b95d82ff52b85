//! Tests that DataStores which cannot be taken cost only themselves, and give the reason.

use anyhow::{Context as _, Result};
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::butler;
use e2e::etcd::Etcd;
use e2e::etcdutl;
use e2e::pki::{Authority, Identity};
use e2e::port::Port;
use serde_json::{Value, json};

use super::site::ExportSite;

const KIND: &str = "datastores.steward.butlerlabs.dev";
const LIST: &str = "/apis/steward.butlerlabs.dev/v1alpha1/datastores";

fn datastore(name: &str, endpoint: &str, leaf: impl Fn(&str) -> Value) -> Value {
    json!({
        "apiVersion": "steward.butlerlabs.dev/v1alpha1",
        "kind": "DataStore",
        "metadata": { "name": name },
        "spec": {
            "driver": "etcd",
            "endpoints": [endpoint],
            "tlsConfig": {
                "certificateAuthority": {
                    "certificate": leaf("ca.crt"),
                    "privateKey": leaf("ca.key"),
                },
                "clientCertificate": {
                    "certificate": leaf("tls.crt"),
                    "privateKey": leaf("tls.key"),
                },
            },
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_without_its_secret_or_its_etcd_costs_itself() -> Result<()> {
    let site = ExportSite::own().await?;
    butler::define(&*site.cluster.server.lock().await, KIND).await?;
    let nobody = Port::reserve()?;
    let closed = format!("127.0.0.1:{nobody}");
    let gone = datastore("keyless", &closed, |key| {
        json!({ "secretReference": {
            "name": "never-made",
            "namespace": "kube-system",
            "keyPath": key,
        } })
    });
    let authority = Authority::new("datastore")?;
    let Identity { certificate, key } = authority.client("root", None)?;
    let silent = datastore("silent", &closed, |leaf| {
        let text = match leaf {
            "ca.crt" => authority.pem().to_owned(),
            "ca.key" => authority.key(),
            "tls.crt" => certificate.clone(),
            _ => key.clone(),
        };
        json!({ "content": STANDARD.encode(text) })
    });
    for store in [&gone, &silent] {
        site.kube().create(LIST, store).await?;
    }

    let snapshot = site.snapshot(&["--component", "crds,datastores"]);
    let exported = site.taken(&snapshot, 7).await?;
    let name = |name: &str| ComponentName::datastore(name).unwrap();
    let missing = &exported.manifest.missing;
    assert!(missing.contains(&name("keyless")), "{missing:?}");
    assert!(missing.contains(&name("silent")), "{missing:?}");
    let finding = exported.finding("datastore/keyless", Severity::Error)?;
    assert!(
        finding.cause.contains("kube-system/never-made"),
        "{finding:?}"
    );
    let finding = exported.finding("datastore/silent", Severity::Error)?;
    assert!(finding.cause.contains(&closed), "{finding:?}");
    assert!(
        exported
            .manifest
            .component(&ComponentName::crds())
            .is_some()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datastore_is_entered_by_user_and_password_and_a_wrong_one_is_told() -> Result<()> {
    let site = ExportSite::own().await?;
    butler::define(&*site.cluster.server.lock().await, KIND).await?;
    let etcd = Etcd::start(&site.cluster.folder, "datastore").await?;
    let client = etcd.client().await?;
    client.put("/someone/key", "value").await?;
    client
        .add_administrator("keeper", "a long pass word")
        .await?;
    client.enable_auth().await?;
    let authority = etcd.authority().context("etcd has no authority")?;
    // The server wants a certificate; this one belongs to no user, so that only the password counts.
    let Identity { certificate, key } = authority.client("nobody", None)?;
    let endpoint = etcd.endpoint().replace("https://", "");
    let content = |text: &str| json!({ "content": STANDARD.encode(text) });
    let leaf = |leaf: &str| match leaf {
        "ca.crt" => content(authority.pem()),
        "ca.key" => content(&authority.key()),
        "tls.crt" => content(&certificate),
        _ => content(&key),
    };
    let from = |secret: &str, key: &str| {
        json!({ "secretReference": {
            "name": secret,
            "namespace": "kube-system",
            "keyPath": key,
        } })
    };
    for (name, password) in [
        ("right", "a long pass word"),
        ("wrong", "another pass word"),
    ] {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": format!("login-{name}") },
            "stringData": { "user": "keeper", "password": password },
        });
        site.kube()
            .create("/api/v1/namespaces/kube-system/secrets", &secret)
            .await?;
        let mut store = datastore(name, &endpoint, leaf);
        store["spec"]["basicAuth"] = json!({
            "username": from(&format!("login-{name}"), "user"),
            "password": from(&format!("login-{name}"), "password"),
        });
        site.kube().create(LIST, &store).await?;
    }
    let snapshot = site.snapshot(&["--component", "datastores"]);
    let exported = site.taken(&snapshot, 7).await?;
    let name = |name: &str| ComponentName::datastore(name).unwrap();
    assert_eq!(exported.manifest.missing, [name("wrong")]);
    let finding = exported.finding("datastore/wrong", Severity::Error)?;
    assert!(
        finding.cause.contains("user or password is wrong") && finding.cause.contains("basicAuth"),
        "{finding:?}"
    );
    let told = format!("{:?} {}", exported.manifest, exported.output.stderr);
    assert!(!told.contains("pass word"), "{told}");
    let component = exported.manifest.component(&name("right"));
    let facts = component
        .and_then(|c| c.etcd.as_ref())
        .context("no facts")?;
    assert!(facts.auth_enabled);
    assert_eq!(facts.users, ["keeper", "root"]);
    let file = site.fetched("datastore/right").await?;
    assert_eq!(
        u64::try_from(etcdutl::status(&file).await?.revision)?,
        facts.revision
    );
    Ok(())
}
