//! Machine configurations of the stand-in's nodes: the shape and the secrets that matter to a
//! backup, with the lab's own key for the encryption at rest.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::data::secretbox;

/// The token that new machines join with: a secret that a test can look for.
pub const JOIN_TOKEN: &str = "lab7ok.canary0of0machine0config";

/// The configuration of the node `hostname`. JSON is YAML too, but people expect YAML.
#[must_use]
pub fn of(hostname: &str, control_plane: bool) -> String {
    let kind = if control_plane {
        "controlplane"
    } else {
        "worker"
    };
    let mut config = json!({
        "version": "v1alpha1",
        "debug": false,
        "machine": {
            "type": kind,
            "token": JOIN_TOKEN,
            "certSANs": ["127.0.0.1"],
            "features": { "rbac": true, "apidCheckExtKeyUsage": true },
            "install": { "disk": "/dev/vda", "wipe": false },
        },
        "cluster": {
            "id": STANDARD.encode("the lab's cluster"),
            "secret": STANDARD.encode("the lab's discovery secret"),
            "clusterName": "lab",
            "controlPlane": { "endpoint": "https://127.0.0.1:6443" },
            "token": "lab123.0123456789abcdef",
        },
    });
    if control_plane && let Some(cluster) = config.get_mut("cluster") {
        cluster["secretboxEncryptionSecret"] = STANDARD.encode(secretbox::KEY).into();
    }
    // Nothing in it can fail to be written.
    let first = serde_yaml_ng::to_string(&config).unwrap_or_default();
    format!("{first}---\napiVersion: v1alpha1\nkind: HostnameConfig\nhostname: {hostname}\n")
}
