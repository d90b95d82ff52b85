//! Tests of tenants as a restore point records them: one real API server as the management cluster, another
//! one as the tenant whose kubeconfig lies in a Secret of the first.

use std::path::Path;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use backup_core::clock::SystemClock;
use backup_core::format::export::TenantFacts;
use backup_core::format::manifest::{Finding, Severity};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cluster_client::kube::{KubeExport, KubeOptions, Selection};
use e2e::Folder;
use e2e::etcd::Etcd;
use e2e::kube_apiserver::KubeApiserver;
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use serde_json::{Value, json};

/// Returns the definition of a kind that keeps every field, including its status.
fn definition(group: &str, kind: &str) -> Value {
    let singular = kind.to_lowercase();
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{singular}s.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": format!("{singular}s"), "singular": singular },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

/// Management cluster with one tenant for each case.
struct Lab {
    management: KubeApiserver,
    tenant: KubeApiserver,
    folder: Folder,
    _etcds: [Etcd; 2],
}

impl Lab {
    async fn start() -> Result<Self> {
        let folder = Folder::new()?;
        let etcds = [
            Etcd::start(&folder, "etcd-management").await?,
            Etcd::start(&folder, "etcd-tenant").await?,
        ];
        let management = KubeApiserver::start(&folder, "management", &etcds[0]).await?;
        let tenant = KubeApiserver::start(&folder, "tenant", &etcds[1]).await?;
        for (group, kind) in [
            ("butler.butlerlabs.dev", "TenantCluster"),
            ("steward.butlerlabs.dev", "TenantControlPlane"),
        ] {
            let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
            management.create(path, &definition(group, kind)).await?;
            let path = format!("/apis/{group}/v1alpha1/{}s", kind.to_lowercase());
            e2e::wait::until(
                "the kind is served",
                std::time::Duration::from_secs(60),
                async || {
                    let (status, _) = management.get(&path).await?;
                    anyhow::ensure!(status.is_success(), "{status}");
                    Ok(())
                },
            )
            .await?;
        }
        let lab = Self {
            management,
            tenant,
            folder,
            _etcds: etcds,
        };
        lab.namespace("team-a", json!({})).await?;
        Ok(lab)
    }

    async fn namespace(&self, name: &str, labels: Value) -> Result<()> {
        let object = json!({ "metadata": { "name": name, "labels": labels } });
        self.management
            .create("/api/v1/namespaces", &object)
            .await?;
        Ok(())
    }

    /// Makes a TenantCluster that is ready, with its control plane, its authority and `kubeconfig`.
    async fn add(&self, name: &str, kubeconfig: Option<&Value>) -> Result<()> {
        let home = format!("{name}-0a1b2c3d");
        self.namespace(&home, json!({})).await?;
        let path = "/apis/butler.butlerlabs.dev/v1alpha1/namespaces/team-a/tenantclusters";
        let object = json!({
            "apiVersion": "butler.butlerlabs.dev/v1alpha1", "kind": "TenantCluster",
            "metadata": { "name": name },
            "spec": { "kubernetesVersion": "v1.36.1", "workers": { "replicas": 2 } },
            "status": {
                "phase": "Ready", "tenantNamespace": home,
                "controlPlaneEndpoint": self.tenant.url().trim_start_matches("https://"),
            },
        });
        self.management.create(path, &object).await?;
        let path =
            format!("/apis/steward.butlerlabs.dev/v1alpha1/namespaces/{home}/tenantcontrolplanes");
        let object = json!({
            "apiVersion": "steward.butlerlabs.dev/v1alpha1", "kind": "TenantControlPlane",
            "metadata": { "name": name }, "spec": { "dataStore": "default" },
        });
        self.management.create(&path, &object).await?;
        let authority = json!({ "ca.crt": STANDARD.encode(self.tenant.ca()) });
        self.secret(&home, &format!("{name}-ca"), authority).await?;
        if let Some(kubeconfig) = kubeconfig {
            let data = json!({ "admin.conf": STANDARD.encode(kubeconfig.to_string()) });
            self.secret(&home, &format!("{name}-admin-kubeconfig"), data)
                .await?;
        }
        Ok(())
    }

    async fn secret(&self, namespace: &str, name: &str, data: Value) -> Result<()> {
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let object = json!({ "metadata": { "name": name }, "data": data });
        self.management.create(&path, &object).await?;
        Ok(())
    }

    /// Returns the tenant's administrator, with `user` in place of the credentials.
    fn kubeconfig(&self, user: Option<Value>) -> Result<Value> {
        let text = std::fs::read(self.tenant.kubeconfig())?;
        let mut config: Value = serde_json::from_slice(&text)?;
        if let Some(user) = user {
            config["users"][0]["user"] = user;
        }
        Ok(config)
    }

    async fn look(&self) -> Result<(Vec<TenantFacts>, Vec<Finding>)> {
        let options = KubeOptions::new(Some(self.management.kubeconfig()), None);
        let export = KubeExport::begin(
            &options,
            Selection::default(),
            Vec::new(),
            Arc::new(SystemClock),
        )
        .await?;
        Ok(export.tenants(&SystemClock).await)
    }
}

fn find<'a>(tenants: &'a [TenantFacts], name: &str) -> Result<&'a TenantFacts> {
    let found = tenants.iter().find(|tenant| tenant.name == name);
    found.with_context(|| format!("tenant {name} is not there"))
}

/// Returns the causes of a tenant's findings that are warnings or errors.
fn said<'a>(findings: &'a [Finding], name: &str) -> Vec<&'a str> {
    let end = format!("/{name}");
    let found = findings.iter().filter(|f| f.object.ends_with(&end));
    let found = found.filter(|f| f.severity >= Severity::Warning);
    found.map(|f| f.cause.as_str()).collect()
}

fn expired() -> Result<Value> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let certificate = params.self_signed(&key)?.pem();
    Ok(json!({
        "client-certificate-data": STANDARD.encode(certificate),
        "client-key-data": STANDARD.encode(key.serialize_pem()),
    }))
}

async fn node(api: &KubeApiserver, name: &str, labels: Value, ready: &str) -> Result<()> {
    let object = json!({
        "metadata": { "name": name, "labels": labels },
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    });
    api.create("/api/v1/nodes", &object).await?;
    Ok(())
}

fn touch(marker: &Path) -> Value {
    json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "touch",
        "args": [marker], "interactiveMode": "Never",
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_asked_and_nothing_of_theirs_is_run() -> Result<()> {
    let mut lab = Lab::start().await?;
    let (none, findings) = lab.look().await?;
    assert!(none.is_empty() && findings.is_empty(), "{findings:?}");

    node(&lab.tenant, "worker-1", json!({}), "True").await?;
    node(&lab.tenant, "worker-2", json!({}), "False").await?;
    let role = json!({ "node-role.kubernetes.io/control-plane": "" });
    node(&lab.tenant, "plane-1", role, "True").await?;

    let marker = lab.folder.path().join("was-run");
    // A token that would work if the file were read.
    let token = lab.folder.path().join("token");
    std::fs::write(&token, lab.tenant.token())?;
    lab.add("answers", Some(&lab.kubeconfig(None)?)).await?;
    lab.add("plugin", Some(&lab.kubeconfig(Some(touch(&marker)))?))
        .await?;
    let file = json!({ "tokenFile": token });
    lab.add("file", Some(&lab.kubeconfig(Some(file))?)).await?;
    lab.add("expired", Some(&lab.kubeconfig(Some(expired()?))?))
        .await?;
    lab.add("missing", None).await?;
    // During a change of its authority: an expired and a torn certificate before that of the control plane.
    let mut bundle = lab.kubeconfig(None)?;
    let old = expired()?["client-certificate-data"].clone();
    let old = STANDARD.decode(old.as_str().unwrap_or_default())?;
    let torn = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let all = [&old, torn.as_slice(), lab.tenant.ca().as_bytes()].concat();
    bundle["clusters"][0]["cluster"]["certificate-authority-data"] = STANDARD.encode(all).into();
    lab.add("bundle", Some(&bundle)).await?;

    let (tenants, findings) = lab.look().await?;
    let names: Vec<&str> = tenants.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(
        names,
        ["answers", "bundle", "expired", "file", "missing", "plugin"]
    );
    assert_eq!(said(&findings, "bundle"), Vec::<&str>::new());
    let held = find(&tenants, "bundle")?;
    assert_eq!(held.answer.ready, Some(true), "{held:?}");
    let held = held.kubeconfig.as_ref().context("no kubeconfig")?;
    let own = find(&tenants, "answers")?.kubeconfig.as_ref();
    let own = own.context("no kubeconfig")?;
    assert_eq!((held.authorities.len(), own.authorities.len()), (2, 0));
    assert_eq!(held.ca_sha256, own.ca_sha256);

    let answers = find(&tenants, "answers")?;
    assert_eq!(answers.answer.failure, None);
    assert_eq!(answers.answer.ready, Some(true));
    assert_eq!(answers.answer.nodes_ready, Some(1));
    let version = answers.answer.version.as_deref().unwrap_or_default();
    assert!(version.starts_with("v1."), "{version}");
    let plane = answers.control_plane.as_ref().context("no control plane")?;
    assert_eq!(plane.schema, "answers_0a1b2c3d_answers");
    assert_eq!(said(&findings, "answers"), Vec::<&str>::new());

    let plugin = find(&tenants, "plugin")?.kubeconfig.as_ref();
    let plugin = plugin
        .and_then(|k| k.unusable.as_deref())
        .unwrap_or_default();
    assert!(plugin.contains("exec"), "{plugin}");
    assert!(!marker.exists(), "the plugin was run");
    let file = find(&tenants, "file")?;
    assert_eq!(file.answer.ready, None, "the file was read");
    assert!(said(&findings, "file")[0].contains("tokenFile"));
    let expired = said(&findings, "expired");
    assert!(expired[0].contains("expired at 2021-01-01"), "{expired:?}");
    assert!(find(&tenants, "expired")?.answer.failure.is_some());
    assert!(said(&findings, "missing")[0].contains("no kubeconfig Secret"));

    lab.tenant.stop().await?;
    let (tenants, findings) = lab.look().await?;
    let stopped = find(&tenants, "answers")?;
    assert_eq!(
        (stopped.answer.ready, stopped.answer.nodes_ready),
        (None, None)
    );
    assert!(stopped.answer.failure.is_some());
    assert_eq!(said(&findings, "answers").len(), 1);
    Ok(())
}
