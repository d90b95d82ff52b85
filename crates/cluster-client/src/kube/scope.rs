//! Default selection of kinds.

/// Kinds that describe only a moment, or that controllers create again, each with the reason. A name
/// that starts with `*.` stands for all kinds of the group.
pub const NOISE: &[(&str, &str)] = &[
    ("events", "it describes only a moment"),
    ("events.events.k8s.io", "it describes only a moment"),
    (
        "leases.coordination.k8s.io",
        "the current leader takes it again",
    ),
    (
        "leasecandidates.coordination.k8s.io",
        "the current leader takes it again",
    ),
    ("endpoints", "made from Services and Pods"),
    (
        "endpointslices.discovery.k8s.io",
        "made from Services and Pods",
    ),
    ("*.metrics.k8s.io", "it describes only a moment"),
    ("*.custom.metrics.k8s.io", "it describes only a moment"),
    ("*.external.metrics.k8s.io", "it describes only a moment"),
    ("ciliumendpoints.cilium.io", "made from running Pods"),
    ("ciliumendpointslices.cilium.io", "made from running Pods"),
    ("ciliumidentities.cilium.io", "made from running Pods"),
    ("ciliumnodes.cilium.io", "made from running nodes"),
    ("volumes.longhorn.io", "tied to a disk of a node"),
    ("volumeattachments.longhorn.io", "tied to a disk of a node"),
    ("engines.longhorn.io", "tied to a running process"),
    ("replicas.longhorn.io", "tied to a disk of a node"),
    ("nodes.longhorn.io", "tied to a disk of a node"),
    ("instancemanagers.longhorn.io", "tied to a running process"),
    ("sharemanagers.longhorn.io", "tied to a running process"),
    (
        "backingimagemanagers.longhorn.io",
        "tied to a running process",
    ),
    (
        "certificaterequests.cert-manager.io",
        "made from Certificates",
    ),
    ("orders.acme.cert-manager.io", "made from Certificates"),
    ("challenges.acme.cert-manager.io", "made from Certificates"),
    ("servicel2statuses.metallb.io", "made from running speakers"),
    (
        "servicebgpstatuses.metallb.io",
        "made from running speakers",
    ),
];

/// Built-in kinds that are taken besides custom resources.
pub(super) const BUILT_IN: &[&str] = &[
    "namespaces",
    "serviceaccounts",
    // A tenant's control plane keeps its address only if its Service is restored with it.
    "services",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "storageclasses.storage.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "mutatingadmissionpolicies.admissionregistration.k8s.io",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io",
];

/// CustomResourceDefinitions, which have their own component.
pub(super) const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";
/// Secrets, which go to one of three components.
pub(super) const SECRETS: &str = "secrets";
/// ConfigMaps, which are taken like Secrets: in Butler's namespaces, and if an object refers to them.
pub(super) const CONFIG_MAPS: &str = "configmaps";

/// Returns the reason why a kind is noise, or `None` if it is not.
pub(super) fn noise(resource: &str) -> Option<&'static str> {
    let is = |pattern: &str| match pattern.strip_prefix('*') {
        Some(end) => resource.ends_with(end),
        None => resource == pattern,
    };
    let found = NOISE.iter().find(|(pattern, _)| is(pattern));
    found.map(|(_, reason)| *reason)
}

/// Reports whether a namespace is Butler's by its name or one of its labels.
pub(super) fn is_butlers<'a>(name: &str, labels: impl IntoIterator<Item = &'a String>) -> bool {
    let ours = |label: &String| {
        label.starts_with("butler.butlerlabs.dev/") || label.starts_with("steward.butlerlabs.dev/")
    };
    name.starts_with("butler-") || name == "steward-system" || labels.into_iter().any(ours)
}

/// Reports whether a group is Butler's or Steward's: the Secrets in namespaces of such objects are taken.
pub(super) fn is_butlers_group(group: &str) -> bool {
    group == "butlerlabs.dev" || group.ends_with(".butlerlabs.dev")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_by_name_or_by_group() {
        assert!(noise("pods.metrics.k8s.io").is_some());
        assert!(noise("events").is_some());
        assert!(noise("volumes.longhorn.io").is_some());
        for kept in [
            "settings.longhorn.io",
            "ciliumnetworkpolicies.cilium.io",
            "secrets",
        ] {
            assert!(noise(kept).is_none(), "{kept}");
        }
    }

    #[test]
    fn butlers_namespaces_are_known_by_name_label_or_content() {
        let labels = ["butler.butlerlabs.dev/source-name".to_owned()];
        assert!(is_butlers("one-1a2b3c4d", &labels));
        assert!(is_butlers("butler-system", &[]));
        assert!(!is_butlers("default", &["app".to_owned()]));
        assert!(is_butlers_group("steward.butlerlabs.dev"));
        assert!(!is_butlers_group("notbutlerlabs.dev"));
    }
}
