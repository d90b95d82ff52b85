//! DataStores that cannot be taken cost themselves, and say what is wrong with them.

use anyhow::Result;
use backup_core::format::manifest::Severity;
use backup_core::id::ComponentName;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::butler;
use e2e::pki::{Authority, Identity};
use e2e::port::Port;
use serde_json::{Value, json};

use super::bed::Bed;

const KIND: &str = "datastores.steward.butlerlabs.dev";

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
    let bed = Bed::own().await?;
    butler::define(&*bed.ground.server.lock().await, KIND).await?;
    let list = "/apis/steward.butlerlabs.dev/v1alpha1/datastores";
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
        bed.kube().create(list, store).await?;
    }

    let snapshot = bed.snapshot(&["--component", "crds,datastores"]);
    let exported = bed.taken(&snapshot, 7).await?;
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
