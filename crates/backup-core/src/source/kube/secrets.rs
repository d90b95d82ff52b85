//! Which component a Secret belongs to, and which are never taken.

use super::object::Object;

/// Where a Secret goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere, and why: the cluster makes it anew, or it would be wrong anywhere else.
    Nowhere(&'static str),
    /// The keys that sealed-secrets decrypts with.
    SealedSecrets,
    /// Kubeconfigs.
    Kubeconfigs,
    /// Wherever something refers to it.
    Secrets {
        /// Whether it is taken even if nothing does.
        always: bool,
    },
}

/// The label of sealing keys.
const SEALING_KEY: &str = "sealedsecrets.bitnami.com/sealed-secrets-key";

/// Where a Secret or ConfigMap goes, by its type, labels and name.
pub(super) fn place(object: &Object) -> Place {
    let labels = &object.meta.labels;
    let name = object.meta.name.as_str();
    let label = |key: &str| labels.get(key).map(String::as_str);
    match object.secret_type.as_deref() {
        Some("kubernetes.io/service-account-token") => {
            return Place::Nowhere("a service account's token");
        }
        Some("bootstrap.kubernetes.io/token") => return Place::Nowhere("a bootstrap token"),
        Some("helm.sh/release.v1") => return Place::Secrets { always: true },
        _ => {}
    }
    if name == "kube-root-ca.crt" {
        return Place::Nowhere("made in every namespace by the cluster");
    }
    // Releases before 0.9 had one key without a label.
    let old_key =
        name == "sealed-secrets-key" && object.secret_type.as_deref() == Some("kubernetes.io/tls");
    if labels.contains_key(SEALING_KEY) || old_key {
        return Place::SealedSecrets;
    }
    let kubeconfig = object.secret_type.is_some()
        && (name.ends_with("-kubeconfig")
            || label("steward.butlerlabs.dev/component") == Some("admin-kubeconfig")
            || label("butler.butlerlabs.dev/secret-type") == Some("kubeconfig"));
    if kubeconfig {
        return Place::Kubeconfigs;
    }
    Place::Secrets { always: false }
}
