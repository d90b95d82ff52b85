//! What the fields of a TenantControlPlane tell: the one place that knows which schema it has.

use serde_json::Value;

use crate::format::export::ControlPlaneFacts;

/// What the control plane `name` in `namespace` tells. The status has the last word, as it has for
/// Steward; a control plane that names no schema has one that is made of its namespace and name.
#[must_use]
pub fn control_plane(namespace: &str, name: &str, object: &Value) -> ControlPlaneFacts {
    let text = |pointer: &str| {
        let held = object.pointer(pointer).and_then(Value::as_str);
        held.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    ControlPlaneFacts {
        name: name.to_owned(),
        status: text("/status/kubernetesResources/version/status"),
        version: text("/status/kubernetesResources/version/version"),
        datastore: text("/status/storage/dataStoreName").or_else(|| text("/spec/dataStore")),
        schema: text("/status/storage/setup/schema")
            .or_else(|| text("/spec/dataStoreSchema"))
            .unwrap_or_else(|| format!("{namespace}_{name}").replace('-', "_")),
    }
}
