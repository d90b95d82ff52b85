//! Tests of programs around a restore: no program that a repository names is run, and the programs that are
//! run get none of our environment.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use e2e::folder::set_mode;
use e2e::fresh::Fresh;
use e2e::git::GitHost;
use e2e::run::Command;
use e2e::site::ButlerSite;
use tokio::net::TcpListener;

use super::sources::git;

/// Programs that a repository's own settings can name. Each writes its name to the file `marks`.
const NAMED: [(&str, &str); 12] = [
    ("filter.mark.clean", "clean"),
    ("filter.mark.smudge", "smudge"),
    ("filter.mark.process", "process"),
    ("core.fsmonitor", "fsmonitor"),
    ("core.sshCommand", "ssh"),
    ("core.alternateRefsCommand", "alternates"),
    ("uploadpack.packObjectsHook", "pack"),
    ("diff.external", "diff"),
    ("diff.mark.textconv", "textconv"),
    ("core.pager", "pager"),
    ("credential.helper", "helper"),
    ("core.gitProxy", "proxy"),
];
const HOOKS: [&str; 6] = [
    "post-checkout",
    "post-index-change",
    "reference-transaction",
    "pre-auto-gc",
    "post-rewrite",
    "fsmonitor-watchman",
];

fn script(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, format!("#!/bin/sh\n{text}\n"))?;
    set_mode(path, 0o755)
}

/// Makes a repository of one team, whose settings, hooks and attributes all name programs.
async fn hostile(folder: &Path, marks: &Path) -> Result<PathBuf> {
    let fleet = folder.join("fleet");
    let management = fleet.join("clusters/management");
    std::fs::create_dir_all(management.join("app"))?;
    std::fs::write(
        fleet.join(".gitattributes"),
        "*.yaml filter=mark diff=mark\n",
    )?;
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: default}}\n")
    };
    std::fs::write(management.join("map.yaml"), map("plain"))?;
    std::fs::write(
        management.join("app/kustomization.yaml"),
        "resources: [map.yaml]\n",
    )?;
    std::fs::write(management.join("app/map.yaml"), map("built"))?;
    git(&fleet, &["init", "--quiet", "--initial-branch=main"]).await?;
    git(&fleet, &["add", "."]).await?;
    git(&fleet, &["commit", "--quiet", "-m", "The fleet"]).await?;

    let mark = |name: &str| format!("echo {name} >> {}\ncat", marks.display());
    let bin = folder.join("hostile");
    std::fs::create_dir_all(&bin)?;
    let mut included = String::new();
    for (setting, name) in NAMED {
        let path = bin.join(name);
        script(&path, &mark(name))?;
        git(&fleet, &["config", setting, &path.display().to_string()]).await?;
        let (section, key) = setting.rsplit_once('.').context("no section")?;
        let section =
            section.replacen('.', " \"", 1) + if section.contains('.') { "\"" } else { "" };
        included.push_str(&format!("[{section}]\n\t{key} = {}\n", path.display()));
    }
    std::fs::write(fleet.join(".git/more"), included)?;
    git(&fleet, &["config", "include.path", "more"]).await?;
    for hook in HOOKS {
        script(&fleet.join(".git/hooks").join(hook), &mark(hook))?;
    }
    // A query for changes has to read the file.
    std::fs::write(management.join("map.yaml"), map("plain") + "# by hand\n")?;
    std::fs::remove_file(marks).ok();
    Ok(fleet)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_runs_no_program_of_its_own() -> Result<()> {
    let site = ButlerSite::saved("programs").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let folder = site.folder.path();
    let marks = folder.join("marks");
    let fleet = hostile(folder, &marks).await?;
    // They do run where that repository's settings count.
    Command::new("git")
        .arg("-C")
        .arg(&fleet)
        .arg("status")
        .output()
        .await?;
    assert!(!std::fs::read_to_string(&marks)?.is_empty());
    std::fs::remove_file(&marks)?;

    for from in [
        "git:fleet".to_owned(),
        format!("git:file://{}", fleet.display()),
    ] {
        let from = ["--mode", "rebuild", "--from", &from];
        let planned = site
            .plan(&fresh.kubeconfig(), &from)
            .await?
            .ended_with(0)?
            .json()?;
        let findings = planned["plan"]["findings"].to_string();
        for told in [
            "1 files there are changed or new",
            "default/plain",
            "default/built",
        ] {
            assert!(findings.contains(told), "{told}: {findings}");
        }
        let ran = std::fs::read_to_string(&marks).unwrap_or_default();
        assert_eq!(ran, "", "programs of the repository ran");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_get_no_credentials_of_ours_and_kustomize_no_network() -> Result<()> {
    let site = ButlerSite::saved("clean").await?;
    let fresh = Fresh::start(&site.folder, "fresh").await?;
    let folder = site.folder.path();
    let fleet = hostile(folder, &folder.join("marks")).await?;
    let elsewhere = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}/base.yaml", elsewhere.local_addr()?);
    let remote = fleet.join("clusters/management/remote");
    std::fs::create_dir_all(&remote)?;
    std::fs::write(
        remote.join("kustomization.yaml"),
        format!("# a base\nresources:\n- {address}\n"),
    )?;
    let bare = folder.join("hosted");
    std::fs::create_dir(&bare)?;
    for plain in [".git/config", ".git/hooks"] {
        let path = fleet.join(plain);
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    git(&fleet, &["init", "--quiet", "--template="]).await?;
    git(&fleet, &["add", "."]).await?;
    git(&fleet, &["commit", "--quiet", "-m", "A remote base"]).await?;
    let host = GitHost::start(&bare, None).await?;
    let to = host.bare("fleet.git").await?;
    git(
        &fleet,
        &["push", "--quiet", &to.display().to_string(), "main"],
    )
    .await?;

    // Programs before the real ones, which record what they get.
    let (bin, noted) = (folder.join("bin"), folder.join("noted"));
    std::fs::create_dir_all(&bin)?;
    for name in ["git", "kubectl"] {
        let real = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .map(|path| path.join(name))
            .find(|path| path.is_file())
            .context("not there")?;
        let note = format!(
            "{{ env; echo \"network of {name}:\"; tail -n +3 /proc/net/dev | cut -d: -f1; }} >> {}\n\
             exec {} \"$@\"",
            noted.display(),
            real.display()
        );
        script(&bin.join(name), &note)?;
    }
    let path = std::env::var("PATH")?;
    let from = format!("git:{}", host.url("fleet.git"));
    let plan = site
        .restore_cli("plan")
        .args(["latest", "--output", "json"]);
    let plan = plan.arg("--kubeconfig").arg(fresh.kubeconfig());
    let plan = plan.args(["--mode", "rebuild", "--from", &from]);
    let plan = plan
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("CANARY", "canary-of-a-variable")
        .env("TALOSCONFIG", "canary-of-a-talosconfig")
        .env("GIT_TRACE", folder.join("canary-trace"))
        .env("SSH_AUTH_SOCK", "/run/agent-of-ssh");
    let planned = plan.json().await?;

    let noted = std::fs::read_to_string(&noted)?;
    assert!(
        noted.contains("/run/agent-of-ssh"),
        "git asks no agent: {noted}"
    );
    for canary in ["canary", "AWS_", "BUTLER_BACKUP"] {
        assert!(!noted.contains(canary), "{canary}: {noted}");
    }
    for (name, value) in site.shared.butler.s3.keys().env() {
        assert!(
            !noted.contains(&format!("{name}=")) && !noted.contains(&format!("={value}")),
            "{name}"
        );
    }
    let findings = planned["plan"]["findings"].to_string();
    assert!(findings.contains("default/built"), "{findings}");
    let of_kubectl = noted
        .split("network of kubectl:")
        .nth(1)
        .context("not built")?;
    let networks: Vec<&str> = of_kubectl
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    let apart = networks == ["lo"] || networks.is_empty();
    // Where the system cannot do that, the plan says so.
    assert!(
        apart || findings.contains("no network of its own"),
        "{networks:?}: {findings}"
    );

    let refused = "clusters/management/remote/kustomization.yaml:3";
    assert!(
        findings.contains(refused) && findings.contains("in another place"),
        "{findings}"
    );
    let asked = tokio::time::timeout(std::time::Duration::from_millis(200), elsewhere.accept());
    assert!(asked.await.is_err(), "the remote base was asked for");
    Ok(())
}
