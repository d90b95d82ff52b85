//! Tests of the Git mirror: real `git` on both sides, over http with a token, over ssh with a key, and into a
//! folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use e2e::folder::set_mode;
use e2e::git::git;
use http::StatusCode;
use serde_json::{Value, json};

use super::api::{Cluster, TEAMS, team};
use super::running::Daemon;

mod commits;
mod flux;
mod machine;
mod remote;
mod ssh;

const TEAM: &str = "butler-backup/test/resources/teams.butler.butlerlabs.dev";
/// Password in the clear, as a DataStore may hold it.
const INLINE: &str = "Y2FuYXJ5LW9mLWEtZGF0YXN0b3Jl";
const TOKEN: &str = "canary-of-the-token-of-git";
/// Line of the configuration that names the token.
const BY_TOKEN: &str = "  token-file: token\n";

impl Cluster {
    async fn with_teams() -> Result<Self> {
        let kinds = [
            "teams.butler.butlerlabs.dev",
            "datastores.steward.butlerlabs.dev",
            "sealedsecrets.bitnami.com",
        ];
        let cluster = Self::start(&kinds).await?;
        cluster.team("payments", "Payments").await?;
        cluster.team("search", "Search").await?;
        Ok(cluster)
    }

    async fn team(&self, name: &str, shown: &str) -> Result<()> {
        let mut team = team(name);
        team["metadata"]["annotations"] = json!({
            "kubectl.kubernetes.io/last-applied-configuration": "canary-last-applied",
            "note": "0644",
        });
        team["spec"]["displayName"] = json!(shown);
        self.server.create(TEAMS, &team).await.map(drop)
    }

    async fn rename(&self, name: &str, shown: &str) -> Result<()> {
        let path = format!("{TEAMS}/{name}");
        let mut team = self.server.read(&path).await?;
        team["spec"]["displayName"] = json!(shown);
        self.server.replace(&path, &team).await.map(drop)
    }

    /// Makes objects that must not be in Git, and objects that may.
    async fn secrets(&self) -> Result<()> {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "default" },
            "stringData": { "password": "canary-of-a-secret" },
        });
        self.server
            .create("/api/v1/namespaces/default/secrets", &secret)
            .await?;
        let store = json!({
            "apiVersion": "steward.butlerlabs.dev/v1alpha1", "kind": "DataStore",
            "metadata": { "name": "db" },
            "spec": {
                "driver": "PostgreSQL", "endpoints": ["db.example.org:5432"],
                "basicAuth": { "username": { "content": "dXNlcg==" }, "password": { "content": INLINE } },
            },
        });
        self.server
            .create("/apis/steward.butlerlabs.dev/v1alpha1/datastores", &store)
            .await?;
        let sealed = json!({
            "apiVersion": "bitnami.com/v1alpha1", "kind": "SealedSecret",
            "metadata": { "name": "sealed", "namespace": "default" },
            "spec": {
                "encryptedData": { "password": "AgBsealedsealedsealed" },
                "template": { "data": { "user": "canary-of-a-template" } },
            },
        });
        let path = "/apis/bitnami.com/v1alpha1/namespaces/default/sealedsecrets";
        self.server.create(path, &sealed).await?;
        Ok(())
    }

    /// Returns the configuration with a mirror to `repository`; `lets_in` are its lines with the credentials.
    fn config(&self, repository: &str, lets_in: &str) -> String {
        format!(
            "kubernetes: {{ kubeconfig: {} }}\n\
             components:\n  crds: {{ cron: 0 3 29 2 * }}\n  resources: {{ cron: 0 3 29 2 * }}\n\
             git-mirror:\n  repository: {repository}\n  folder: mirror\n{lets_in}",
            self.server.kubeconfig().display(),
        )
    }

    fn token(&self, token: &str) -> Result<()> {
        let path = self.site.folder.join("token");
        std::fs::write(&path, token)?;
        set_mode(&path, 0o600)
    }
}

/// Takes a restore point, and waits until its mirroring has ended; returns its id and the mirror.
async fn mirrored(daemon: &Daemon) -> Result<(String, Value)> {
    // The daemon answers before it has read its file.
    let before = daemon.until("a cluster", |_| true).await?["mirror"].clone();
    let body = r#"{"components":["crds","resources"],"reason":"a\nreason"}"#;
    let (status, text) = daemon.post("", &[], body).await?;
    ensure!(status == StatusCode::OK, "{status}: {text}");
    let last: Value = serde_json::from_str(text.lines().last().context("nothing")?)?;
    let id = last["restorePoint"]
        .as_str()
        .with_context(|| text.clone())?;
    let told = |mirror: &Value| {
        (
            mirror["lastSuccess"].clone(),
            mirror["problem"]["at"].clone(),
        )
    };
    let cluster = daemon
        .until("an end of the mirror", |c| {
            told(&c["mirror"]) != told(&before)
        })
        .await?;
    Ok((id.to_owned(), cluster["mirror"].clone()))
}

async fn show(bare: &Path, what: &str) -> Result<String> {
    Ok(git(bare, &["show", what]).await?.stdout)
}

async fn commits(bare: &Path) -> Result<usize> {
    let count = git(bare, &["rev-list", "--count", "main"]).await?;
    Ok(count.stdout.trim().parse()?)
}

async fn files(bare: &Path) -> Result<Vec<String>> {
    let files = git(
        bare,
        &[
            "diff-tree",
            "-r",
            "--root",
            "--no-commit-id",
            "--name-status",
            "main",
        ],
    );
    Ok(files.await?.stdout.lines().map(ToOwned::to_owned).collect())
}

/// Returns the cause of the mirror's problem.
fn cause(mirror: &Value) -> Result<&str> {
    let cause = mirror["problem"]["cause"].as_str();
    cause.with_context(|| format!("no problem: {mirror:#}"))
}

/// Makes another person's commit on the branch: `text` in `file`.
async fn somebody_else(folder: &Path, bare: &Path, file: &str, text: &str) -> Result<()> {
    let clone: PathBuf = folder.join("clone");
    if !clone.exists() {
        let from = bare.display().to_string();
        git(folder, &["clone", "--quiet", &from, "clone"]).await?;
    }
    git(&clone, &["pull", "--quiet", "--rebase"]).await?;
    let path = clone.join(file);
    std::fs::create_dir_all(path.parent().context("no folder")?)?;
    std::fs::write(&path, text)?;
    git(&clone, &["add", "."]).await?;
    git(&clone, &["commit", "--quiet", "-m", "By hand"]).await?;
    git(&clone, &["push", "--quiet"]).await.map(drop)
}
