//! Tests that the scenario's parts are real, and agree with each other.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::butler::{Butler, DATASTORE, FOREIGN, SEALING, STEWARD, SYSTEM, Shared, TEAM, TENANTS};
use e2e::etcd::EtcdClient;
use e2e::http::HttpClient;
use e2e::pki::{Files, Identity};
use e2e::wait;
use serde_json::Value;

/// Time limit. The awaited conditions take seconds; a machine that compiles next to them is slow.
const LIMIT: Duration = Duration::from_secs(120);

async fn list(butler: &Butler, path: &str) -> Result<Vec<Value>> {
    let list = butler.kube_apiserver.read(path).await?;
    Ok(list["items"].as_array().context("no list")?.clone())
}

async fn secret(butler: &Butler, namespace: &str, name: &str) -> Result<BTreeMap<String, String>> {
    let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}");
    let secret = butler.kube_apiserver.read(&path).await?;
    let data = secret["data"].as_object().context("no data")?;
    let decoded = data.iter().map(|(key, value)| {
        let bytes = STANDARD.decode(value.as_str().context("no text")?)?;
        Ok((key.clone(), String::from_utf8(bytes)?))
    });
    decoded.collect()
}

/// Makes a client as a kubeconfig describes it; returns it with the server's address.
fn by_kubeconfig(text: &str) -> Result<(HttpClient, String)> {
    let config: Value = serde_json::from_str(text)?;
    let part = |pointer: &str| {
        let value = config.pointer(pointer).and_then(Value::as_str);
        value.with_context(|| format!("a kubeconfig without {pointer}"))
    };
    let pem = |pointer: &str| -> Result<String> {
        Ok(String::from_utf8(STANDARD.decode(part(pointer)?)?)?)
    };
    let identity = Identity {
        certificate: pem("/users/0/user/client-certificate-data")?,
        key: pem("/users/0/user/client-key-data")?,
    };
    let ca = pem("/clusters/0/cluster/certificate-authority-data")?;
    let client = HttpClient::new(&ca, Some(&identity))?;
    Ok((client, part("/clusters/0/cluster/server")?.to_owned()))
}

#[tokio::test]
async fn tenants_answer_to_the_kubeconfigs_in_their_secrets() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    let clusters = list(
        butler,
        "/apis/butler.butlerlabs.dev/v1alpha1/tenantclusters",
    )
    .await?;
    assert_eq!(clusters.len(), 2);
    for cluster in clusters {
        let name = cluster["metadata"]["name"].as_str().context("no name")?;
        let uid = cluster["metadata"]["uid"].as_str().context("no uid")?;
        let status = &cluster["status"];
        assert_eq!(status["phase"], "Ready");
        let namespace = status["tenantNamespace"].as_str().context("no namespace")?;
        assert_eq!(namespace, format!("{name}-{}", &uid[..8]));
        let ca = secret(butler, namespace, &format!("{name}-ca")).await?;
        for (suffix, key) in [("admin-kubeconfig", "admin.conf"), ("kubeconfig", "value")] {
            let secret = secret(butler, namespace, &format!("{name}-{suffix}")).await?;
            let kubeconfig = &secret[key];
            assert!(kubeconfig.contains(&STANDARD.encode(&ca["tls.crt"])));
            let (client, server) = by_kubeconfig(kubeconfig)?;
            assert_eq!(status["controlPlaneEndpoint"], server.as_str());
            for path in ["/readyz", "/version", "/api/v1/secrets"] {
                let (code, body) = client.get(&format!("{server}{path}"), None).await?;
                let text = String::from_utf8_lossy(&body);
                assert!(code.is_success(), "{name}{path}: {code}: {text}");
                if path == "/version" {
                    let version: Value = serde_json::from_str(&text)?;
                    assert_eq!(version["gitVersion"], cluster["spec"]["kubernetesVersion"]);
                }
            }
            let (_, nodes) = client.get(&format!("{server}/api/v1/nodes"), None).await?;
            let nodes: Value = serde_json::from_slice(&nodes)?;
            let ready = nodes["items"].as_array().context("no nodes")?.iter();
            let ready = ready.filter(|node| node["status"]["conditions"][0]["status"] == "True");
            assert_eq!(u64::try_from(ready.count())?, status["workerNodesReady"]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn owners_are_there_with_the_uids_that_references_name() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    for tenant in butler.tenants() {
        let namespace = &tenant.tenant_namespace;
        let mut uids = Vec::new();
        let mut owned = 0;
        for kind in [
            "/apis/cluster.x-k8s.io/v1beta1 clusters",
            "/apis/controlplane.cluster.x-k8s.io/v1alpha1 stewardcontrolplanes",
            "/apis/steward.butlerlabs.dev/v1alpha1 tenantcontrolplanes",
            "/api/v1 secrets",
            "/api/v1 configmaps",
        ] {
            let (group, plural) = kind.split_once(' ').context("no plural")?;
            let items = list(butler, &format!("{group}/namespaces/{namespace}/{plural}")).await?;
            for item in items {
                if let Some(owner) = item["metadata"]["ownerReferences"].get(0) {
                    assert!(uids.contains(&owner["uid"]), "{owner}");
                    owned += 1;
                }
                uids.push(item["metadata"]["uid"].clone());
            }
        }
        // 2 control planes, 15 Secrets, the ConfigMap of kubeadm.
        assert_eq!(owned, 18);
    }
    Ok(())
}

#[tokio::test]
async fn sealed_secrets_are_unsealed_and_each_key_has_a_state_of_its_own() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    let sealed = list(butler, "/apis/bitnami.com/v1alpha1/sealedsecrets").await?;
    assert_eq!(sealed.len(), 3);
    for one in sealed {
        let synced = &one["status"]["conditions"][0];
        assert_eq!(
            (&synced["type"], &synced["status"]),
            (&"Synced".into(), &"True".into())
        );
        let namespace = one["metadata"]["namespace"]
            .as_str()
            .context("no namespace")?;
        let name = one["metadata"]["name"].as_str().context("no name")?;
        let opened = secret(butler, namespace, name).await?;
        assert_eq!(opened["user"], name);
        assert!(butler.canaries().contains(&opened["password"]));
    }
    let keys = list(butler, &format!("/api/v1/namespaces/{SEALING}/secrets")).await?;
    let keys = keys.iter().filter(|key| key["type"] == "kubernetes.io/tls");
    let label = e2e::sealed_secrets::KEY_LABEL;
    let mut states: Vec<_> = keys
        .map(|key| key["metadata"]["labels"][label].as_str().unwrap_or("none"))
        .collect();
    states.sort_unstable();
    assert_eq!(states, ["active", "compromised", "none"]);
    Ok(())
}

#[tokio::test]
async fn the_datastore_lets_in_its_users_and_nobody_else() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    let store = butler
        .kube_apiserver
        .read(&format!(
            "/apis/steward.butlerlabs.dev/v1alpha1/datastores/{DATASTORE}"
        ))
        .await?;
    let endpoint = format!(
        "https://{}",
        store["spec"]["endpoints"][0].as_str().context("none")?
    );
    let leaf = |part: &str| store.pointer(&format!("/spec/tlsConfig/{part}/secretReference"));
    let read = async |part: &str| -> Result<String> {
        let reference = leaf(part).with_context(|| format!("no {part}"))?;
        let field = |name: &str| reference[name].as_str().context("no text");
        let secret = secret(butler, field("namespace")?, field("name")?).await?;
        Ok(secret[field("keyPath")?].clone())
    };
    let ca = read("certificateAuthority/certificate").await?;
    let root = Identity {
        certificate: read("clientCertificate/certificate").await?,
        key: read("clientCertificate/privateKey").await?,
    };
    // Its pages are behind the same listener.
    let health = format!("{endpoint}/health");
    let (code, _) = HttpClient::new(&ca, Some(&root))?
        .get(&health, None)
        .await?;
    assert!(code.is_success(), "{code}");
    let stranger = HttpClient::new(&ca, None)?.get(&health, None).await;
    assert!(stranger.is_err(), "{stranger:?}");

    let [alpha, beta] = butler.tenants() else {
        anyhow::bail!("not two tenants");
    };
    let name = format!("{}-datastore-certificate", alpha.name);
    let certificate = secret(butler, &alpha.tenant_namespace, &name).await?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str| -> Result<std::path::PathBuf> {
        let path = folder.path().join(name);
        std::fs::write(&path, &certificate[name])?;
        Ok(path)
    };
    let files = Files {
        ca: file("ca.crt")?,
        certificate: file("server.crt")?,
        key: file("server.key")?,
    };
    let client = EtcdClient::connect(&endpoint, Some(&files)).await?;
    let own = client.count(&format!("/{}/", alpha.schema)).await?;
    assert!(own > 50, "{own} keys of {}", alpha.schema);
    let other = client.count(&format!("/{}/", beta.schema)).await;
    let refused = format!(
        "{:#}",
        other
            .err()
            .context("the other tenant's keys were counted")?
    );
    assert!(refused.contains("permission denied"), "{refused}");
    let all = butler.datastore.client().await?;
    assert!(all.count(&format!("/{}/", beta.schema)).await? > 50);
    Ok(())
}

#[tokio::test]
async fn secrets_are_encrypted_at_rest_and_each_has_a_canary() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    let etcd = butler.etcd.client().await?;
    let secrets = list(butler, "/api/v1/secrets").await?;
    assert!(secrets.len() > 50, "{} Secrets", secrets.len());
    for secret in secrets {
        let part = |name: &str| secret["metadata"][name].as_str().context("no name");
        let (namespace, name) = (part("namespace")?, part("name")?);
        let stored = etcd
            .get(&format!("/registry/secrets/{namespace}/{name}"))
            .await?;
        let stored = stored.with_context(|| format!("{namespace}/{name} is not stored"))?;
        assert!(
            stored.starts_with(b"k8s:enc:secretbox:v1:"),
            "{namespace}/{name}"
        );
        let values = secret["data"].as_object().context("no data")?.values();
        let values = values.map(|value| {
            let bytes = STANDARD.decode(value.as_str().context("no text")?)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let mut canaries = butler.canaries().iter();
        ensure!(
            canaries.any(|word| values.iter().any(|value| value.contains(word.as_str()))),
            "{namespace}/{name} has no canary"
        );
    }
    Ok(())
}

#[tokio::test]
async fn references_lead_to_secrets_and_what_must_not_be_kept_is_there_too() -> Result<()> {
    let ground = Shared::get().await?;
    let butler = &ground.butler;
    let butlers = "/apis/butler.butlerlabs.dev/v1alpha1";
    for (object, pointer) in [
        ("/users/alice".to_owned(), "/status/passwordSecretRef"),
        (
            format!("/namespaces/{SYSTEM}/providerconfigs/harvester"),
            "/spec/credentialsRef",
        ),
        (
            format!("/namespaces/{TEAM}/providerconfigs/nutanix"),
            "/spec/credentialsRef",
        ),
        (
            "/butlerconfigs/butler".to_owned(),
            "/spec/gitProvider/secretRef",
        ),
    ] {
        let object = butler
            .kube_apiserver
            .read(&format!("{butlers}{object}"))
            .await?;
        let reference = object.pointer(pointer).context("no reference")?;
        let part = |name: &str| reference[name].as_str().context("no text");
        secret(butler, part("namespace")?, part("name")?).await?;
    }
    secret(butler, FOREIGN, "unrelated").await?;
    secret(butler, STEWARD, "postgres-credentials").await?;
    let token = secret(butler, SYSTEM, "butler-console-token").await?;
    assert_eq!(token["token"].split('.').count(), 3);
    assert_eq!(token["namespace"], SYSTEM);
    secret(butler, "kube-system", "bootstrap-token-0123ab").await?;
    // The controllers write one into every namespace.
    let maps = list(butler, "/api/v1/configmaps").await?;
    let in_namespace = |namespace: &str| {
        let mut maps = maps.iter().map(|map| &map["metadata"]);
        maps.any(|map| map["name"] == "kube-root-ca.crt" && map["namespace"] == namespace)
    };
    assert!(in_namespace(SYSTEM) && in_namespace(TENANTS));
    Ok(())
}

#[tokio::test]
async fn a_user_without_rights_gets_none() -> Result<()> {
    let ground = Shared::get().await?;
    let file = ground.butler.kubeconfig_for("nobody-in-particular", None)?;
    let (client, server) = by_kubeconfig(&std::fs::read_to_string(file)?)?;
    let (code, _) = client
        .get(&format!("{server}/api/v1/secrets"), None)
        .await?;
    assert_eq!(code, http::StatusCode::FORBIDDEN);
    Ok(())
}

#[tokio::test]
async fn the_garbage_collector_takes_what_names_an_owner_that_is_gone() -> Result<()> {
    let ground = Shared::get().await?;
    let server = &ground.butler.kube_apiserver;
    let orphan = serde_json::json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "orphan",
            "ownerReferences": [{
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "name": "gone",
                "uid": "5f0e3c1c-0000-4000-8000-000000000000",
            }],
        },
    });
    let maps = "/api/v1/namespaces/default/configmaps";
    server.create(maps, &orphan).await?;
    wait::until("the collection of an orphan", LIMIT, async || {
        let (status, _) = server.get(&format!("{maps}/orphan")).await?;
        ensure!(status == http::StatusCode::NOT_FOUND, "{status}");
        Ok(())
    })
    .await
}
