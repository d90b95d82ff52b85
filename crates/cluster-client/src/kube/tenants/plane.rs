//! Reader of the fields of a TenantControlPlane, in the one place that knows their layout.

use serde_json::Value;

use backup_core::format::export::ControlPlaneFacts;

/// Returns the facts about the control plane `name` in `namespace`. Status takes precedence over spec, as
/// in Steward; a control plane without a schema gets one made of its namespace and name.
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
