//! Tests of other sources of a restore: a Git repository made by the real `git`, and a tarball in Velero's
//! layout, each onto a fresh cluster with a garbage collector at work.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use e2e::fresh::Fresh;
use e2e::run::{Command, Output, tells};
use e2e::site::ButlerSite;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::compare::{compare, nothing_to_do, same};
use super::rebuild::skipped;

const COMPONENTS: [&str; 5] = [
    "crds",
    "resources",
    "secrets",
    "sealed-secrets",
    "kubeconfigs",
];
const TEAM: &str = "resources/teams.butler.butlerlabs.dev/";

/// Returns every object of the newest restore point, by its path.
pub(crate) async fn objects(site: &ButlerSite) -> Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for component in COMPONENTS {
        let file = site.fetched(component).await?;
        let mut archive = tar::Archive::new(std::fs::File::open(&file)?);
        for entry in archive.entries()? {
            let entry = entry?;
            let path = String::from_utf8(entry.path_bytes().into_owned())?;
            if path.starts_with("resources/") {
                found.insert(path, serde_json::from_reader(entry)?);
            }
        }
    }
    Ok(found)
}

pub(crate) async fn git(folder: &Path, args: &[&str]) -> Result<Output> {
    let command = Command::new("git").arg("-C").arg(folder);
    let command = command.env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
    let command = command.args(["-c", "user.name=Test", "-c", "user.email=test@example.org"]);
    command.args(args).output().await?.ended_with(0)
}

/// Makes a repository in Butler's layout with people's versions of the archive's custom resources.
pub(crate) async fn repository(folder: &Path, objects: &BTreeMap<String, Value>) -> Result<()> {
    let management = folder.join("clusters/management");
    let infrastructure = management.join("infrastructure");
    std::fs::create_dir_all(&infrastructure)?;
    let mut text = String::new();
    for (path, object) in objects {
        let custom =
            path.contains(".butler.butlerlabs.dev/") || path.contains("/namespaces/cluster/");
        let metadata = &object["metadata"];
        if !custom || path.contains("/customresourcedefinitions.") {
            continue;
        }
        let mut object = object.clone();
        let metadata = json!({
            "name": metadata["name"], "namespace": metadata["namespace"],
            "labels": metadata["labels"], "annotations": metadata["annotations"],
        });
        let fields = object.as_object_mut().context("no object")?;
        fields.remove("status");
        fields.insert("metadata".to_owned(), metadata);
        if path.starts_with(TEAM) {
            object["metadata"]["labels"] = json!({ "from": "git" });
        }
        // JSON is valid YAML.
        text.push_str(&format!("---\n{object:#}\n"));
    }
    std::fs::write(management.join("butler.yaml"), text)?;
    std::fs::write(management.join("values.yaml"), "replicas: 3\n")?;
    std::fs::write(
        infrastructure.join("kustomization.yaml"),
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: butler-system\n\
         resources: [extra.yaml]\n",
    )?;
    std::fs::write(
        infrastructure.join("extra.yaml"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: only-in-git}\ndata: {a: b}\n",
    )?;
    // A base beside its overlay.
    for (file, text) in [
        ("base/kustomization.yaml", "resources: [map.yaml]\n"),
        (
            "base/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: in-base}\n",
        ),
        (
            "overlay/kustomization.yaml",
            "namespace: butler-system\nresources: [../base]\n",
        ),
    ] {
        let file = management.join("apps").join(file);
        std::fs::create_dir_all(file.parent().context("no folder")?)?;
        std::fs::write(file, text)?;
    }
    git(folder, &["init", "--quiet", "--initial-branch=main"]).await?;
    git(folder, &["add", "."]).await?;
    git(folder, &["commit", "--quiet", "-m", "The fleet"]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn git_has_the_spec_and_the_archive_the_rest() -> Result<()> {
    let site = ButlerSite::saved("git").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let objects = objects(&site).await?;
    let fleet = site.folder.join("fleet");
    repository(&fleet, &objects).await?;
    let from = ["--mode", "rebuild", "--from", "git:fleet#main"];
    let planned = site.plan(&kubeconfig, &from).await?.ended_with(0)?.json()?;
    let findings = planned["plan"]["findings"].to_string();
    for told in [
        "in Git, not in the archive",
        "values.yaml",
        "metadata.labels.from",
    ] {
        assert!(findings.contains(told), "{told}: {findings}");
    }
    // The branch moves: the plan is of another commit.
    let before = git(&fleet, &["rev-parse", "HEAD"]).await?.stdout;
    git(
        &fleet,
        &["commit", "--quiet", "--allow-empty", "-m", "More"],
    )
    .await?;
    let after = git(&fleet, &["rev-parse", "HEAD"]).await?.stdout;
    let moved = site.restore(&kubeconfig).ended_with(6).await?;
    tells(&moved, &[before.trim(), after.trim()]);
    let planned = site.plan(&kubeconfig, &from).await?.ended_with(0)?.json()?;
    site.restored(&kubeconfig).await?;

    let compared = compare(&site, &kubeconfig, &skipped(&planned)).await?;
    let others = compared.differences.iter().filter(|d| !d.starts_with(TEAM));
    assert_eq!(others.count(), 0, "{:#?}", compared.differences);
    assert!(!compared.differences.is_empty(), "Git changed nothing");
    compared.has_status_and_owners();
    for team in site
        .listed(&kubeconfig, "teams.butler.butlerlabs.dev")
        .await?
    {
        assert_eq!(team["metadata"]["labels"]["from"], "git", "{team:#}");
    }
    let maps = site.listed(&kubeconfig, "configmaps").await?;
    let made = maps.iter().find(|m| m["metadata"]["name"] == "only-in-git");
    assert_eq!(
        made.context("not made")?["metadata"]["namespace"],
        "butler-system"
    );

    // The base is a part of its overlay, and nothing on its own.
    let bases = maps.iter().filter(|m| m["metadata"]["name"] == "in-base");
    let namespaces: Vec<&Value> = bases.map(|m| &m["metadata"]["namespace"]).collect();
    assert_eq!(namespaces, [&json!("butler-system")]);

    // Fields that the server filled in are not a difference.
    let again = site.plan(&kubeconfig, &from).await?.ended_with(0)?.json()?;
    nothing_to_do(&again)?;
    Ok(())
}

/// Makes a tarball as Velero writes it: each object twice, long names in a pax record.
pub(crate) fn tarball(file: &Path, version: &str, objects: &BTreeMap<String, Value>) -> Result<()> {
    let packed = GzEncoder::new(std::fs::File::create(file)?, Compression::fast());
    let mut builder = tar::Builder::new(packed);
    let mut add = |path: &str, bytes: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o755);
        header.set_size(bytes.len().try_into()?);
        if path.len() > 100 {
            builder.append_pax_extensions([("path", path.as_bytes())])?;
            header.set_path("short")?;
        } else {
            header.set_path(path)?;
        }
        header.set_cksum();
        builder.append(&header, bytes)?;
        Ok(())
    };
    add("metadata/version", version.as_bytes())?;
    for (path, object) in objects {
        let text = object.to_string();
        let version = object["apiVersion"].as_str().context("no version")?;
        let version = version.rsplit('/').next().unwrap_or_default();
        let parts: Vec<&str> = path.splitn(3, '/').collect();
        add(path, text.as_bytes())?;
        let second = format!(
            "resources/{}/{version}-preferredversion/{}",
            parts[1], parts[2]
        );
        add(&second, text.as_bytes())?;
    }
    builder.into_inner()?.finish()?.flush()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_velero_backup_comes_back_with_status_and_owners() -> Result<()> {
    let site = ButlerSite::saved("velero").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let objects = objects(&site).await?;
    let backup = site.folder.join("nightly");
    std::fs::create_dir(&backup)?;
    let file = backup.join("nightly.tar.gz");
    tarball(&file, "1.1.0\n", &objects)?;
    let described = json!({ "status": { "phase": "Completed" } });
    std::fs::write(backup.join("velero-backup.json"), described.to_string())?;
    let from = ["--mode", "rebuild", "--from", "velero:nightly"];
    let planned = site.plan(&kubeconfig, &from).await?.ended_with(0)?.json()?;

    // Another tarball under the same name.
    let kept = std::fs::read(&file)?;
    tarball(&file, "1", &objects)?;
    let changed = site.restore(&kubeconfig).ended_with(6).await?;
    tells(&changed, &["SHA-256"]);
    std::fs::write(&file, kept)?;

    site.restored(&kubeconfig).await?;
    let compared = same(&site, &kubeconfig, &skipped(&planned)).await?;
    compared.has_status_and_owners();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_source_is_refused_with_its_reason() -> Result<()> {
    let site = ButlerSite::saved("badsource").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let kubeconfig = fresh.kubeconfig();
    let folder = site.folder.path();
    std::fs::create_dir(folder.join("empty"))?;
    std::fs::write(folder.join("text.tar.gz"), "no gzip")?;
    tarball(&folder.join("two.tar.gz"), "2.0.0", &BTreeMap::new())?;
    std::fs::create_dir(folder.join("fleet"))?;
    std::fs::write(folder.join("fleet/a.yaml"), "a: b\n")?;
    git(
        &folder.join("fleet"),
        &["init", "--quiet", "--initial-branch=main"],
    )
    .await?;
    git(&folder.join("fleet"), &["add", "."]).await?;
    git(
        &folder.join("fleet"),
        &["commit", "--quiet", "-m", "Nothing"],
    )
    .await?;
    for (from, code, said) in [
        ("velero:missing", 2, "cannot read"),
        ("velero:empty", 2, "no NAME.tar.gz"),
        ("velero:text.tar.gz", 4, "is damaged"),
        ("velero:two.tar.gz", 6, "format 2.0.0"),
        ("git:missing", 1, "cannot read missing"),
        ("git:empty", 1, "find a repository in"),
        ("git:fleet#nowhere", 1, "find nowhere of"),
        (
            "git:https://user:word@example.org/x",
            2,
            "credential helper",
        ),
        ("git:ext::sh", 2, "only file, http, https and ssh"),
        ("tape:x", 2, "want archive"),
    ] {
        let plan = site
            .plan(&kubeconfig, &["--mode", "rebuild", "--from", from])
            .await?;
        let plan = plan.ended_with(code)?;
        tells(&plan, &[said]);
        assert!(!plan.stderr.contains("word@"), "{}", plan.stderr);
    }
    let path = [
        "--mode",
        "rebuild",
        "--from",
        "git:fleet",
        "--git-path",
        "clusters/other",
    ];
    let nowhere = site.plan(&kubeconfig, &path).await?.ended_with(5)?;
    tells(&nowhere, &["no folder clusters/other"]);
    // Without status nothing is made that would hurt a tenant.
    let mut objects = objects(&site).await?;
    objects.retain(|path, object| {
        object.as_object_mut().map(|o| o.remove("status"));
        !path.contains("/secrets/")
    });
    tarball(&folder.join("bare.tar.gz"), "1.1.0", &objects)?;
    let from = ["--mode", "rebuild", "--from", "velero:bare.tar.gz"];
    let bare = site.plan(&kubeconfig, &from).await?.ended_with(6)?;
    let harm = "without it a second tenant, with machines of its own, is made";
    assert!(bare.stdout.contains(harm), "{}", bare.stdout);
    Ok(())
}
