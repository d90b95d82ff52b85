//! What is told of objects in an etcd snapshot that no API server can decode.

use super::finding;
use crate::etcd::Torn;
use crate::format::manifest::{Finding, Severity};
use crate::id::ComponentName;

/// Objects of one snapshot that are told one by one.
const MAX_TOLD: usize = 20;

/// Findings on the objects of component `name` that cannot be decoded.
pub(crate) fn torn(name: &ComponentName, torn: &Torn, severity: Severity) -> Vec<Finding> {
    const REMEDY: &str = "compare it with another member (`etcdctl get KEY --endpoints …`), and take the \
        snapshot there if that one has it whole; else delete the key and make the object anew, from an \
        older restore point if need be";
    let told = torn.objects.iter().take(MAX_TOLD).map(|object| {
        let cause = format!(
            "its value at revision {} (key {}) is cut or overwritten: no API server can read it, nor list \
             its kind",
            object.revision, object.key
        );
        finding(severity, &format!("{name} {}", object.object()), cause, REMEDY)
    });
    let mut all: Vec<Finding> = told.collect();
    let more = torn.objects.len().saturating_sub(MAX_TOLD);
    if more > 0 || torn.more {
        let many = if torn.more {
            "many".to_owned()
        } else {
            more.to_string()
        };
        let cause = format!("{many} more of its objects are cut or overwritten");
        all.push(finding(severity, name, cause, REMEDY));
    }
    all
}
