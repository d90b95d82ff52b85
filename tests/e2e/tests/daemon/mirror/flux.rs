//! Tests of a mirror beside Flux: never where Flux applies the files, and never in two places.

use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::butler::serve;
use e2e::git::{bare, git};
use e2e::run::Command;
use e2e::tools::{self, Tool};
use serde_json::{Value, json};

use super::{Cluster, Daemon, cause, mirrored, show};

/// Commits and pushes the files that Butler's server lets `flux bootstrap` write, made by Flux's own
/// generator.
async fn bootstrap(folder: &Path, bare: &Path, path: &str) -> Result<Vec<Value>> {
    let clone = folder.join("bootstrap");
    let from = bare.display().to_string();
    git(folder, &["clone", "--quiet", &from, "bootstrap"]).await?;
    let generator = Command::new(tools::path(Tool::FluxSync).await?).in_folder(&clone);
    let generator = generator.args(["-url", &format!("file://{from}"), "-path", path]);
    let written = generator.ended_with(0).await?.stdout;
    let file = format!("{path}/flux-system/gotk-sync.yaml");
    assert!(written.contains("flux-system/gotk-sync.yaml"), "{written}");
    let text = std::fs::read_to_string(clone.join(file))?;
    git(&clone, &["checkout", "--quiet", "-B", "main"]).await?;
    git(&clone, &["add", "."]).await?;
    git(
        &clone,
        &["commit", "--quiet", "-m", "Add Flux sync manifests"],
    )
    .await?;
    git(&clone, &["push", "--quiet", "origin", "main"]).await?;
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).context("no YAML")?;
    Ok(objects.into_iter().filter(Value::is_object).collect())
}

/// Returns the definition of a kind of Flux's, without its schema.
fn definition(group: &str, kind: &str, plural: &str) -> Value {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural, "singular": kind.to_lowercase() },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": schema },
            }],
        },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_refused_where_flux_applies() -> Result<()> {
    let cluster = Cluster::with_teams().await?;
    let folder = cluster.folder.make("git")?;
    let bare = bare(&folder, "fleet.git").await?;
    let objects = bootstrap(&folder, &bare, "clusters/management").await?;
    let before = git(&bare, &["rev-parse", "main"]).await?.stdout;
    let address = bare.display().to_string();

    // In Flux's folder, in one below it, and around it.
    for path in [
        "clusters/management",
        "clusters/management/backup",
        "clusters",
    ] {
        let config = cluster.config(&address, &format!("  path: {path}\n"));
        let daemon = Daemon::start(&cluster.site, &config, &[]).await?;
        let (_, mirror) = mirrored(&daemon).await?;
        let cause = cause(&mirror)?.to_owned();
        assert!(
            cause.contains(&format!("Flux applies {path} of the repository")),
            "{cause}"
        );
        assert!(cause.contains("clusters/management/flux-system"), "{cause}");
        daemon.stop().await?.ended_with(0)?;
        assert_eq!(git(&bare, &["rev-parse", "main"]).await?.stdout, before);
    }

    // Beside it, as by default.
    let daemon = Daemon::start(&cluster.site, &cluster.config(&address, ""), &[]).await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    assert_eq!(mirror["path"], "butler-backup/test");
    let team = "main:butler-backup/test/resources/teams.butler.butlerlabs.dev/search.yaml";
    assert!(show(&bare, team).await?.contains("Search"));

    // Until the cluster's own Kustomization covers that too.
    let namespace = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "flux-system" },
    });
    cluster
        .server
        .create("/api/v1/namespaces", &namespace)
        .await?;
    let kinds = [
        (
            "source.toolkit.fluxcd.io",
            "GitRepository",
            "gitrepositories",
        ),
        (
            "kustomize.toolkit.fluxcd.io",
            "Kustomization",
            "kustomizations",
        ),
    ];
    for (object, (group, kind, plural)) in objects.iter().zip(kinds) {
        assert_eq!(object["kind"], kind);
        serve(&cluster.server, &definition(group, kind, plural)).await?;
        let mut object = object.clone();
        if kind == "Kustomization" {
            assert_eq!(object["spec"]["path"], "./clusters/management");
            assert_eq!(object["spec"]["prune"], true);
        }
        let list = format!("/apis/{group}/v1/namespaces/flux-system/{plural}");
        cluster.server.create(&list, &object).await?;
        if kind == "Kustomization" {
            let (_, mirror) = mirrored(&daemon).await?;
            assert!(mirror["problem"].is_null(), "{mirror:#}");
            let path = format!("{list}/flux-system");
            object = cluster.server.read(&path).await?;
            object["spec"]["path"] = json!("./");
            cluster.server.replace(&path, &object).await?;
        }
    }
    cluster.rename("search", "Changed").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    let cause = cause(&mirror)?;
    assert!(
        cause.contains("its Kustomization flux-system/flux-system has the path ./"),
        "{cause}"
    );
    assert!(!show(&bare, team).await?.contains("Changed"));
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_at_the_old_place_is_moved_by_a_person() -> Result<()> {
    let cluster = Cluster::with_teams().await?;
    let folder = cluster.folder.make("git")?;
    let bare = bare(&folder, "fleet.git").await?;
    let address = bare.display().to_string();
    let old = cluster.config(&address, "  path: clusters/management\n");
    let daemon = Daemon::start(&cluster.site, &old, &[]).await?;
    mirrored(&daemon).await?;
    daemon.stop().await?.ended_with(0)?;
    let before = git(&bare, &["rev-parse", "main"]).await?.stdout;

    let daemon = Daemon::start(&cluster.site, &cluster.config(&address, ""), &[]).await?;
    let (_, mirror) = mirrored(&daemon).await?;
    let told = cause(&mirror)?;
    for part in [
        "clusters/management",
        "butler-backup/test",
        "An older mirror",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert_eq!(git(&bare, &["rev-parse", "main"]).await?.stdout, before);

    // As the documentation says.
    git(&folder, &["clone", "--quiet", &address, "mover"]).await?;
    let mover = folder.join("mover");
    std::fs::create_dir_all(mover.join("butler-backup/test"))?;
    let parts = ["clusters/management/crds", "clusters/management/resources"];
    let to = "butler-backup/test/";
    git(&mover, &["mv", parts[0], parts[1], to]).await?;
    git(&mover, &["commit", "--quiet", "-m", "Move the mirror"]).await?;
    git(&mover, &["push", "--quiet"]).await?;
    cluster.rename("search", "Found").await?;
    let (_, mirror) = mirrored(&daemon).await?;
    assert!(mirror["problem"].is_null(), "{mirror:#}");
    let team = "resources/teams.butler.butlerlabs.dev/search.yaml";
    assert!(
        show(&bare, &format!("main:butler-backup/test/{team}"))
            .await?
            .contains("Found")
    );
    let files = git(&bare, &["ls-tree", "-r", "--name-only", "main"])
        .await?
        .stdout;
    assert!(!files.contains("clusters/"), "{files}");
    daemon.stop().await?.ended_with(0)?;
    Ok(())
}
