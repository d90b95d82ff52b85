//! Generator of text, names and bytes from a seed, about as repetitive as those of a real cluster.

use rand::{Rng, RngExt};

/// Lines that recur in any cluster, because etcd mostly contains the same few lines again.
const LINES: &[&str] = &[
    r#"{"f:metadata":{"f:labels":{".":{},"f:app.kubernetes.io/name":{}},"f:ownerReferences":{}}}"#,
    r#"{"f:status":{"f:conditions":{"k:{\"type\":\"Ready\"}":{"f:lastTransitionTime":{}}}}}"#,
    r#"{"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{}}}}}}"#,
    "livenessProbe: { httpGet: { path: /healthz, port: 8081, scheme: HTTP }, periodSeconds: 20 }",
    "readinessProbe: { httpGet: { path: /readyz, port: 8081, scheme: HTTP }, periodSeconds: 10 }",
    "resources: { limits: { cpu: 500m, memory: 128Mi }, requests: { cpu: 10m, memory: 64Mi } }",
    "securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: [ALL] } }",
    "volumeMounts: [{ mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true }]",
    "tolerations: [{ key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute }]",
    "terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File",
    "imagePullPolicy: IfNotPresent, restartPolicy: Always, dnsPolicy: ClusterFirst",
    "topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway, maxSkew: 1",
    "env: [{ name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }]",
    "conditions: [{ type: Ready, status: True, reason: Reconciled, observedGeneration: 1 }]",
    "conditions: [{ type: InfrastructureReady, status: True, reason: AsExpected }]",
    "machineTemplate: { cpu: 4, memory: 16Gi, diskSize: 80Gi, os: { type: talos } }",
    "certSANs: [127.0.0.1, localhost, kubernetes.default.svc, kubernetes.default.svc.cluster]",
    "matchLabels: { app.kubernetes.io/component: control-plane, tier: tenant }",
    "args: [--leader-elect, --metrics-bind-address=:8443, --zap-log-level=info, --v=2]",
    "message: the control plane is available and all replicas are up to date",
    "serviceAccountName: controller, automountServiceAccountToken: true, priority: 2000000000",
    "strategy: { type: RollingUpdate, rollingUpdate: { maxSurge: 25%, maxUnavailable: 25% } }",
];

/// Returns lines until `length` bytes are there; one in five ends in a name or number of its own.
pub(super) fn prose(random: &mut impl Rng, length: usize) -> String {
    let mut out = String::with_capacity(length + 128);
    while out.len() < length {
        out.push_str(pick(random, LINES));
        if random.random_ratio(1, 5) {
            out.push_str(" registry.internal/butler@sha256:");
            out.push_str(&hex_word(random, 8));
        }
        out.push('\n');
    }
    out.truncate(length);
    out
}

/// Returns one of `choices`, which must not be empty.
pub(super) fn pick<'a>(random: &mut impl Rng, choices: &[&'a str]) -> &'a str {
    choices
        .get(random.random_range(0..choices.len()))
        .copied()
        .unwrap_or_default()
}

/// Returns `bytes` random bytes as hexadecimal text.
pub(super) fn hex_word(random: &mut impl Rng, bytes: usize) -> String {
    hex::encode(random_bytes(random, bytes))
}

/// Returns random bytes, which cannot be compressed, like the result of encryption at rest.
pub(super) fn random_bytes(random: &mut impl Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Returns a UUID of version 4.
pub(super) fn uid(random: &mut impl Rng) -> String {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string()
}
