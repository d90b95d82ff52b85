//! How a manifest is shown, at a fixed time.

use super::*;
use backup_cli::output::{Format, render};
use backup_core::catalog::Entry;
use backup_core::crypt::Verdict;
use backup_core::digest::Digest;
use backup_core::format::manifest::Manifest;
use backup_core::id::RestorePointId;

fn point() -> RestorePoint {
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
        }],
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
        entry: Entry {
            key: format!("manifests/{id}.json").parse().unwrap(),
            id,
            digest,
            bytes: 4_000,
        },
        manifest: Manifest::parse(manifest.to_string().as_bytes()).unwrap(),
        verdict: Verdict::Trusted,
        signatures: Vec::new(),
    }
}

#[test]
fn a_manifest_reads_well_and_its_json_stays() {
    let shown = Shown::of(&point(), "2026-11-23T12:45:00Z".parse().unwrap());
    insta::assert_snapshot!("show_table", render(&shown, Format::Table, None).unwrap());
    insta::assert_snapshot!("show_json", render(&shown, Format::Json, None).unwrap());
}
