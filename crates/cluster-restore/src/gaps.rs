//! Gaps of a restore point that a restore cannot bring back.

use std::collections::BTreeSet;

use super::plan::{Options, Step};
use backup_core::archive::ResourceName;
use backup_core::format::gaps::{Gap, MissingPart};
use backup_core::format::manifest::Manifest;
use backup_core::id::ComponentName;

/// Returns the gaps of `manifest` that concern these steps and this selection of objects.
#[must_use]
pub fn gaps(manifest: &Manifest, steps: &[Step], options: &Options) -> Vec<Gap> {
    let mut gaps = manifest.gaps();
    gaps.retain(|gap| is_of(&gap.component, steps) && concerns(gap, options));
    gaps
}

/// Reports whether one of the steps reads the component.
fn is_of(component: &ComponentName, steps: &[Step]) -> bool {
    let objects = [
        ComponentName::resources(),
        ComponentName::secrets(),
        ComponentName::sealed_secrets(),
        ComponentName::kubeconfigs(),
    ];
    steps.iter().any(|step| match step {
        Step::Etcd => *component == ComponentName::etcd(),
        Step::Crds => *component == ComponentName::crds(),
        Step::Resources => {
            objects.contains(component)
                || *component == ComponentName::datastores()
                || component.datastore_name().is_some()
        }
        Step::Verify => false,
    })
}

/// Reports whether a gap may be among the selected objects. If in doubt, it may.
fn concerns(gap: &Gap, options: &Options) -> bool {
    let kind = match &gap.what {
        MissingPart::Component => return true,
        MissingPart::Kind(kind) | MissingPart::Object { kind, .. } => kind,
    };
    if kind.starts_with('*') {
        return true;
    }
    let plural = ResourceName::from(kind.as_str()).plural().to_owned();
    let exact = |name: &String| name == "*" || name == kind || *name == plural;
    // The name of a kind is shorter than its plural.
    let likely = |name: &String| {
        let stem: String = name
            .chars()
            .take(name.chars().count().saturating_sub(1))
            .collect();
        exact(name) || plural.starts_with(&stem.to_lowercase())
    };
    let included = &options.include_resources;
    if options.exclude_resources.iter().any(exact)
        || !(included.is_empty() || included.iter().any(likely))
    {
        return false;
    }
    let MissingPart::Object { name, .. } = &gap.what else {
        return true;
    };
    let namespace = name.split_once('/').map(|(namespace, _)| namespace);
    let wanted = |namespaces: &BTreeSet<String>, namespace: &str| {
        namespaces.is_empty() || namespaces.contains(namespace) || namespaces.contains("*")
    };
    namespace.is_none_or(|namespace| {
        // If the server did not name each object, the name is a sentence.
        namespace.contains(' ')
            || wanted(&options.include_namespaces, namespace)
                && !options.exclude_namespaces.contains(namespace)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(kind: &str, name: Option<&str>) -> Gap {
        let kind = kind.to_owned();
        Gap {
            component: ComponentName::secrets(),
            what: match name {
                Some(name) => MissingPart::Object {
                    kind,
                    name: name.to_owned(),
                },
                None => MissingPart::Kind(kind),
            },
            cause: String::new(),
        }
    }

    #[test]
    fn only_what_is_restored_can_be_missed() {
        let set = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let all = Options::default();
        let lost = gap("secrets", Some("default/lost-key"));
        assert!(concerns(&lost, &all));
        let other = Options {
            include_namespaces: set(&["butler-tenants"]),
            ..Options::default()
        };
        assert!(!concerns(&lost, &other));
        assert!(concerns(&gap("secrets", None), &other));
        assert!(concerns(&gap("*.away.example.com", None), &other));
        for name in ["secrets", "Secret", "*"] {
            let some = Options {
                include_resources: set(&[name]),
                ..Options::default()
            };
            assert!(concerns(&lost, &some), "{name}");
        }
        let policies = gap("networkpolicies.networking.k8s.io", None);
        let some = Options {
            include_resources: set(&["NetworkPolicy"]),
            ..Options::default()
        };
        assert!(concerns(&policies, &some) && !concerns(&lost, &some));
        let without = Options {
            exclude_resources: set(&["secrets"]),
            ..Options::default()
        };
        assert!(!concerns(&lost, &without));
        assert!(is_of(&lost.component, &[Step::Crds, Step::Resources]));
        assert!(!is_of(&lost.component, &[Step::Etcd, Step::Crds]));
    }
}
