//! Changes to a cluster, made by tests as its administrator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::http::HttpClient;
use e2e::kube_apiserver::KubeApiserver;
use e2e::wait;
use http::{Method, StatusCode};
use serde_json::{Value, json};

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Time limit. A definition is served within a second; a machine that compiles next to it is slow.
const SOON: Duration = Duration::from_secs(60);

/// Administrator's client; see the module.
pub(crate) struct Kube {
    http: HttpClient,
    url: String,
    token: String,
}

impl Kube {
    pub(crate) fn of(server: &KubeApiserver) -> Result<Self> {
        Ok(Self {
            http: HttpClient::new(server.ca(), None)?,
            url: server.url(),
            token: server.token().to_owned(),
        })
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let sent = self
            .http
            .send(method.clone(), &url, Some(&self.token), body);
        let (status, bytes) = sent.await?;
        let text = String::from_utf8_lossy(&bytes);
        ensure!(status.is_success(), "{method} {path}: {status}: {text}");
        serde_json::from_slice(&bytes).with_context(|| format!("the answer to {method} {path}"))
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, None).await
    }

    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::POST, path, Some(object)).await
    }

    pub(crate) async fn replace(&self, path: &str, object: &Value) -> Result<Value> {
        self.send(Method::PUT, path, Some(object)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value> {
        self.send(Method::DELETE, path, None).await
    }

    /// Waits until nothing is at `path`.
    pub(crate) async fn gone(&self, path: &str) -> Result<()> {
        wait::until("a deletion", SOON, async || {
            let url = format!("{}{path}", self.url);
            let (status, _) = self.http.get(&url, Some(&self.token)).await?;
            ensure!(
                status == StatusCode::NOT_FOUND,
                "{path} is still there: {status}"
            );
            Ok(())
        })
        .await
    }

    /// Waits until `path` can be read.
    pub(crate) async fn served(&self, path: &str) -> Result<Value> {
        wait::until("an answer", SOON, async || self.get(path).await).await
    }

    /// Makes a definition, and waits until its objects can be made.
    pub(crate) async fn define(&self, definition: &Value) -> Result<()> {
        self.create(CRDS, definition).await?;
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let group = text(&spec["group"]);
        let plural = text(&spec["names"]["plural"]);
        let versions = spec["versions"].as_array().context("no versions")?;
        for version in versions.iter().filter(|v| v["served"] == true) {
            let version = text(&version["name"]);
            self.served(&format!("/apis/{group}/{version}/{plural}"))
                .await?;
        }
        Ok(())
    }

    /// Returns how many lists of a kind the server has answered.
    pub(crate) async fn lists(&self, kind: &Definition) -> Result<u64> {
        let url = format!("{}/metrics", self.url);
        let (_, text) = self.http.get(&url, Some(&self.token)).await?;
        let (group, plural) = (&kind.group, &kind.plural);
        let labels = [
            format!("group=\"{group}\""),
            format!("resource=\"{plural}\""),
            "verb=\"LIST\"".to_owned(),
        ];
        let text = String::from_utf8_lossy(&text);
        let requests = text
            .lines()
            .filter(|line| line.starts_with("apiserver_request_total{"));
        let ours = requests.filter(|line| labels.iter().all(|label| line.contains(label)));
        let counts = ours.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    /// Waits until more than `before` lists of a kind were answered.
    pub(crate) async fn listed(&self, kind: &Definition, before: u64) -> Result<()> {
        wait::until("a list", SOON, async || {
            ensure!(self.lists(kind).await? > before, "not yet");
            Ok(())
        })
        .await
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let object = json!({ "metadata": { "name": name } });
        self.create("/api/v1/namespaces", &object).await.map(drop)
    }

    /// Makes a ConfigMap.
    pub(crate) async fn config_map(&self, namespace: &str, name: &str) -> Result<()> {
        let object = json!({ "metadata": { "name": name }, "data": { "key": "value" } });
        let path = format!("/api/v1/namespaces/{namespace}/configmaps");
        self.create(&path, &object).await.map(drop)
    }

    /// Makes a Secret of a type.
    pub(crate) async fn secret(&self, namespace: &str, name: &str, kind: &str) -> Result<()> {
        let accounts = json!({ "kubernetes.io/service-account.name": "default" });
        let object = json!({
            "metadata": { "name": name, "annotations": accounts },
            "type": kind,
            "stringData": { "password": "hunter2" },
        });
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        self.create(&path, &object).await.map(drop)
    }
}

/// Kind for a test, without namespaces by default.
#[derive(Clone)]
pub(crate) struct Definition {
    pub(crate) plural: String,
    pub(crate) group: String,
    namespaced: bool,
    versions: Vec<Value>,
    conversion: Option<Value>,
}

impl Definition {
    /// Makes a kind with the version `v1`.
    pub(crate) fn new(plural: &str, group: &str) -> Self {
        let kind = Self {
            plural: plural.to_owned(),
            group: group.to_owned(),
            namespaced: false,
            versions: Vec::new(),
            conversion: None,
        };
        kind.version("v1", true, true)
    }

    pub(crate) fn namespaced(self) -> Self {
        Self {
            namespaced: true,
            ..self
        }
    }

    /// Adds a version.
    pub(crate) fn version(mut self, name: &str, served: bool, storage: bool) -> Self {
        self.versions.push(json!({
            "name": name,
            "served": served,
            "storage": storage,
            "schema": { "openAPIV3Schema": {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
            } },
        }));
        self
    }

    /// Stores objects as `v1` and serves them as `v2`, by way of a webhook.
    pub(crate) fn converted(self, url: &str, ca_bundle: &str) -> Self {
        let webhook = json!({
            "strategy": "Webhook",
            "webhook": {
                "clientConfig": { "url": url, "caBundle": ca_bundle },
                "conversionReviewVersions": ["v1"],
            },
        });
        let kind = self.version("v2", true, false);
        Self {
            conversion: Some(webhook),
            ..kind
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// Returns the path of the definition.
    pub(crate) fn path(&self) -> String {
        format!("{CRDS}/{}", self.name())
    }

    /// Returns the path of its objects, in one namespace or without one.
    pub(crate) fn objects(&self, namespace: Option<&str>) -> String {
        let (group, plural) = (&self.group, &self.plural);
        match namespace {
            Some(namespace) => format!("/apis/{group}/v1/namespaces/{namespace}/{plural}"),
            None => format!("/apis/{group}/v1/{plural}"),
        }
    }

    /// Returns the CustomResourceDefinition.
    pub(crate) fn object(&self) -> Value {
        let scope = if self.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        json!({
            "metadata": { "name": self.name() },
            "spec": {
                "group": self.group,
                "scope": scope,
                "names": { "plural": self.plural, "kind": self.kind() },
                "versions": self.versions,
                "conversion": self.conversion.clone().unwrap_or(json!({ "strategy": "None" })),
            },
        })
    }

    fn kind(&self) -> String {
        let singular = self.plural.trim_end_matches('s');
        let (first, rest) = singular.split_at(1);
        // The kind of a list is four letters longer, and may have 63.
        let rest = rest.get(..50).unwrap_or(rest);
        format!("{}{rest}", first.to_ascii_uppercase())
    }

    /// Returns one of its objects, with the fields of `rest` merged into it.
    pub(crate) fn example(&self, name: &str, rest: &Value) -> Value {
        let mut object = json!({
            "apiVersion": format!("{}/v1", self.group),
            "kind": self.kind(),
            "metadata": { "name": name },
        });
        if let (Some(object), Some(rest)) = (object.as_object_mut(), rest.as_object()) {
            for (key, value) in rest {
                object.insert(key.clone(), value.clone());
            }
        }
        object
    }
}
