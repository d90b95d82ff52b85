//! Whose turn is when: the order in which a restore writes, and why.

use crate::archive::ObjectPath;

/// A turn; all objects of one may be written at once, owners before owned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rank(pub u8);

/// The label of sealing keys.
pub(super) const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";
/// The only name that releases without the label gave.
const OLD_SEALING_KEY: &str = "sealed-secrets-key";

impl Rank {
    /// CustomResourceDefinitions, which are a step of their own.
    pub const CRDS: Self = Self(1);
    /// Secrets and ConfigMaps.
    pub const SECRETS: Self = Self(7);
    /// Kinds that nobody here knows.
    pub const UNKNOWN: Self = Self(29);
    /// What sealed-secrets makes Secrets from.
    pub const SEALED: Self = Self(30);
    /// GitOps, which begins to work as soon as it is there.
    pub const FLUX: Self = Self(31);
    /// What may refuse everything before it, were it there earlier.
    pub const WEBHOOKS: Self = Self(32);
}

/// The turn of the object at `path`; `labelled` tells whether it has a label.
pub(super) fn rank(path: &ObjectPath, labelled: impl Fn(&str) -> bool) -> Rank {
    let resource = &path.resource;
    let (plural, group) = (resource.plural(), resource.group());
    Rank(match (group, plural) {
        ("", "namespaces") => 0,
        ("apiextensions.k8s.io", _) => 1,
        ("scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io", _)
        | ("flowcontrol.apiserver.k8s.io", _) => 2,
        // Before their claims, which are lost without them.
        ("", "persistentvolumes") => 2,
        ("", "serviceaccounts") => 3,
        ("rbac.authorization.k8s.io", "clusterroles" | "roles") => 4,
        ("rbac.authorization.k8s.io", _) => 5,
        // Before their controller starts, and before what it would make from them.
        ("", "secrets") if labelled(SEALING_KEY) || path.name == OLD_SEALING_KEY => 6,
        // Before control planes: Steward makes new authorities where it finds none.
        ("", "secrets" | "configmaps") => 7,
        ("cert-manager.io" | "acme.cert-manager.io", _) => 8,
        ("metallb.io" | "cilium.io" | "longhorn.io", _) => 9,
        ("steward.butlerlabs.dev", "tenantcontrolplanes") => 22,
        ("steward.butlerlabs.dev", _) => 10,
        ("butler.butlerlabs.dev", plural) => butlers(plural),
        // Its defaults are its owner's; the address must be there before the control plane goes on.
        ("", "services") => 23,
        (group, plural) if group.ends_with("cluster.x-k8s.io") => cluster_api(group, plural),
        ("bitnami.com", _) => 30,
        (group, _) if group.ends_with("toolkit.fluxcd.io") || group == "argoproj.io" => 31,
        ("admissionregistration.k8s.io", _) => 32,
        // Discovery waits for what serves them, and that may come with the workloads.
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
        // After their tenants: the pool's controller frees what belongs to none.
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
