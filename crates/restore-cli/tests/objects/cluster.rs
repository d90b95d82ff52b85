//! Small management cluster in which something of every kind changes within an hour.

use std::collections::BTreeMap;

use backup_core::format::export::{
    KubernetesFacts, LeftOut, SealedFacts, Skipped, TenantAnswer, TenantFacts,
};
use backup_core::testing::objects::{ETCD_CLUSTER, FixedArchive, FixedCluster};
use serde_json::{Value, json};

use super::world::base64;

fn object(kind: &str, namespace: Option<&str>, name: &str, mut more: Value) -> Value {
    let mut metadata = json!({
        "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "100",
        "creationTimestamp": "2026-11-01T09:30:00Z",
        "managedFields": [{ "manager": "kubectl" }],
    });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    if let Some(Value::Object(own)) = more.get("metadata").cloned() {
        metadata.as_object_mut().unwrap().extend(own);
    }
    more["apiVersion"] = json!("v1");
    more["kind"] = json!(kind);
    more["metadata"] = metadata;
    more
}

fn tenants(later: bool) -> Vec<Value> {
    let tenant = |name: &str, workers: u8, mut more: Value| {
        more["spec"] = json!({ "workers": { "replicas": workers } });
        object("TenantCluster", Some("team-a"), name, more)
    };
    let phase = |phase: &str| json!({ "status": { "phase": phase } });
    if later {
        let served = json!({ "metadata": { "resourceVersion": "200" } });
        let again = json!({ "metadata": { "uid": "another" } });
        vec![
            tenant("one", 5, json!({})),
            tenant("two", 3, served),
            tenant("three", 2, phase("Ready")),
            tenant("four", 1, again),
            tenant("six", 1, json!({})),
        ]
    } else {
        vec![
            tenant("one", 3, json!({})),
            tenant("two", 3, json!({})),
            tenant("three", 2, phase("Provisioning")),
            tenant("four", 1, json!({})),
            tenant("five", 1, json!({})),
        ]
    }
}

pub(super) fn resources(later: bool) -> FixedArchive {
    let machine = json!({ "spec": { "machineName": "one-1", "userData": "canary-machine" } });
    let user = json!({
        "spec": { "email": "ann@example.com" }, "status": { "inviteTokenHash": "canary-invitation" },
    });
    let datastore = json!({ "spec": {
        "driver": "etcd",
        "basicAuth": { "password": { "content": base64("canary-datastore") } },
        "tlsConfig": { "clientCertificate": { "privateKey": { "content": "canary-datastore" } } },
    } });
    let managed =
        json!({ "metadata": { "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" } } });
    let machine = object("MachineRequest", Some("team-a"), "one-1", machine);
    let (tenant, alpha) = ("tenantclusters.butler.butlerlabs.dev", "v1alpha1");
    let mut kinds = vec![
        (tenant, "TenantCluster", alpha, tenants(later)),
        (
            "machinerequests.butler.butlerlabs.dev",
            "MachineRequest",
            alpha,
            vec![machine],
        ),
        (
            "users.butler.butlerlabs.dev",
            "User",
            alpha,
            vec![object("User", None, "ann", user)],
        ),
        (
            "datastores.steward.butlerlabs.dev",
            "DataStore",
            alpha,
            vec![object("DataStore", None, "default", datastore)],
        ),
        (
            "namespaces",
            "Namespace",
            "v1",
            vec![object("Namespace", None, "team-a", managed)],
        ),
        ("webhooks.example.com", "Webhook", "v1", Vec::new()),
    ];
    if !later {
        kinds.push((
            "roles.example.com",
            "Role",
            "v1",
            vec![object("Role", None, "r", json!({}))],
        ));
    }
    let archive = FixedArchive::default();
    let archive = kinds
        .iter()
        .fold(archive, |all, (resource, kind, version, objects)| {
            all.kind(resource, kind, version, objects)
        });
    let archive = archive.with_facts(tenant, |kind| {
        kind.skipped = vec![Skipped {
            reason: "being deleted".to_owned(),
            objects: 1,
            names: vec!["team-a/gone".to_owned()],
            namespaces: BTreeMap::new(),
        }];
    });
    let failed = later.then(|| "500: the conversion webhook does not answer".to_owned());
    archive.with_facts("webhooks.example.com", |kind| {
        kind.failed.clone_from(&failed);
    })
}

pub(super) fn secrets(later: bool) -> FixedArchive {
    let password = if later {
        "canary-login-new"
    } else {
        "canary-login-old"
    };
    let applied = json!({ "data": { "password": base64("canary-applied") } });
    let login = json!({
        "data": { "user": base64("ann"), "password": base64(password) },
        "metadata": { "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
        } },
    });
    let both = [
        object("Secret", Some("team-a"), "login", login),
        object("Secret", Some("team-b"), "login", json!({ "data": {} })),
    ];
    FixedArchive::default().kind("secrets", "Secret", "v1", &both)
}

pub(super) fn kubeconfigs() -> FixedArchive {
    let data = json!({ "data": { "admin.conf": base64("canary-kubeconfig") } });
    let secret = object("Secret", Some("one-1a2b"), "one-admin-kubeconfig", data);
    FixedArchive::default()
        .kind("secrets", "Secret", "v1", &[secret])
        .file("management.kubeconfig", b"canary-kubeconfig")
}

pub(super) fn facts() -> FixedCluster {
    let tenant = |namespace: &str, name: &str| TenantFacts {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        phase: Some("Ready".to_owned()),
        tenant_namespace: Some(format!("{name}-1a2b")),
        answer: TenantAnswer {
            ready: Some(true),
            version: Some("v1.35.2".to_owned()),
            ..TenantAnswer::default()
        },
        ..TenantFacts::default()
    };
    FixedCluster(KubernetesFacts {
        uid: ETCD_CLUSTER.to_owned(),
        version: "v1.36.1".to_owned(),
        server: "https://10.5.0.2:6443".to_owned(),
        left_out: vec![LeftOut {
            resource: "pods".to_owned(),
            reason: "made by controllers".to_owned(),
        }],
        sealed_secrets: Some(SealedFacts {
            keys: Vec::new(),
            sealed_secrets: 12,
            opened: 12,
        }),
        tenants: vec![
            tenant("team-a", "one"),
            tenant("team-a", "two"),
            tenant("team-b", "two"),
        ],
        ..KubernetesFacts::default()
    })
}
