//! Order in which a restore writes objects, with the reasons.

use backup_core::archive::ObjectPath;

/// Position in the order; all objects of one rank may be written at once, owners before the objects they own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u8);

/// Label of sealing keys.
pub(super) const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The only name that releases without the label gave to a sealing key.
const OLD_SEALING_KEY: &str = "sealed-secrets-key";

impl Rank {
    /// CustomResourceDefinitions, which are a separate step.
    pub const CRDS: Self = Self(1);
    /// Secrets and ConfigMaps.
    pub const SECRETS: Self = Self(7);
    /// Kinds that this order does not list.
    pub const UNKNOWN: Self = Self(29);
    /// Sealed Secrets, from which sealed-secrets makes Secrets.
    pub const SEALED: Self = Self(30);
    /// GitOps objects, which take effect as soon as they exist.
    pub const FLUX: Self = Self(31);
    /// Webhooks, which could refuse the objects of earlier ranks if they existed first.
    pub const WEBHOOKS: Self = Self(32);
}

/// Returns the rank of the object at `path`; `labelled` reports whether it has a label.
pub(super) fn rank(path: &ObjectPath, labelled: impl Fn(&str) -> bool) -> Rank {
    let resource = &path.resource;
    let (plural, group) = (resource.plural(), resource.group());
    Rank(match (group, plural) {
        ("", "namespaces") => 0,
        ("apiextensions.k8s.io", _) => 1,
        ("scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io", _)
        | ("flowcontrol.apiserver.k8s.io", _) => 2,
        // Before their claims, which are lost without a volume.
        ("", "persistentvolumes") => 2,
        ("", "serviceaccounts") => 3,
        ("rbac.authorization.k8s.io", "clusterroles" | "roles") => 4,
        ("rbac.authorization.k8s.io", _) => 5,
        // Before their controller starts, and before the Secrets that it would create.
        ("", "secrets") if labelled(SEALING_KEY) || path.name == OLD_SEALING_KEY => 6,
        // Before control planes: Steward creates new certificate authorities if it finds none.
        ("", "secrets" | "configmaps") => 7,
        ("cert-manager.io" | "acme.cert-manager.io", _) => 8,
        ("metallb.io" | "cilium.io" | "longhorn.io", _) => 9,
        ("steward.butlerlabs.dev", "tenantcontrolplanes") => 22,
        ("steward.butlerlabs.dev", _) => 10,
        ("butler.butlerlabs.dev", plural) => butlers(plural),
        // A service gets its defaults from its owner; its address must exist before the control plane
        // resumes.
        ("", "services") => 23,
        (group, plural) if group.ends_with("cluster.x-k8s.io") => cluster_api(group, plural),
        ("bitnami.com", _) => 30,
        (group, _) if group.ends_with("toolkit.fluxcd.io") || group == "argoproj.io" => 31,
        ("admissionregistration.k8s.io", _) => 32,
        // Discovery waits for the servers behind these objects, which may come with the workloads.
        ("apiregistration.k8s.io", _) => 34,
        ("" | "apps" | "batch", _) => 33,
        _ => 29,
    })
}

fn butlers(plural: &str) -> u8 {
    match plural {
        "identityproviders" | "butlerconfigs" | "addondefinitions" | "workspacetemplates" => 11,
        "providerconfigs" => 12,
        "teams" | "users" => 13,
        "clustercreationpolicies" => 14,
        "networkpools" => 15,
        "imagesyncs" => 16,
        "tenantclusters" => 17,
        // After their tenants: the pool's controller frees allocations that belong to no tenant.
        "ipallocations" | "loadbalancerrequests" => 18,
        _ => 28,
    }
}

fn cluster_api(group: &str, plural: &str) -> u8 {
    match (group, plural) {
        ("cluster.x-k8s.io", "clusterclasses") => 18,
        ("cluster.x-k8s.io", "clusters") => 19,
        ("controlplane.cluster.x-k8s.io", "stewardcontrolplanes") => 21,
        ("cluster.x-k8s.io", "machinedeployments") => 24,
        ("cluster.x-k8s.io", "machinesets") => 25,
        ("cluster.x-k8s.io", "machines") => 26,
        ("cluster.x-k8s.io", _) => 27,
        (_, plural) if plural.ends_with("templates") || plural.ends_with("clusters") => 20,
        _ => 27,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_come_first_comes_first() {
        let of = |resource: &str, name: &str| {
            let path = ObjectPath {
                resource: resource.into(),
                namespace: Some("a".to_owned()),
                name: name.to_owned(),
            };
            rank(&path, |label| name == "key" && label == SEALING_KEY)
        };
        let in_order = [
            of("namespaces", "a"),
            of("customresourcedefinitions.apiextensions.k8s.io", "a"),
            of("serviceaccounts", "a"),
            of("clusterroles.rbac.authorization.k8s.io", "a"),
            of("rolebindings.rbac.authorization.k8s.io", "a"),
            of("secrets", "key"),
            of("secrets", "a"),
            of("datastores.steward.butlerlabs.dev", "a"),
            of("providerconfigs.butler.butlerlabs.dev", "a"),
            of("teams.butler.butlerlabs.dev", "a"),
            of("networkpools.butler.butlerlabs.dev", "a"),
            of("tenantclusters.butler.butlerlabs.dev", "a"),
            of("ipallocations.butler.butlerlabs.dev", "a"),
            of("clusters.cluster.x-k8s.io", "a"),
            of("kubevirtclusters.infrastructure.cluster.x-k8s.io", "a"),
            of("stewardcontrolplanes.controlplane.cluster.x-k8s.io", "a"),
            of("tenantcontrolplanes.steward.butlerlabs.dev", "a"),
            of("services", "a"),
            of("machinedeployments.cluster.x-k8s.io", "a"),
            of("machinesets.cluster.x-k8s.io", "a"),
            of("machines.cluster.x-k8s.io", "a"),
            of("kubevirtmachines.infrastructure.cluster.x-k8s.io", "a"),
            of("tenantaddons.butler.butlerlabs.dev", "a"),
            of("somethings.example.org", "a"),
            of("sealedsecrets.bitnami.com", "a"),
            of("kustomizations.kustomize.toolkit.fluxcd.io", "a"),
            of(
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
                "a",
            ),
        ];
        assert!(in_order.is_sorted_by(|a, b| a < b), "{in_order:?}");
        assert_eq!(of("secrets", "sealed-secrets-key"), of("secrets", "key"));
    }
}
