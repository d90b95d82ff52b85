//! Two restore points of a small management cluster, and `restore-cli` to read them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use assert_cmd::cargo::cargo_bin;
use backup_core::backup::{BackupPlan, Origin};
use backup_core::format::export::{
    KubernetesFacts, LeftOut, SealedFacts, Skipped, TenantAnswer, TenantFacts,
};
use backup_core::id::ComponentName;
use backup_core::store::local::LocalStore;
use backup_core::testing::objects::{self, FixedArchive, FixedCluster, etcd_snapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(super) struct World {
    pub(super) folder: TempDir,
    store: String,
    trust: String,
    identity: PathBuf,
    first: String,
    second: String,
}

const CANARIES: [&str; 7] = [
    "canary-login-old",
    "canary-login-new",
    "canary-kubeconfig",
    "canary-datastore",
    "canary-machine",
    "canary-invitation",
    "canary-applied",
];

/// Returns the texts that must not be shown: each canary as it is and in base64.
pub(super) fn canaries() -> Vec<String> {
    let encoded = CANARIES.iter().map(|canary| base64(canary));
    CANARIES
        .iter()
        .map(|c| (*c).to_owned())
        .chain(encoded)
        .collect()
}

/// Encodes in base64 with the standard program.
pub(super) fn base64(text: &str) -> String {
    let mut child = Command::new("base64")
        .arg("--wrap=0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

pub(super) fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub(super) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(super) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn object(kind: &str, namespace: Option<&str>, name: &str, more: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"), "resourceVersion": "100",
            "creationTimestamp": "2026-11-01T09:30:00Z",
            "managedFields": [{ "manager": "kubectl" }],
        },
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    for (key, value) in more.as_object().unwrap() {
        if key == "metadata" {
            for (key, value) in value.as_object().unwrap() {
                object["metadata"][key] = value.clone();
            }
        } else {
            object[key] = value.clone();
        }
    }
    object
}

fn tenant(name: &str, more: &Value) -> Value {
    object("TenantCluster", Some("team-a"), name, more)
}

fn login(password: &str) -> Value {
    let data = json!({ "user": base64("ann"), "password": base64(password) });
    let applied = json!({ "data": { "password": base64("canary-applied") } });
    let annotations = json!({
        "kubectl.kubernetes.io/last-applied-configuration": applied.to_string(),
    });
    let more = json!({ "data": data, "metadata": { "annotations": annotations } });
    object("Secret", Some("team-a"), "login", &more)
}

fn resources(later: bool) -> FixedArchive {
    let butler = |plural: &str| format!("{plural}.butler.butlerlabs.dev");
    let spec = |workers: u8| json!({ "spec": { "workers": { "replicas": workers } } });
    let tenants = if later {
        let mut served = spec(3);
        served["metadata"] = json!({ "resourceVersion": "200" });
        let mut ready = spec(2);
        ready["status"] = json!({ "phase": "Ready" });
        let mut again = spec(1);
        again["metadata"] = json!({ "uid": "another" });
        vec![
            tenant("one", &spec(5)),
            tenant("two", &served),
            tenant("three", &ready),
            tenant("four", &again),
            tenant("six", &spec(1)),
        ]
    } else {
        let mut ready = spec(2);
        ready["status"] = json!({ "phase": "Provisioning" });
        vec![
            tenant("one", &spec(3)),
            tenant("two", &spec(3)),
            tenant("three", &ready),
            tenant("four", &spec(1)),
            tenant("five", &spec(1)),
        ]
    };
    let machine = json!({ "spec": { "machineName": "one-1", "userData": "canary-machine" } });
    let user = json!({
        "spec": { "email": "ann@example.com" }, "status": { "inviteTokenHash": "canary-invitation" },
    });
    let datastore = json!({ "spec": {
        "driver": "etcd",
        "basicAuth": { "password": { "content": base64("canary-datastore") } },
        "tlsConfig": { "clientCertificate": { "privateKey": { "content": "canary-datastore" } } },
    } });
    let managed = json!({ "metadata": {
        "labels": { "kustomize.toolkit.fluxcd.io/name": "apps" },
    } });
    let objects = FixedArchive::default()
        .kind(
            &butler("tenantclusters"),
            "TenantCluster",
            "v1alpha1",
            &tenants,
        )
        .kind(
            &butler("machinerequests"),
            "MachineRequest",
            "v1alpha1",
            &[object("MachineRequest", Some("team-a"), "one-1", &machine)],
        )
        .kind(
            &butler("users"),
            "User",
            "v1alpha1",
            &[object("User", None, "ann", &user)],
        )
        .kind(
            "datastores.steward.butlerlabs.dev",
            "DataStore",
            "v1alpha1",
            &[object("DataStore", None, "default", &datastore)],
        )
        .kind(
            "namespaces",
            "Namespace",
            "v1",
            &[object("Namespace", None, "team-a", &managed)],
        )
        .kind("webhooks.example.com", "Webhook", "v1", &[])
        .with_facts(&butler("tenantclusters"), |kind| {
            kind.skipped = vec![Skipped {
                reason: "being deleted".to_owned(),
                objects: 1,
                names: vec!["team-a/gone".to_owned()],
                namespaces: BTreeMap::new(),
            }];
        });
    if later {
        objects.with_facts("webhooks.example.com", |kind| {
            kind.failed = Some("500: the conversion webhook does not answer".to_owned());
        })
    } else {
        objects.kind(
            "roles.example.com",
            "Role",
            "v1",
            &[object("Role", None, "r", &json!({}))],
        )
    }
}

fn secrets(later: bool) -> FixedArchive {
    let password = if later {
        "canary-login-new"
    } else {
        "canary-login-old"
    };
    let both = [
        login(password),
        object("Secret", Some("team-b"), "login", &json!({ "data": {} })),
    ];
    FixedArchive::default().kind("secrets", "Secret", "v1", &both)
}

fn kubeconfigs() -> FixedArchive {
    let data = json!({ "data": { "admin.conf": base64("canary-kubeconfig") } });
    let secret = object("Secret", Some("one-1a2b"), "one-admin-kubeconfig", &data);
    FixedArchive::default()
        .kind("secrets", "Secret", "v1", &[secret])
        .file("management.kubeconfig", b"canary-kubeconfig")
}

fn facts() -> FixedCluster {
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
        uid: objects::ETCD_CLUSTER.to_owned(),
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

impl World {
    /// Makes a restore point, and one an hour later in which something of every kind changed.
    pub(super) async fn with_two_restore_points() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("store");
        let store = LocalStore::create(path.as_path()).await.unwrap();
        let world = objects::World::new(Arc::new(store)).unwrap();
        let (cluster, keys) = (facts(), kubeconfigs());
        let mut ids = Vec::new();
        for later in [false, true] {
            let (resources, secrets) = (resources(later), secrets(later));
            let etcd = Origin::File {
                name: "etcd",
                bytes: etcd_snapshot().unwrap(),
            };
            let mut parts = vec![
                (ComponentName::etcd(), etcd),
                (ComponentName::resources(), Origin::Archive(&resources)),
                (ComponentName::secrets(), Origin::Archive(&secrets)),
                (ComponentName::kubeconfigs(), Origin::Archive(&keys)),
            ];
            let crds = FixedArchive::default().kind("customresourcedefinitions", "X", "v1", &[]);
            let mut missing = vec![ComponentName::crds()];
            if !later {
                parts.push((ComponentName::crds(), Origin::Archive(&crds)));
                missing.clear();
            }
            let plan = BackupPlan {
                parts,
                cluster: Some(&cluster),
                missing,
                findings: Vec::new(),
            };
            ids.push(world.take(plan).await.unwrap().id.to_string());
        }
        let identity = folder.path().join("identity");
        let existing = backup_core::newfile::OverwritePolicy::Refuse;
        backup_core::newfile::write(&identity, world.identity().as_bytes(), existing).unwrap();
        let [first, second] = ids.try_into().unwrap();
        Self {
            store: format!("file://{}", path.display()),
            trust: world.trusted_key().unwrap(),
            folder,
            identity,
            first,
            second,
        }
    }

    /// Resolves `A` and `B` to the two restore points; other words stay.
    pub(super) fn named<'a>(&'a self, word: &'a str) -> &'a str {
        match word {
            "A" => &self.first,
            "B" => &self.second,
            other => other,
        }
    }

    /// Runs `restore-cli` without a key.
    pub(super) fn look(&self, args: &[&str]) -> Output {
        let args = args.iter().map(|arg| self.named(arg));
        Command::new(cargo_bin!("restore-cli"))
            .env_clear()
            .stdin(Stdio::null())
            .args(args)
            .args(["--store", &self.store, "--trust", &self.trust])
            .output()
            .unwrap()
    }

    /// Runs `restore-cli` with the key, and trusts any signature.
    pub(super) fn look_at_anyone(&self, args: &[&str]) -> Output {
        Command::new(cargo_bin!("restore-cli"))
            .env_clear()
            .stdin(Stdio::null())
            .args(args)
            .args(["--store", &self.store, "--trust", "none"])
            .args(["--identity", self.identity.to_str().unwrap()])
            .output()
            .unwrap()
    }

    /// Runs `restore-cli` with the key.
    pub(super) fn read(&self, args: &[&str]) -> Output {
        let identity = self.identity.to_str().unwrap();
        self.look(&[args, &["--identity", identity]].concat())
    }

    /// Returns the text without the parts that differ in every run.
    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&self.first, "20261123t120000000z-aaaaaaaaaaaa")
            .replace(&self.second, "20261123t130000000z-bbbbbbbbbbbb")
    }
}
