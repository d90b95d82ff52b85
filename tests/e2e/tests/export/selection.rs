//! Tests of the selection: it means the same on the command line and in the file, and invalid values are
//! refused.

use anyhow::Result;
use serde_json::json;

use super::kube::Definition;
use super::site::{EXPORT, ExportSite};

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_the_file_select_the_same() -> Result<()> {
    let site = ExportSite::new().await?;
    let kube = site.kube();
    let group = "select.example.com";
    let teams = Definition::new("teams", group);
    let apps = Definition::new("apps", group).namespaced();
    let jobs = Definition::new("jobs", group).namespaced();
    for kind in [&teams, &apps, &jobs] {
        kube.define(&kind.object()).await?;
    }
    for color in ["blue", "red"] {
        let metadata = json!({ "name": color, "labels": { "team": color } });
        let rest = json!({ "metadata": metadata });
        kube.create(&teams.objects(None), &teams.example(color, &rest))
            .await?;
        for namespace in ["select-a", "select-b"] {
            if color == "blue" {
                kube.namespace(namespace).await?;
            }
            for kind in [&apps, &jobs] {
                let objects = kind.objects(Some(namespace));
                kube.create(&objects, &kind.example(color, &rest)).await?;
            }
        }
    }
    let all = format!("teams.{group},apps.{group},jobs.{group}");
    let path = |kind: &Definition, place: &str| format!("resources/{}/{place}.json", kind.name());
    for (flags, file, expected) in [
        (
            vec![
                "--include-resources",
                &all,
                "--include-namespaces",
                "select-a",
            ],
            format!("  include-resources: [{all}]\n  include-namespaces: [select-a]\n"),
            vec![
                path(&apps, "namespaces/select-a/blue"),
                path(&apps, "namespaces/select-a/red"),
                path(&jobs, "namespaces/select-a/blue"),
                path(&jobs, "namespaces/select-a/red"),
            ],
        ),
        (
            vec![
                "--include-resources",
                &all,
                "--exclude-namespaces=select-b",
                "--exclude-resources=jobs",
                "--selector=team=blue",
            ],
            format!(
                "  include-resources: [{all}]\n  exclude-namespaces: [select-b]\n  \
                 exclude-resources: [jobs]\n  selector: team=blue\n"
            ),
            vec![
                path(&apps, "namespaces/select-a/blue"),
                path(&teams, "cluster/blue"),
            ],
        ),
        (
            vec![
                "--include-resources",
                &all,
                "--include-namespaces=select-b",
                "--include-cluster-resources",
                "-l",
                "team in (red)",
            ],
            format!(
                "  include-resources: [{all}]\n  include-namespaces: [select-b]\n  \
                 include-cluster-resources: true\n  selector: team in (red)\n"
            ),
            vec![
                path(&apps, "namespaces/select-b/red"),
                path(&jobs, "namespaces/select-b/red"),
                path(&teams, "cluster/red"),
            ],
        ),
        (
            vec![
                "--include-resources",
                &all,
                "--include-cluster-resources=false",
                "-l",
                "team!=red",
            ],
            format!(
                "  include-resources: [{all}]\n  include-cluster-resources: false\n  \
                 selector: team!=red\n"
            ),
            vec![
                path(&apps, "namespaces/select-a/blue"),
                path(&apps, "namespaces/select-b/blue"),
                path(&jobs, "namespaces/select-a/blue"),
                path(&jobs, "namespaces/select-b/blue"),
            ],
        ),
    ] {
        site.configure("")?;
        let flags = [&["--component", EXPORT][..], &flags].concat();
        site.taken(&site.snapshot(&flags), 0).await?;
        assert_eq!(site.paths("resources").await?, expected, "{flags:?}");
        site.configure(&file)?;
        site.taken(&site.snapshot(&["--component", EXPORT]), 0)
            .await?;
        assert_eq!(site.paths("resources").await?, expected, "{file}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_is_the_same_by_any_of_its_names() -> Result<()> {
    let site = ExportSite::new().await?;
    site.kube().namespace("select-names").await?;
    // Nothing refers to them: they are taken because they are requested.
    site.kube().secret("select-names", "one", "Opaque").await?;
    site.kube().config_map("select-names", "two").await?;
    for kinds in ["secrets,configmaps", "Secret,ConfigMap"] {
        let flags = [
            "--component",
            "secrets",
            "--include-namespaces=select-names",
            "--include-resources",
            kinds,
        ];
        site.taken(&site.snapshot(&flags), 0).await?;
        let paths = site.paths("secrets").await?;
        let expected = [
            "resources/configmaps/namespaces/select-names/two.json",
            "resources/secrets/namespaces/select-names/one.json",
        ];
        assert_eq!(paths, expected, "{kinds}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_that_cannot_be_meant_is_refused() -> Result<()> {
    let site = ExportSite::new().await?;
    let mut told = Vec::new();
    for flags in [
        &["--include-namespaces", "a,b", "--exclude-namespaces", "b"][..],
        &["--include-namespaces", "No Such"],
        &["--include-resources", "pods/exec"],
        &["--exclude-resources", ""],
        &["--selector", " "],
        &["--selector", "team in blue"],
        &["--include-cluster-resources=perhaps"],
    ] {
        let flags = [&["--component", EXPORT][..], flags].concat();
        let refused = site.snapshot(&flags).ended_with(2).await?;
        told.push(refused.stderr);
    }
    for file in [
        "  include-namespaces: [a, b]\n  exclude-namespaces: [b]\n",
        "  include-namespaces: [No Such]\n",
        "  exclude-resources: [a/b]\n",
        "  selector: ''\n",
        "  selector: team in blue\n",
        "  include-cluster-resources: perhaps\n",
        "  include-namespace: [a]\n",
    ] {
        site.configure(file)?;
        let refused = site.snapshot(&["--component", EXPORT]).output().await?;
        told.push(refused.ended_with(2)?.stderr);
    }
    insta::assert_snapshot!(told.join("\n"));
    assert!(
        !site.folder.join("store/manifests").exists(),
        "nothing was begun"
    );
    Ok(())
}
