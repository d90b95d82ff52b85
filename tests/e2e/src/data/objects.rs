//! Many custom resources of one kind, as an API server stores them. They are put straight into its etcd,
//! which takes seconds where a hundred thousand requests would take many minutes.

use anyhow::{Context, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use super::text;
use crate::etcd::Etcd;
use crate::kube_apiserver::KubeApiserver;

/// API version of the kind, from the lab's own definitions.
const API_VERSION: &str = "butler.butlerlabs.dev/v1alpha1";
/// Prefix of the kind's keys in the etcd of an API server.
const PREFIX: &str = "/registry/butler.butlerlabs.dev/tenantaddons";
/// Path of the kind at an API server, over all namespaces.
pub const LIST: &str = "/apis/butler.butlerlabs.dev/v1alpha1/tenantaddons";
/// Number of objects in each namespace.
const PER_NAMESPACE: usize = 150;
/// Bytes of settings in each object; with its metadata it has about 1.5 KB.
const TEXT: usize = 700;

/// Number of concurrent requests to the API server; more would only wait for etcd.
const AT_ONCE: usize = 8;

/// Fills `server`, which runs on `etcd` and knows the kind, with `count` TenantAddons of about 1.5 KB. It
/// serves them as if they were made through it; their namespaces are made through it.
///
/// # Errors
/// The server or etcd refused a write.
pub async fn fill(server: &KubeApiserver, etcd: &Etcd, count: usize, seed: u64) -> Result<()> {
    let namespaces = (0..count).step_by(PER_NAMESPACE).map(|number| async move {
        let object = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": namespace(number) },
        });
        server.create("/api/v1/namespaces", &object).await.map(drop)
    });
    stream::iter(namespaces)
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let client = etcd.client().await?;
    let mut random = StdRng::seed_from_u64(seed);
    let entries = (0..count).map(|number| {
        let (namespace, name) = (namespace(number), name(number));
        let key = format!("{PREFIX}/{namespace}/{name}");
        (key, value(&namespace, &name, &mut random))
    });
    super::write(&client, entries)
        .await
        .with_context(|| format!("writing {count} custom resources"))?;
    Ok(())
}

/// Returns the path of object `number` at an API server.
#[must_use]
pub fn path(number: usize) -> String {
    let (namespace, name) = (namespace(number), name(number));
    format!("/apis/{API_VERSION}/namespaces/{namespace}/tenantaddons/{name}")
}

fn namespace(number: usize) -> String {
    format!("tenant-{:04}", number / PER_NAMESPACE)
}

fn name(number: usize) -> String {
    format!("addon-{number:06}")
}

fn value(namespace: &str, name: &str, random: &mut StdRng) -> Vec<u8> {
    let uid = text::uid(random);
    let revision: u32 = random.random_range(1..40);
    let object = json!({
        "apiVersion": API_VERSION,
        "kind": "TenantAddon",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid,
            "generation": 1,
            "creationTimestamp": "2026-08-30T07:15:00Z",
            "labels": { "app.kubernetes.io/managed-by": "butler" },
            "finalizers": ["butler.butlerlabs.dev/tenantaddon"],
            "managedFields": [{
                "apiVersion": API_VERSION,
                "fieldsType": "FieldsV1",
                "fieldsV1": { "f:status": { "f:installedVersion": {}, "f:phase": {} } },
                "manager": "butler-controller",
                "operation": "Update",
                "subresource": "status",
                "time": "2026-08-30T07:16:00Z",
            }],
        },
        "spec": {
            "addon": "cilium",
            "clusterRef": { "name": namespace },
            "version": "1.17.0",
            "values": { "text": text::prose(random, TEXT) },
        },
        "status": {
            "phase": "Installed",
            "installedVersion": "1.17.0",
            "helmRelease": { "name": name, "namespace": "kube-system", "revision": revision },
        },
    });
    object.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_about_one_and_a_half_kilobytes_and_is_the_same_each_time() {
        let make = || value("tenant-0000", "addon-000001", &mut StdRng::seed_from_u64(7));
        let bytes = make();
        assert!((1_300..1_700).contains(&bytes.len()), "{}", bytes.len());
        assert_eq!(bytes, make());
    }
}
