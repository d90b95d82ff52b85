//! Findings about objects in an etcd snapshot that no API server can decode.

use crate::etcd::TornObjects;
use crate::format::manifest::{Finding, Manifest, Severity};
use crate::id::ComponentName;

/// Objects of one snapshot that are listed one by one.
const MAX_NAMED: usize = 20;
/// Start of the cause of each of these findings, by which a later reader recognises them.
const CAUSE: &str = "cut or overwritten: ";
const REMEDY: &str = "compare it with another member (`etcdctl get KEY --endpoints …`), and take the \
    snapshot there if its value is complete; else delete the key and create the object again, from an older \
    restore point if necessary";

/// Returns the findings on the objects of component `name` that cannot be decoded.
pub fn torn(name: &ComponentName, torn: &TornObjects, severity: Severity) -> Vec<Finding> {
    let named = torn.objects.iter().take(MAX_NAMED).map(|object| {
        let cause = format!(
            "{CAUSE}no API server can read its value at revision {} (key {}), nor list its kind",
            object.revision, object.key
        );
        Finding::new(
            severity,
            format!("{name} {}", object.object()),
            cause,
            REMEDY,
        )
    });
    let mut all: Vec<Finding> = named.collect();
    let more = torn.objects.len().saturating_sub(MAX_NAMED);
    if more > 0 || torn.more {
        let many = if torn.more {
            "many".to_owned()
        } else {
            more.to_string()
        };
        let cause = format!("{CAUSE}no API server can read {many} more of its objects");
        all.push(Finding::new(severity, name.to_string(), cause, REMEDY));
    }
    all
}

/// Returns the findings of this kind that a manifest has on its component `name`, as warnings.
pub fn torn_in(manifest: &Manifest, name: &ComponentName) -> Vec<Finding> {
    let of_component = |object: &str| object.split(' ').next() == Some(name.as_str());
    let found = manifest.findings.iter();
    let found = found.filter(|f| of_component(&f.object) && f.cause.starts_with(CAUSE));
    let as_warning = |f: &Finding| Finding {
        severity: Severity::Warning,
        ..f.clone()
    };
    found.map(as_warning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::TornObject;

    #[test]
    fn those_beyond_the_named_are_counted() {
        let object = |at: u64| TornObject {
            key: format!("/registry/secrets/default/s{at:03}"),
            revision: at,
        };
        let mut all = TornObjects {
            objects: (0..25).map(object).collect(),
            more: false,
        };
        let name = ComponentName::etcd();
        let found = torn(&name, &all, Severity::Error);
        assert_eq!(found.len(), MAX_NAMED + 1);
        assert_eq!(found[3].object, "etcd secrets default/s003");
        assert!(found[20].cause.contains(" 5 more "), "{}", found[20].cause);
        all.more = true;
        let found = torn(&name, &all, Severity::Error);
        assert!(found[20].cause.contains(" many more "));
        assert!(torn(&name, &TornObjects::default(), Severity::Error).is_empty());
    }
}
