//! Machine configurations of the stand-in's nodes: the shape and the secrets that matter to a backup, with
//! the lab's own key for the encryption at rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::roles::TalosVersion;
use crate::data::secretbox;

/// Token with which new machines join: a secret that a test can search for.
pub const JOIN_TOKEN: &str = "lab7ok.canary0of0machine0config";

/// Name of the cluster.
const CLUSTER: &str = "lab";

/// Returns the configuration of the node `hostname`, in the shape of `version`. JSON would be valid YAML too,
/// but people expect YAML.
#[must_use]
pub fn of(hostname: &str, control_plane: bool, version: TalosVersion) -> String {
    let kind = if control_plane {
        "controlplane"
    } else {
        "worker"
    };
    let id = STANDARD.encode("the lab's cluster");
    let secret = STANDARD.encode("the lab's discovery secret");
    let key = control_plane.then(|| STANDARD.encode(secretbox::KEY));
    let mut root = json!({
        "version": "v1alpha1",
        "debug": false,
        "machine": {
            "type": kind,
            "token": JOIN_TOKEN,
            "certSANs": ["127.0.0.1"],
            "features": { "rbac": true, "apidCheckExtKeyUsage": true },
            "install": { "disk": "/dev/vda", "wipe": false },
        },
        "cluster": { "token": "lab123.0123456789abcdef" },
    });
    let endpoint = "https://127.0.0.1:6443";
    let mut documents = vec![document("HostnameConfig", &json!({ "hostname": hostname }))];
    if version >= TalosVersion(1, 14) {
        let identity = json!({ "clusterID": id, "clusterSecret": secret });
        documents.push(document("DiscoveryIdentityConfig", &identity));
        let cluster = json!({ "clusterName": CLUSTER, "endpoint": endpoint });
        documents.push(document("KubeClusterConfig", &cluster));
        // A document with a field that another one has in another shape.
        let resources = json!({ "resources": { "requests": { "cpu": "200m" } } });
        documents.push(document("KubeAPIServerConfig", &resources));
        if let Some(key) = key {
            let keys = json!([{ "name": secretbox::KEY_NAME, "secret": key }]);
            let providers = json!([{ "secretbox": { "keys": keys } }, { "identity": {} }]);
            let resources = json!([{ "resources": ["secrets"], "providers": providers }]);
            let config = json!({ "config": { "resources": resources } });
            documents.push(document("KubeEtcdEncryptionConfig", &config));
        }
    } else if let Some(cluster) = root.get_mut("cluster") {
        cluster["id"] = id.into();
        cluster["secret"] = secret.into();
        cluster["clusterName"] = CLUSTER.into();
        cluster["controlPlane"] = json!({ "endpoint": endpoint });
        if let Some(key) = key {
            cluster["secretboxEncryptionSecret"] = key.into();
        }
    }
    documents.insert(0, yaml(&root));
    documents.join("---\n")
}

/// Returns a document of this kind with these fields.
fn document(kind: &str, fields: &Value) -> String {
    format!("apiVersion: v1alpha1\nkind: {kind}\n{}", yaml(fields))
}

/// Writes a value as YAML; no value here can fail to be written.
fn yaml(value: &Value) -> String {
    serde_saphyr::to_string(value).unwrap_or_default()
}
