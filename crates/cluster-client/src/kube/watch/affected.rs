//! Components that an export would find changed.

use super::super::export::KubeArchive;
use super::super::kind::Kind;
use super::super::object::Meta;
use super::super::scope::SECRETS;
use super::super::secrets::{SecretDestination, destination_of_head};
use super::super::select::KindDestination;
use super::{WatchOptions, has_places};
use backup_core::id::ComponentName;

const TENANTS: &str = "tenantclusters.butler.butlerlabs.dev";
/// Archives that contain a tenant's data.
const OF_TENANT: &[KubeArchive] = &[
    KubeArchive::Resources,
    KubeArchive::Kubeconfigs,
    KubeArchive::Secrets,
];

/// Components that changes of one kind concern.
pub(super) struct AffectedComponents {
    destination: KindDestination,
    secret: bool,
    places: bool,
    tenants: bool,
    namespaces: bool,
}

impl AffectedComponents {
    pub(super) fn new(kind: &Kind, destination: KindDestination) -> Self {
        let name = kind.resource.as_str();
        Self {
            destination,
            secret: name == SECRETS,
            places: has_places(kind),
            tenants: name == TENANTS,
            namespaces: name == "namespaces",
        }
    }

    pub(super) fn destination(&self) -> KindDestination {
        self.destination
    }

    /// Returns the components that any object of the kind may concern.
    pub(super) fn all(&self, wanted: &WatchOptions) -> Vec<ComponentName> {
        let archives: &[KubeArchive] = match self.destination {
            KindDestination::Crds => &[KubeArchive::Crds, KubeArchive::Resources],
            KindDestination::Secrets if self.secret => &[
                KubeArchive::SealedSecrets,
                KubeArchive::Kubeconfigs,
                KubeArchive::Resources,
                KubeArchive::Secrets,
            ],
            KindDestination::Secrets => &[KubeArchive::Secrets],
            KindDestination::Resources if self.tenants => OF_TENANT,
            KindDestination::Resources => &[KubeArchive::Resources],
        };
        component_names(archives, wanted)
    }

    /// Returns the components that a change of the object with this head concerns.
    pub(super) fn of(&self, wanted: &WatchOptions, meta: &Meta, new: bool) -> Vec<ComponentName> {
        let place = self.places.then(|| destination_of_head(self.secret, meta));
        let archives: &[KubeArchive] = match (self.destination, place) {
            (_, Some(SecretDestination::Nowhere(_))) => &[],
            (_, Some(SecretDestination::SealedSecrets)) => &[KubeArchive::SealedSecrets],
            (_, Some(SecretDestination::Kubeconfigs)) => OF_TENANT,
            (_, Some(SecretDestination::Secrets { .. })) | (KindDestination::Secrets, None) => {
                &[KubeArchive::Secrets]
            }
            (KindDestination::Crds, None) => &[KubeArchive::Crds, KubeArchive::Resources],
            (KindDestination::Resources, None) if self.tenants && new => OF_TENANT,
            (KindDestination::Resources, None) => &[KubeArchive::Resources],
        };
        // Objects that a restore depends on are never excluded by their namespace.
        let always =
            archives == [KubeArchive::SealedSecrets] || self.destination == KindDestination::Crds;
        let namespace = if self.namespaces {
            Some(&meta.name)
        } else {
            meta.namespace.as_ref()
        };
        if let Some(namespace) = namespace.filter(|_| !always)
            && !wanted.selection.wants_namespace(namespace)
        {
            return Vec::new();
        }
        component_names(archives, wanted)
    }
}

fn component_names(archives: &[KubeArchive], wanted: &WatchOptions) -> Vec<ComponentName> {
    let names = archives.iter().map(|archive| archive.component());
    names
        .filter(|name| wanted.components.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::select::Selection;
    use super::*;
    use backup_core::archive::ResourceName;

    fn affected(resource: &str, destination: KindDestination) -> AffectedComponents {
        let kind = Kind {
            resource: ResourceName::from(resource),
            kind: String::new(),
            version: "v1".to_owned(),
            namespaced: true,
            custom: true,
            aggregated: false,
            can_list: true,
            has_status: false,
            also_served: Vec::new(),
            stored_version: None,
            converted: false,
        };
        AffectedComponents::new(&kind, destination)
    }

    fn names(affected: &AffectedComponents, head: serde_json::Value, new: bool) -> Vec<String> {
        let wanted = WatchOptions {
            selection: Selection {
                exclude_namespaces: ["velero".to_owned()].into(),
                ..Selection::default()
            },
            components: KubeArchive::ALL.map(KubeArchive::component).into(),
        };
        let meta = serde_json::from_value(head).unwrap();
        let names = affected.of(&wanted, &meta, new).into_iter();
        names.map(|name| name.to_string()).collect()
    }

    #[test]
    fn a_secret_concerns_what_it_goes_to() {
        let secrets = affected("secrets", KindDestination::Secrets);
        let label = "sealedsecrets.bitnami.com/sealed-secrets-key";
        for namespace in ["flux-system", "velero"] {
            let key = serde_json::json!({
                "name": "sealed-secrets-keyabcde", "namespace": namespace,
                "labels": { label: "compromised" },
            });
            assert_eq!(names(&secrets, key, true), ["sealed-secrets"]);
        }
        let kubeconfig = serde_json::json!({ "name": "alpha-kubeconfig", "namespace": "alpha" });
        let of_tenant = ["resources", "kubeconfigs", "secrets"];
        assert_eq!(names(&secrets, kubeconfig, false), of_tenant);
        let other = serde_json::json!({ "name": "credentials", "namespace": "alpha" });
        assert_eq!(names(&secrets, other, true), ["secrets"]);
        let elsewhere = serde_json::json!({ "name": "credentials", "namespace": "velero" });
        assert!(names(&secrets, elsewhere, true).is_empty());
    }

    #[test]
    fn what_is_written_all_the_time_concerns_nothing() {
        let maps = affected("configmaps", KindDestination::Secrets);
        let leader = serde_json::json!({
            "name": "some-controller", "namespace": "butler-system",
            "annotations": { "control-plane.alpha.kubernetes.io/leader": "{}" },
        });
        assert!(names(&maps, leader, false).is_empty());
        let root = serde_json::json!({ "name": "kube-root-ca.crt", "namespace": "butler-system" });
        assert!(names(&maps, root, true).is_empty());
        // It is not a kubeconfig, whatever its name is.
        let map = serde_json::json!({ "name": "a-kubeconfig", "namespace": "butler-system" });
        assert_eq!(names(&maps, map, true), ["secrets"]);
    }

    #[test]
    fn a_new_tenant_concerns_all_that_it_is_made_of() {
        let tenants = affected(TENANTS, KindDestination::Resources);
        let tenant = || serde_json::json!({ "name": "alpha", "namespace": "butler-tenants" });
        assert_eq!(
            names(&tenants, tenant(), true),
            ["resources", "kubeconfigs", "secrets"]
        );
        assert_eq!(names(&tenants, tenant(), false), ["resources"]);
        let crds = affected(super::super::CRDS, KindDestination::Crds);
        let crd = serde_json::json!({ "name": "teams.butler.butlerlabs.dev" });
        assert_eq!(names(&crds, crd, true), ["crds", "resources"]);
    }
}
