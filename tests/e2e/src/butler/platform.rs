//! Platform that every Butler cluster has before its first tenant: namespaces, settings, teams, people,
//! providers, addons, and Secrets that must be kept or must not.

use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use serde_json::{Value, json};

use super::scene::{self, Kind, SECRET, Scene, condition, text};
use super::{FOREIGN, SEALING, STEWARD, SYSTEM, TEAM, TENANTS};
use crate::wait;

/// Time limit. The controllers fill a token within a second; a machine that compiles next to them is slow.
const TOKEN_WITHIN: Duration = Duration::from_secs(120);

/// Returns the metadata that Helm writes on the objects of its release.
fn helm(release: &str) -> Value {
    json!({
        "labels": { "app.kubernetes.io/managed-by": "Helm" },
        "annotations": {
            "meta.helm.sh/release-name": release,
            "meta.helm.sh/release-namespace": SYSTEM,
        },
    })
}

/// Returns the metadata that Flux writes on the objects of a Kustomization.
fn flux() -> Value {
    json!({ "labels": {
        "kustomize.toolkit.fluxcd.io/name": "infrastructure",
        "kustomize.toolkit.fluxcd.io/namespace": SEALING,
    }})
}

fn finalizer(kind: &str) -> Value {
    json!({ "finalizers": [format!("butler.butlerlabs.dev/{kind}")] })
}

/// Makes the namespaces; everything else stands in them.
pub(super) async fn namespaces(scene: Scene<'_>) -> Result<()> {
    let all = [SYSTEM, TENANTS, STEWARD, SEALING, FOREIGN].map(|name| (name, json!({})));
    let team = json!({ "metadata": { "labels": {
        "app.kubernetes.io/managed-by": "butler",
        "butler.butlerlabs.dev/team": TEAM,
    }}});
    let all = all.into_iter().chain([(TEAM, team)]);
    try_join_all(all.map(|(name, body)| scene.make(scene::NAMESPACE, "", name, body))).await?;
    Ok(())
}

/// Makes the rest.
pub(super) async fn furnish(scene: Scene<'_>) -> Result<()> {
    tokio::try_join!(
        secrets(scene),
        kept_out(scene),
        settings(scene),
        people(scene),
        providers(scene),
        network(scene),
        addons(scene),
        config_maps(scene),
    )?;
    Ok(())
}

/// Makes Secrets of Butler itself.
async fn secrets(scene: Scene<'_>) -> Result<()> {
    let word = |of: &str| scene.canaries.word(of);
    let harvester = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "harvester",
        "users": [{ "name": "harvester", "user": { "token": word("harvester") } }],
    })
    .to_string();
    let release = json!({ "name": "butler-controller", "config": { "jwt": word("helm") } });
    let release = STANDARD.encode(release.to_string());
    let middle = release.len() / 2;
    let part = release
        .get(middle..middle + 40)
        .context("a short release")?;
    scene.canaries.add(part.to_owned());
    let owned_by_helm = json!({ "labels": {
        "owner": "helm", "name": "butler-controller", "status": "deployed", "version": "1",
    }});
    let password = format!("$2a$10${}", word("alice"));
    let (image_key, git, deploy_key) = (word("image-factory"), word("gitops"), word("flux"));
    let (admin, jwt, nutanix) = (word("console"), word("jwt"), word("nutanix"));
    scene
        .opaque(
            SYSTEM,
            "harvester-kubeconfig",
            &[("kubeconfig", &harvester)],
        )
        .await?;
    scene
        .opaque(
            SYSTEM,
            "butler-console-admin",
            &[("admin-password", &admin)],
        )
        .await?;
    scene
        .opaque(SYSTEM, "butler-console-jwt", &[("jwt-secret", &jwt)])
        .await?;
    scene
        .opaque(
            SYSTEM,
            "butler-user-alice-password",
            &[("password", &password)],
        )
        .await?;
    scene
        .opaque(SYSTEM, "butler-gitops-credentials", &[("token", &git)])
        .await?;
    scene
        .opaque(SYSTEM, "image-factory-key", &[("apiKey", &image_key)])
        .await?;
    scene
        .opaque(
            SEALING,
            "flux-system",
            &[("password", &deploy_key), ("username", "git")],
        )
        .await?;
    scene
        .opaque(
            FOREIGN,
            "nutanix-credentials",
            &[("password", &nutanix), ("username", "butler")],
        )
        .await?;
    scene
        .secret(
            SYSTEM,
            "sh.helm.release.v1.butler-controller.v1",
            "helm.sh/release.v1",
            owned_by_helm,
            &[("release", &release)],
        )
        .await?;
    Ok(())
}

/// Makes Secrets that no backup may hold, or that nothing of Butler refers to.
async fn kept_out(scene: Scene<'_>) -> Result<()> {
    let unrelated = scene.canaries.word("unrelated");
    let token = scene.canaries.digits::<8>();
    scene
        .secret(
            "kube-system",
            "bootstrap-token-0123ab",
            "bootstrap.kubernetes.io/token",
            json!({}),
            &[("token-id", "0123ab"), ("token-secret", &token)],
        )
        .await?;
    scene
        .opaque(FOREIGN, "unrelated", &[("password", &unrelated)])
        .await?;
    service_account_token(scene).await
}

/// Makes a service account, and a Secret that the controllers fill with a token of it.
async fn service_account_token(scene: Scene<'_>) -> Result<()> {
    let (kind, name) = (scene::SERVICE_ACCOUNT, "butler-console");
    scene.make(kind, SYSTEM, name, json!({})).await?;
    let body = json!({
        "type": "kubernetes.io/service-account-token",
        "metadata": { "annotations": { "kubernetes.io/service-account.name": name } },
    });
    let name = "butler-console-token";
    scene.make(SECRET, SYSTEM, name, body).await?;
    let path = SECRET.object(SYSTEM, name);
    let filled = wait::until("a service account's token", TOKEN_WITHIN, async || {
        let secret = scene.server.read(&path).await?;
        text(&secret, "/data/token").map(str::to_owned)
    });
    let token = STANDARD.decode(filled.await?).context("reading a token")?;
    let token = String::from_utf8(token).context("reading a token")?;
    // The last part of the three: the signature.
    let signature = token.rsplit('.').next().context("an empty token")?;
    scene.canaries.add(signature.to_owned());
    Ok(())
}

async fn settings(scene: Scene<'_>) -> Result<()> {
    let reference =
        |name: &str, key: &str| json!({ "name": name, "namespace": SYSTEM, "key": key });
    let config = json!({
        "metadata": helm("butler-addons"),
        "spec": {
            "multiTenancy": { "mode": "Optional" },
            "defaultNamespace": TENANTS,
            "defaultProviderConfigRef": { "name": "harvester", "namespace": SYSTEM },
            "gitProvider": {
                "type": "github",
                "url": "https://git.example",
                "organization": "example",
                "secretRef": reference("butler-gitops-credentials", "token"),
            },
            "imageFactory": {
                "url": "https://factory.example",
                "credentialsRef": reference("image-factory-key", "apiKey"),
            },
            "controlPlaneExposure": { "mode": "LoadBalancer" },
        },
        "status": { "teamCount": 1, "clusterCount": 2, "controlPlaneExposureMode": "LoadBalancer" },
    });
    scene
        .make(scene::BUTLER_CONFIG, "", "butler", config)
        .await?;
    Ok(())
}

async fn people(scene: Scene<'_>) -> Result<()> {
    let team = json!({
        "metadata": finalizer("team"),
        "spec": {
            "displayName": "Payments",
            "access": { "users": [{ "name": "alice", "role": "admin" }] },
            "resourceLimits": { "maxClusters": 5 },
        },
        "status": { "phase": "Ready", "namespace": TEAM, "clusterCount": 1, "memberCount": 1 },
    });
    let alice = json!({
        "metadata": finalizer("user"),
        "spec": { "email": "alice@example.org", "displayName": "Alice", "authType": "internal" },
        "status": {
            "phase": "Active",
            "passwordSecretRef": {
                "name": "butler-user-alice-password", "namespace": SYSTEM, "key": "password",
            },
            "teams": [{ "name": TEAM, "role": "admin" }],
            "loginCount": 17,
        },
    });
    let bob = json!({
        "metadata": finalizer("user"),
        "spec": {
            "email": "bob@example.org",
            "authType": "sso",
            "ssoProvider": "example",
            "ssoSubject": "00u1",
            "isPlatformAdmin": true,
        },
        "status": { "phase": "Active", "lastSeenGroups": ["platform"] },
    });
    tokio::try_join!(
        scene.make(scene::TEAM, "", TEAM, team),
        scene.make(scene::USER, "", "alice", alice),
        scene.make(scene::USER, "", "bob", bob),
    )?;
    Ok(())
}

async fn providers(scene: Scene<'_>) -> Result<()> {
    let status =
        json!({ "ready": true, "validated": true, "conditions": [condition("Ready", "Probed")] });
    let harvester = json!({
        "metadata": finalizer("providerconfig"),
        "spec": {
            "provider": "harvester",
            "credentialsRef": {
                "name": "harvester-kubeconfig", "namespace": SYSTEM, "key": "kubeconfig",
            },
            "harvester": { "namespace": "default", "networkName": "default/vlan40" },
            "network": { "mode": "ipam", "poolRefs": [{ "name": "lab", "priority": 1 }] },
        },
        "status": &status,
    });
    let nutanix = json!({
        "metadata": finalizer("providerconfig"),
        "spec": {
            "provider": "nutanix",
            "credentialsRef": { "name": "nutanix-credentials", "namespace": FOREIGN },
            "nutanix": { "endpoint": "https://prism.example:9440" },
            "scope": { "type": "team", "teamRef": { "name": TEAM } },
        },
        "status": &status,
    });
    tokio::try_join!(
        scene.make(scene::PROVIDER_CONFIG, SYSTEM, "harvester", harvester),
        scene.make(scene::PROVIDER_CONFIG, TEAM, "nutanix", nutanix),
    )?;
    Ok(())
}

async fn network(scene: Scene<'_>) -> Result<()> {
    let pool = json!({
        "metadata": finalizer("networkpool"),
        "spec": {
            "cidr": "10.40.0.0/16",
            "reserved": [{ "cidr": "10.40.0.0/24", "description": "machines" }],
            "tenantAllocation": { "start": "10.40.4.0", "end": "10.40.40.255" },
        },
        "status": {
            "totalIPs": 9472, "allocatedIPs": 26, "availableIPs": 9446, "allocationCount": 4,
            "infrastructureAllocations": [{ "name": "ingress", "address": "10.40.1.1" }],
        },
    });
    scene.make(scene::NETWORK_POOL, SYSTEM, "lab", pool).await?;
    Ok(())
}

async fn addons(scene: Scene<'_>) -> Result<()> {
    let definition = |name: &str, metadata: Value| {
        json!({
            "metadata": metadata,
            "spec": {
                "displayName": name,
                "description": format!("{name} for tenants"),
                "category": "networking",
                "chart": { "repository": "https://charts.example", "name": name, "defaultVersion": "1.17.0" },
                "defaults": { "values": { "ipam": { "mode": "kubernetes" } } },
                "platform": true,
            },
        })
    };
    let release = json!({ "name": "cert-manager", "namespace": "cert-manager", "revision": 1, "status": "deployed" });
    let management = json!({
        "metadata": { "finalizers": ["managementaddon.butler.butlerlabs.dev/finalizer"] },
        "spec": { "addon": "cert-manager", "version": "1.16.2", "paused": false },
        "status": {
            "phase": "Installed",
            "installedVersion": "1.16.2",
            "lastAttemptedVersion": "1.16.2",
            "helmRelease": release,
        },
    });
    let make = |kind: Kind, name: &'static str, body: Value| scene.make(kind, "", name, body);
    tokio::try_join!(
        make(
            scene::ADDON_DEFINITION,
            "cilium",
            definition("cilium", helm("butler-addons"))
        ),
        make(
            scene::ADDON_DEFINITION,
            "metallb",
            definition("metallb", flux())
        ),
        make(scene::MANAGEMENT_ADDON, "cert-manager", management),
    )?;
    Ok(())
}

async fn config_maps(scene: Scene<'_>) -> Result<()> {
    let gitops = json!({ "data": { "repository": "https://git.example/example/clusters" } });
    let settings = json!({ "metadata": flux(), "data": { "CLUSTER_NAME": "management" } });
    tokio::try_join!(
        scene.make(scene::CONFIG_MAP, SYSTEM, "butler-gitops-config", gitops),
        scene.make(scene::CONFIG_MAP, SEALING, "cluster-settings", settings),
    )?;
    Ok(())
}
