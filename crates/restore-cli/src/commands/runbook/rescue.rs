//! Part of the runbook on saving a tenant's control plane that is being deleted and is paused.

use cluster_restore::pause::STEWARD;

use super::document::{Document, code};
use super::facts::Facts;
use super::shell::word;

/// Full name of the kind, because another group may have a kind of this name.
const KIND: &str = "tenantcontrolplanes.steward.butlerlabs.dev";

/// Writes the part.
pub(super) fn write(document: &mut Document, facts: &Facts) {
    if facts.control_planes().next().is_none() {
        return;
    }
    document.part("If a tenant's control plane is Terminating");
    document.text(format!(
        "While it carries the annotation {}, Steward does not act on the deletion: data, user and \
         Secrets are all there. IF YOU TAKE THE ANNOTATION OFF, THE TENANT'S DATA IS GONE. What \
         follows brings it back with the same Deployment and every Secret. Do all of it, in this \
         order, with Steward and its webhooks running.",
        code(STEWARD)
    ));
    document.items([
        "The block does nothing unless the control plane is Terminating and paused. If it is \
         Terminating and not paused, scale Steward to 0 at once (`kubectl -n steward-system scale \
         deployment --all --replicas=0`) and see what is left.",
        "Owners are taken off its Secrets, ConfigMaps, Service and Deployment, so that the garbage \
         collector does not delete them with it.",
        "Only then are the finalizers taken off the control plane, which deletes it.",
        "It is created again, paused in the same call, and gets its status back. The last line \
         shows the annotation still in place.",
        "Last of all, when Secrets and status are there: `kubectl annotate` with the annotation's \
         name and a `-`. The owners come back: Steward names itself where there is no owner.",
    ]);
    for (tenant, namespace, plane) in facts.control_planes() {
        document.text(format!(
            "Tenant {}:",
            code(&format!("{}/{}", tenant.namespace, tenant.name))
        ));
        document.aside(commands(&word(namespace), &word(&plane.name)));
    }
    document.text(
        "A StewardControlPlane that owned it is named again by hand, before capi-steward runs \
         again, with the UID that it has now: without that owner capi-steward may write over the \
         tenant's authority. `restore-cli plan … --tenant NAMESPACE/NAME` finds what else is \
         missing.",
    );
}

/// Returns the commands that save the control plane `plane` in `namespace`; both are words of a shell.
fn commands(namespace: &str, plane: &str) -> Vec<String> {
    let file = format!("{namespace}-{plane}.json");
    let path = STEWARD.replace('.', "\\.");
    let lines = [
        "( set -euo pipefail; NS=@NS TCP=@TCP FILE=@FILE",
        "# Terminating, and paused? If not, it ends here, with nothing done.",
        "test -n \"$(kubectl -n \"$NS\" get @KIND \"$TCP\" \
         --output jsonpath='{.metadata.deletionTimestamp}')\"",
        "test -n \"$(kubectl -n \"$NS\" get @KIND \"$TCP\" \
         --output jsonpath='{.metadata.annotations.@PATH}')\"",
        "# Spec and status, to make it again from.",
        "test -s \"$FILE\" || kubectl -n \"$NS\" get @KIND \"$TCP\" --output json > \"$FILE\"",
        "# Owners off everything that it owns.",
        "kubectl -n \"$NS\" get secrets,configmaps,services,deployments.apps --output \
         go-template='{{range .items}}{{$o := .}}{{range .metadata.ownerReferences}}{{if eq .kind \
         \"TenantControlPlane\"}}{{$o.kind}}/{{$o.metadata.name}}{{\"\\n\"}}{{end}}{{end}}{{end}}' |",
        "  while read -r object; do kubectl -n \"$NS\" patch \"$object\" --type json \
         -p '[{\"op\":\"remove\",\"path\":\"/metadata/ownerReferences\"}]' < /dev/null; done",
        "# Its finalizers off; then it goes.",
        "kubectl -n \"$NS\" patch @KIND \"$TCP\" --type merge -p '{\"metadata\":{\"finalizers\":null}}'",
        "kubectl -n \"$NS\" wait --for=delete \"@KIND/$TCP\" --timeout=60s",
        "# Made again, paused from its first moment, with its status.",
        "jq 'del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.ownerReferences, \
         .metadata.finalizers, .metadata.creationTimestamp, .metadata.deletionTimestamp, \
         .metadata.deletionGracePeriodSeconds, .metadata.generation, .metadata.managedFields)' \
         \"$FILE\" | kubectl create -f -",
        "kubectl -n \"$NS\" patch @KIND \"$TCP\" --subresource=status --type merge -p \"$(jq -c \
         '{status}' \"$FILE\")\"",
        "kubectl -n \"$NS\" get @KIND \"$TCP\" --output jsonpath='{.metadata.annotations.@PATH}{\"\\n\"}' )",
    ];
    let fill = |line: &str| {
        line.replace("@NS", namespace)
            .replace("@TCP", plane)
            .replace("@FILE", &file)
            .replace("@KIND", KIND)
            .replace("@PATH", &path)
    };
    lines.map(fill).to_vec()
}
