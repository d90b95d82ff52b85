//! Classification of Secrets: the component that each belongs to, and those that are never taken.

use super::object::{Meta, Object};

/// Destination of a Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretDestination {
    /// None, with the reason: the cluster creates it again, or it would be wrong anywhere else.
    Nowhere(&'static str),
    /// The archive of the keys with which sealed-secrets decrypts.
    SealedSecrets,
    /// The archive of kubeconfigs.
    Kubeconfigs,
    /// The archive of Secrets, if an object refers to it.
    Secrets {
        /// Whether it is taken even without a reference.
        always: bool,
    },
}

/// Label of sealing keys.
const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

/// Name of the key of releases that did not label it.
const OLD_KEY: &str = "sealed-secrets-key";

/// Returns the destination of a Secret or ConfigMap, by its type, labels and name.
pub(super) fn destination(object: &Object) -> SecretDestination {
    let name = object.meta.name.as_str();
    match object.secret_type.as_deref() {
        Some("kubernetes.io/service-account-token") => {
            return SecretDestination::Nowhere("a service account's token");
        }
        Some("bootstrap.kubernetes.io/token") => {
            return SecretDestination::Nowhere("a bootstrap token");
        }
        Some("helm.sh/release.v1") => return SecretDestination::Secrets { always: true },
        _ => {}
    }
    if name == "kube-root-ca.crt" {
        return SecretDestination::Nowhere("made in every namespace by the cluster");
    }
    // Releases before 0.9 had one key without a label.
    let old_key = name == OLD_KEY && object.secret_type.as_deref() == Some("kubernetes.io/tls");
    if has_key_label(&object.meta) || old_key {
        return SecretDestination::SealedSecrets;
    }
    if object.secret_type.is_some() && is_named_kubeconfig(&object.meta) {
        return SecretDestination::Kubeconfigs;
    }
    SecretDestination::Secrets { always: false }
}

fn has_key_label(meta: &Meta) -> bool {
    meta.labels.contains_key(SEALING_KEY)
}

/// Reports whether a Secret is a kubeconfig, by its name and labels.
fn is_named_kubeconfig(meta: &Meta) -> bool {
    let label = |key: &str| meta.labels.get(key).map(String::as_str);
    meta.name.ends_with("-kubeconfig")
        || label("steward.butlerlabs.dev/component") == Some("admin-kubeconfig")
        || label("butler.butlerlabs.dev/secret-type") == Some("kubeconfig")
}

/// Returns the destination of a Secret or ConfigMap as far as its head shows it, which has no type: at
/// worst it is treated as one without a reference.
pub(super) fn destination_of_head(secret: bool, meta: &Meta) -> SecretDestination {
    if meta.name == "kube-root-ca.crt" {
        return SecretDestination::Nowhere("made in every namespace by the cluster");
    }
    // A leader writes such an object every few seconds.
    if meta.has_annotation("control-plane.alpha.kubernetes.io/leader") {
        return SecretDestination::Nowhere("the current leader takes it again");
    }
    if secret && (has_key_label(meta) || meta.name == OLD_KEY) {
        return SecretDestination::SealedSecrets;
    }
    if secret && is_named_kubeconfig(meta) {
        return SecretDestination::Kubeconfigs;
    }
    SecretDestination::Secrets { always: false }
}
