//! Tests of the report of a manifest, at a fixed time.

use super::*;
use backup_cli::output::{Format, render};
use backup_core::catalog::CatalogEntry;
use backup_core::crypt::Verdict;
use backup_core::digest::Digest;
use backup_core::format::manifest::Manifest;
use backup_core::id::RestorePointId;

fn kind(resource: &str, kind: &str, objects: u64) -> serde_json::Value {
    serde_json::json!({
        "resource": resource, "kind": kind, "version": "v1alpha1", "namespaced": true,
        "objects": objects, "bytes": objects * 900, "sha256": Digest::of(b"x"),
    })
}

pub(in crate::commands) fn point() -> RestorePoint {
    let digest = Digest::of(b"manifest");
    let object = serde_json::json!({ "sha256": Digest::of(b"object"), "bytes": 4096 });
    let manifest = serde_json::json!({
        "version": 1,
        "tool": "backupd 0.1.0",
        "cluster": "butler-mgmt",
        "claim": Digest::of(b"claim"),
        "began": "2026-11-23T12:00:00Z",
        "ended": "2026-11-23T12:00:09Z",
        "reason": "before 1.36",
        "pinned": true,
        "lineage": { "id": "4f2c", "kubeSystemUid": "8d8d6b1e", "revision": 812_345 },
        "parent": { "id": "20261123t110000000z-0123456789ab", "manifest": Digest::of(b"parent") },
        "encryption": { "mode": "age", "epochs": [{
            "recipient": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
            "key": object,
            "recipients": [
                "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p",
                "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN",
            ],
            "began": "2026-11-01T00:00:00Z",
        }] },
        "components": [{
            "name": "etcd",
            "mediaType": "application/vnd.etcd.snapshot",
            "plainBytes": 262_144_032,
            "plainSha256": Digest::of(b"plain"),
            "packs": [{ "sha256": Digest::of(b"pack"), "bytes": 5_000_000, "plainBytes": 9_000_000 }],
            "recipes": [object],
            "etcd": {
                "revision": 812_345, "compactRevision": 800_000, "totalKeys": 15_210,
                "pageSize": 4096, "trailer": Digest::of(b"trailer"),
                "encryptionPrefixes": ["k8s:enc:secretbox:v1:"], "origin": "10.5.0.3",
                "memberName": "cp-2", "memberId": "8211f1d0f64f3269",
                "etcdVersion": "3.6.4", "talosVersion": "v1.11.0",
            },
        }, {
            "name": "resources",
            "mediaType": "application/x-tar",
            "plainBytes": 40_960,
            "plainSha256": Digest::of(b"objects"),
            "packs": [{ "sha256": Digest::of(b"pack"), "bytes": 9_000, "plainBytes": 40_960 }],
            "recipes": [object],
            "archive": { "objects": 12, "kinds": [
                kind("ippools.butler.butlerlabs.dev", "IPPool", 0),
                kind("tenantclusters.butler.butlerlabs.dev", "TenantCluster", 12),
                {
                    "resource": "webhooks.example.com", "kind": "Webhook", "version": "v1",
                    "namespaced": true, "objects": 0, "bytes": 0, "sha256": Digest::of(b""),
                    "failed": "500: the conversion webhook does not answer",
                },
            ] },
        }],
        "missing": ["kubeconfigs"],
        "kubernetes": {
            "uid": "8d8d6b1e", "version": "v1.36.1", "server": "https://10.5.0.2:6443",
            "crdChart": "butler-crds-0.9.2",
            "leftOut": [
                { "resource": "events", "reason": "run-time noise" },
                { "resource": "leases.coordination.k8s.io", "reason": "run-time noise" },
            ],
            "sealedSecrets": {
                "keys": [
                    { "secret": "kube-system/sealed-secrets-key", "state": "compromised" },
                    { "secret": "flux-system/sealed-secrets-keyab1cd", "state": "active" },
                ],
                "sealedSecrets": 9, "opened": 8,
            },
            "tenants": [
                {
                    "namespace": "team-a", "name": "one", "uid": "u1", "phase": "Ready",
                    "tenantNamespace": "one-1a2b", "endpoint": "10.5.1.10:6443",
                    "kubernetesVersion": "v1.35.2", "workersDesired": 3, "workersReady": 3,
                    "controlPlane": {
                        "name": "one", "status": "Ready", "version": "v1.35.2",
                        "datastore": "default", "schema": "one_1a2b_one",
                    },
                    "kubeconfig": {
                        "origin": "one-1a2b/one-admin-kubeconfig admin.conf",
                        "clientNotAfter": "2027-11-01T00:00:00Z",
                    },
                    "answer": { "ready": true, "version": "v1.35.2", "nodesReady": 3 },
                },
                {
                    "namespace": "team-b", "name": "two", "uid": "u2", "phase": "Provisioning",
                    "answer": { "failure": "no answer within 10 s" },
                },
            ],
        },
        "indexes": [object],
        "findings": [{
            "severity": "warning", "object": "cp-1", "cause": "it did not answer",
            "remedy": "see `talosctl -n cp-1 health`",
        }],
        "cost": { "readBytes": 262_144_032, "chunks": 90_000, "newChunks": 700,
                  "objects": 5, "storedBytes": 1_782_579 },
    });
    let began = "2026-11-23T12:00:00Z".parse().unwrap();
    let id = RestorePointId::new(began, digest);
    RestorePoint {
        entry: CatalogEntry {
            key: format!("manifests/{id}.json").parse().unwrap(),
            id,
            digest,
            bytes: 4_000,
            put: None,
        },
        manifest: Manifest::parse(manifest.to_string().as_bytes()).unwrap(),
        verdict: Verdict::Trusted,
        signatures: Vec::new(),
    }
}

#[test]
fn a_manifest_reads_well_and_its_json_stays() {
    let shown = PointReport::of(&point(), "2026-11-23T12:45:00Z".parse().unwrap(), false);
    insta::assert_snapshot!("show_table", render(&shown, Format::Table, None).unwrap());
    let all = PointReport::of(&point(), "2026-11-23T12:45:00Z".parse().unwrap(), true);
    insta::assert_snapshot!("show_all_table", render(&all, Format::Table, None).unwrap());
    insta::assert_snapshot!("show_json", render(&shown, Format::Json, None).unwrap());
}
